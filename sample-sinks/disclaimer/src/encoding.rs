//! Charsets and transfer encodings of what is added.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest line of quoted-printable and base64 (RFC 2045 §6.7, §6.8).
const LINE_CHARACTERS_MAX: usize = 76;

/// What a part can say, by its charset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// Every character.
    Utf8,
    /// Those below U+0100 that are no control characters.
    Latin1,
    /// ASCII, whatever else.
    Ascii,
    /// Not even that, or nobody knows.
    Other,
}

impl Charset {
    /// The charset in a Content-Type, US-ASCII where it names none (RFC 2045 §5.2).
    pub(crate) fn of(content_type: &str) -> Self {
        let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let charset =
            parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).map(|(_, value)| value);
        let name = charset.map(|value| value.trim().trim_matches('"').to_ascii_lowercase()).next();
        match name.as_deref() {
            Some("utf-8" | "utf8") => Self::Utf8,
            Some("iso-8859-1" | "latin1" | "windows-1252" | "iso-8859-15") => Self::Latin1,
            None | Some("us-ascii" | "ascii" | "gb2312" | "gbk" | "gb18030" | "big5" | "euc-jp" | "euc-kr") => {
                Self::Ascii
            }
            Some(name) if ["iso-8859-", "windows-125", "koi8-"].iter().any(|start| name.starts_with(start)) => {
                Self::Ascii
            }
            // UTF-16 and those that switch with escape sequences.
            Some(_) => Self::Other,
        }
    }

    /// The text in this charset; none where it cannot say it.
    pub(crate) fn octets(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Ascii => text.is_ascii().then(|| text.as_bytes().to_vec()),
            // The characters in which these charsets differ (ISO 8859-15 has eight of its own) are left out.
            Self::Latin1 => {
                let is_same =
                    |c: char| c.is_ascii() || ('\u{c0}'..='\u{ff}').contains(&c) || "§©«»°·¿¡\u{a0}".contains(c);
                text.chars().map(|c| if is_same(c) { u8::try_from(u32::from(c)).ok() } else { None }).collect()
            }
            Self::Other => None,
        }
    }
}

/// A paragraph of HTML that shows the text.
pub(crate) fn html_of(text: &str) -> String {
    let escaped = text.trim_end().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let lines: Vec<&str> = escaped.lines().collect();
    format!("<p>{}</p>", lines.join("<br>"))
}

/// The same HTML in ASCII.
pub(crate) fn ascii_html(html: &str) -> String {
    let named = |c: char| if c.is_ascii() { c.to_string() } else { format!("&#{};", u32::from(c)) };
    html.lines().map(|line| line.chars().map(named).collect::<String>()).collect::<Vec<_>>().join("\r\n")
}

/// Quoted-printable (RFC 2045 §6.7); CR LF stays a line end.
pub(crate) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 8);
    let mut rest = octets;
    while !rest.is_empty() {
        let line_end = rest.windows(2).position(|pair| pair == b"\r\n");
        let (line, behind) = rest.split_at(line_end.unwrap_or(rest.len()));
        quoted_line(line, &mut out);
        if line_end.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        rest = behind.strip_prefix(b"\r\n").unwrap_or(behind);
    }
    out
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (index, &octet) in line.iter().enumerate() {
        // White space at the end of a line does not survive every way.
        let is_last = index + 1 == line.len();
        let is_literal = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !is_last);
        let width = if is_literal { 1 } else { 3 };
        // One character is kept for the `=` of a soft line break.
        if column + width >= LINE_CHARACTERS_MAX {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_literal {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += width;
    }
}

/// Base64 in lines.
pub(crate) fn base64_lines(octets: &[u8]) -> String {
    let lines = octets.chunks(LINE_CHARACTERS_MAX / 4 * 3).map(|chunk| STANDARD.encode(chunk));
    lines.flat_map(|line| [line, "\r\n".to_owned()]).collect()
}

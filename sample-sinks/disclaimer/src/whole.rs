//! Messages whose parts have no room for the words.

use super::encoding::{self, Charset};
use basin_sink::prelude::*;
use std::io::{BufRead as _, Read as _, Write as _};

/// Longest line that is taken up, in octets; RFC 5322 §2.1.1 allows 998.
const LINE_OCTETS_MAX: u64 = 64 * 1024;

/// Whether the message is one text, and nothing in it is beyond ASCII: then it is UTF-8, too.
pub(crate) fn is_plain_ascii(message: &Message) -> Result<bool> {
    let headers = message.headers();
    let content_type = headers.get("Content-Type").unwrap_or_else(|| "text/plain".to_owned());
    let encoding = headers.get("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // An ASCII name on octets beyond it is found out below.
    let is_text = kind == "text/plain"
        && matches!(Charset::of(&content_type), Charset::Ascii | Charset::Utf8)
        && matches!(encoding.trim(), "" | "7bit" | "8bit");
    // A `file name` or `format=flowed` would get lost with the field; such a message gets a part beside it.
    if !is_text || headers.contains("Content-Disposition") || content_type.to_ascii_lowercase().contains("format=") {
        return Ok(false);
    }
    let mut body = message.body();
    loop {
        let chunk = body.fill_buf()?;
        if chunk.is_empty() {
            return Ok(true);
        }
        if !chunk.is_ascii() {
            return Ok(false);
        }
        let len = chunk.len();
        body.consume(len);
    }
}

/// The same text as UTF-8 in quoted-printable, with the words behind it.
pub(crate) fn as_utf8(message: &mut Message, text: &str) -> Result<()> {
    let mut body = message.new_body()?;
    {
        let mut old = message.body();
        loop {
            let mut line = Vec::new();
            (&mut old).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            body.write_all(&encoding::quoted_printable(&line))?;
            if !line.ends_with(b"\n") && (line.len() as u64) < LINE_OCTETS_MAX {
                body.write_all(b"\r\n")?;
            }
        }
    }
    body.write_all(b"\r\n")?;
    body.write_all(&encoding::quoted_printable(text.as_bytes()))?;
    message.replace_body(body)?;
    let mut headers = message.headers_mut();
    headers.set("MIME-Version", "1.0")?;
    headers.set("Content-Type", "text/plain; charset=utf-8")?;
    Ok(headers.set("Content-Transfer-Encoding", "quoted-printable")?)
}

/// What there is becomes the first part, octet for octet, and the words the second.
pub(crate) fn beside(message: &mut Message, text: &str) -> Result<()> {
    // The id was given after the sender had written, so it stands nowhere in the content.
    let boundary = format!("=_d_{}", message.id());
    let fields: Vec<Header> = message.headers().iter().filter(is_content).collect();
    let mut body = message.new_body()?;
    body.write_all(format!("--{boundary}\r\n").as_bytes())?;
    for Header { name, value } in &fields {
        // The value comes unfolded; it is folded where a new parameter begins.
        body.write_all(format!("{name}: {}\r\n", value.replace("; ", ";\r\n ")).as_bytes())?;
    }
    body.write_all(b"\r\n")?;
    std::io::copy(&mut message.body(), &mut body)?;
    let head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\
                Content-Disposition: inline\r\n\r\n";
    body.write_all(format!("\r\n--{boundary}\r\n{head}").as_bytes())?;
    body.write_all(&encoding::quoted_printable(text.as_bytes()))?;
    body.write_all(format!("\r\n--{boundary}--\r\n").as_bytes())?;
    message.replace_body(body)?;
    restate(message, &fields, &boundary)
}

fn is_content(header: &Header) -> bool {
    header.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"))
}

/// The fields about the content speak of the new one; those of the old one are in its part.
fn restate(message: &mut Message, fields: &[Header], boundary: &str) -> Result<()> {
    let encoding = fields.iter().find(|field| field.is("Content-Transfer-Encoding"));
    let encoding = encoding.map(|field| field.value.to_ascii_lowercase()).unwrap_or_default();
    let mut headers = message.headers_mut();
    for Header { name, .. } in fields {
        headers.remove(name)?;
    }
    headers.set("MIME-Version", "1.0")?;
    headers.set("Content-Type", &format!("multipart/mixed; boundary=\"{boundary}\""))?;
    // RFC 2045 §6.4: a multipart has no encoding but these, and at least that of its parts.
    if ["8bit", "binary"].contains(&encoding.trim()) {
        headers.set("Content-Transfer-Encoding", encoding.trim())?;
    }
    Ok(())
}

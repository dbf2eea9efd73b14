//! Text that a sink wrote is untrusted.

/// Escapes control characters, so that no text of a sink can forge a line of a log or drive a terminal. Line
/// feeds stay where they separate lines: the caller splits at them or wants them.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !is_unsafe(character) {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
    }
    out
}

/// One line of at most `limit` octets: line feeds are escaped too.
pub(crate) fn line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for character in text.chars() {
        let len = out.len();
        if is_unsafe(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        if out.len() > limit {
            out.truncate(len);
            break;
        }
    }
    out
}

/// The longest beginning of `text` of at most `limit` octets.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

// Controls, and what turns the direction of text or hides in it.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_within_its_limit() {
        assert_eq!(line("a\r\nb\u{202e}", 100), "a\\r\\nb\\u{202e}");
        assert_eq!(line("abc\n", 4), "abc");
        assert_eq!(cut("aé".to_owned(), 2), "a");
    }
}

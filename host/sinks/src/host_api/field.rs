//! Field values on their way to the parser, which takes time that grows with the square of some that no sender
//! writes. Anybody can send such a message, and one host call would hold a thread for seconds.

/// Longest encoded word that is decoded, in octets. RFC 2047 §2 ends them at 75; some senders do not know that.
const WORD_BYTES_MAX: usize = 512;

/// Most parameters of one field. A long file name in pieces (RFC 2231 §3) has some ten.
const PARAMETERS_MAX: usize = 100;

/// A value as the parser takes it.
///
/// The parser looks for the end of an encoded word up to the end of the field, at each beginning anew. A beginning
/// without an end gets a space, so that it is none.
pub(super) fn line(value: &str) -> String {
    let mut line = String::with_capacity(value.len() + 2);
    let mut rest = value;
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        line.push_str(before);
        let inside = word.as_bytes().get(2..).unwrap_or_default();
        let inside = inside.get(..inside.len().min(WORD_BYTES_MAX)).unwrap_or_default();
        let end = inside.windows(2).position(|two| two == b"?=").and_then(|end| word.split_at_checked(end + 4));
        match end {
            // The word goes over whole: `==?=` at its end is no beginning.
            Some((whole, behind)) => {
                line.push_str(whole);
                rest = behind;
            }
            None => {
                line.push_str("= ?");
                rest = word.get(2..).unwrap_or_default();
            }
        }
    }
    line.push_str(rest);
    line.push_str("\r\n");
    line
}

/// A value with parameters as the parser takes it; `None` where it has too many. Each is compared with all before
/// it.
pub(super) fn line_with_parameters(value: &str) -> Option<String> {
    // Each parameter has at least one, and what else has some counts too.
    let count = value.bytes().filter(|&octet| octet == b'=').count();
    (count <= PARAMETERS_MAX).then(|| line(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_senders_write_is_left_alone() {
        for value in ["", "hello", "a = b", "=?utf-8?q?caf=C3=A9?= =?utf-8?b?eA==?= (x)", "text/plain; name=\"a=?b?=\""]
        {
            assert_eq!(line(value), format!("{value}\r\n"));
            assert_eq!(line_with_parameters(value), Some(format!("{value}\r\n")));
        }
    }

    #[test]
    fn an_encoded_word_without_an_end_is_none() {
        assert_eq!(line("=?aa?q? é =?bb?q?x"), "= ?aa?q? é = ?bb?q?x\r\n");
        let far = format!("=?aa?q?{}?=", "x".repeat(WORD_BYTES_MAX));
        assert_eq!(line(&far), format!("= {}\r\n", &far[1..]));
        assert_eq!(line("=?aa?q?x?= =?"), "=?aa?q?x?= = ?\r\n");
    }

    #[test]
    fn parameters_are_counted_whatever_is_between_them() {
        assert!(line_with_parameters(&"a=b;".repeat(PARAMETERS_MAX)).is_some());
        for many in ["a=b;", "a*1=\"b\" ", "a=b\t"] {
            assert_eq!(line_with_parameters(&many.repeat(PARAMETERS_MAX + 1)), None);
        }
    }
}

//! EHLO: what this server offers, and what sinks add to it.

use crate::reply::Reply;
use crate::smtp::live::Live;
use crate::smtp::parameters::is_keyword;
use crate::time::Timestamp;

/// The answer to EHLO (RFC 5321 §4.1.1.1).
pub(super) fn ehlo_reply(live: &Live, now: Timestamp) -> Reply {
    let policy = &live.policy;
    let mut lines = vec![
        policy.host_name.clone(),
        "PIPELINING".to_owned(),
        format!("SIZE {}", policy.message_bytes_max),
        "8BITMIME".to_owned(),
        "DSN".to_owned(),
        "ENHANCEDSTATUSCODES".to_owned(),
    ];
    lines.extend(live.starttls_keyword());
    lines.extend(live.auth_keyword());
    lines.extend(live.xclient_keyword());
    if policy.extensions.chunking {
        lines.push("CHUNKING".to_owned());
        if policy.extensions.binarymime {
            lines.push("BINARYMIME".to_owned());
        }
    }
    lines.extend(live.mail_keywords(now));
    lines.push("HELP".to_owned());
    // RFC 2034 §3: neither the greeting nor the answers to HELO and EHLO carry enhanced codes.
    Reply::multi_line(250, None, lines)
}

impl Live {
    /// The verbs that are to be had now, for HELP (RFC 5321 §4.1.1.8).
    pub(super) fn verbs(&self) -> String {
        let mut verbs = vec!["HELO", "EHLO"];
        verbs.extend(self.starttls_keyword().map(|_| "STARTTLS"));
        // As for sinks that publish mechanisms of their own: also where the server has none.
        verbs.extend((self.policy.auth.is_some() && !self.auth_needs_tls_first()).then_some("AUTH"));
        verbs.extend(["MAIL", "RCPT", "DATA"]);
        verbs.extend(self.policy.extensions.chunking.then_some("BDAT"));
        verbs.extend(["RSET", "NOOP", "VRFY", "HELP", "QUIT"]);
        verbs.join(" ")
    }
}

/// Puts the first line of a sink's text behind the name of the host. What the server offers is no text: a sink
/// neither takes a keyword away nor offers another SIZE than the server keeps.
pub(super) fn greet(reply: &Reply, wanted: Option<&Reply>) -> Reply {
    let mut lines = reply.lines().to_vec();
    if let (Some(greeting), Some(text)) = (lines.first_mut(), wanted.and_then(|wanted| wanted.lines().first())) {
        *greeting = format!("{greeting} {text}");
    }
    Reply::multi_line(reply.code(), None, lines)
}

/// Adds the lines of sinks as keywords.
///
/// A line whose first word is no keyword is dropped, and so is one that repeats a keyword that is there: a
/// sink must not offer another SIZE than the server keeps. Mechanisms of AUTH merge into one line.
pub(super) fn publish(reply: &Reply, added: &[String]) -> Reply {
    let mut lines = reply.lines().to_vec();
    for line in added {
        let Some(line) = keyword_line(line) else { continue };
        let keyword = first_word(&line);
        // The first line is the greeting; a host may be called SIZE.
        match lines.iter_mut().skip(1).find(|there| first_word(there).eq_ignore_ascii_case(keyword)) {
            None => lines.push(line),
            Some(there) if keyword == "AUTH" => {
                for mechanism in line.split(' ').skip(1) {
                    if !there.split(' ').any(|other| other.eq_ignore_ascii_case(mechanism)) {
                        there.push(' ');
                        there.push_str(mechanism);
                    }
                }
            }
            Some(_) => {}
        }
    }
    Reply::multi_line(reply.code(), None, lines)
}

// The line with its keyword in upper case, where it has the form of an ehlo-line (RFC 5321 §4.1.1.1).
fn keyword_line(line: &str) -> Option<String> {
    let keyword = first_word(line);
    let is_parameter = |word: &str| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_graphic());
    let is_line = is_keyword(keyword) && line.split(' ').all(is_parameter);
    is_line.then(|| format!("{}{}", keyword.to_ascii_uppercase(), line.get(keyword.len()..).unwrap_or_default()))
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(added: &[&str]) -> Vec<String> {
        let native = Reply::multi_line(250, None, vec!["SIZE.example".into(), "SIZE 10".into()]);
        let added: Vec<String> = added.iter().map(|line| (*line).to_owned()).collect();
        publish(&native, &added).lines().get(2..).unwrap_or_default().to_vec()
    }

    #[test]
    fn a_greeting_leaves_what_is_offered() {
        let native = Reply::multi_line(250, None, vec!["mx.example".into(), "SIZE 10".into()]);
        let wanted = Reply::multi_line(250, None, vec!["hello".into(), "SIZE 99".into()]);
        assert_eq!(greet(&native, Some(&wanted)).lines(), ["mx.example hello", "SIZE 10"]);
        assert_eq!(greet(&native, None), native);
    }

    #[test]
    fn sinks_publish_keywords() {
        assert_eq!(published(&["xwelcome", "XTWO a b=c"]), ["XWELCOME", "XTWO a b=c"]);
    }

    #[test]
    fn what_is_no_keyword_or_there_already_is_dropped() {
        assert_eq!(
            published(&["", " X", "-X", "X  y", "ä", "X\ty", "x_y", "SIZE 99", "size", "X-A 1", "x-a 2"]),
            ["X-A 1"]
        );
    }

    #[test]
    fn mechanisms_of_several_sinks_share_one_auth_line() {
        assert_eq!(published(&["AUTH PLAIN", "auth LOGIN plain X"]), ["AUTH PLAIN LOGIN X"]);
    }
}

//! Judges replies of other servers as the operator knows them: a 501 that means "greylisted" is tried again, and does
//! not come back to the sender.
//!
//! The configuration has rules, parted by `;`. Each has a pattern, an arrow and what the reply counts as:
//!
//! ```text
//! rules = 501 -> 451 4.7.1 ; 5* greylist -> 451 4.7.1 ; 421 too many connections -> drop ; 450 no such user -> 550 5.1.1
//! ```

use basin_sink::prelude::*;
use std::time::Duration;

/// Rules where the configuration has no `rules`: replies of servers that are known to mean "later".
const RULES: &str = "501 -> 451 4.7.1 ; 5* greylist -> 451 4.7.1 ; 5* try again -> 451 4.7.1";

/// The code with which a server closes the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// How long a count of a host's replies lives: an operator looks at what happened today.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// The sink.
#[derive(Debug)]
pub struct Remote501;

impl OnServerResponse for Remote501 {
    fn on_server_response(
        session: &OutSession,
        _message: Option<&mut Message>,
        _recipient: Option<&mut Recipient>,
        response: &ServerResponse,
        _call: &Call,
    ) -> Result<ResponseVerdict> {
        // What the server answers to STARTTLS and AUTH nobody judges.
        if matches!(response.keyword().as_str(), "STARTTLS" | "AUTH") {
            return Ok(ResponseVerdict::Next);
        }
        let reply = response.reply();
        let rules = rules(&config::get_or("rules", RULES))?;
        let Some(rule) = rules.iter().find(|rule| rule.fits(&reply)) else { return Ok(ResponseVerdict::Next) };
        metrics::count(rule.judgement.word());
        // A sum takes effect at once: a session that is dropped has none of its other effects.
        let host = session.host().to_ascii_lowercase();
        let times = state::increment(&format!("{}/{host}", reply.code), 1, Some(MEMORY))?;
        log::info!("{host} answered {} with {reply}: {}, {times} today", response.keyword(), rule.judgement.word());
        Ok(match &rule.judgement {
            Judgement::Drop => ResponseVerdict::DropSession,
            Judgement::As(code, status) => {
                let judged = Reply::new(*code, reply.text());
                ResponseVerdict::TreatAs(if status.is_empty() { judged } else { judged.status(status.clone()) })
            }
        })
    }
}

/// Which replies, and what of them.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// The first digits of the code; all three, or those before a `*`.
    code: String,
    /// What the text has in it, in lower case; nothing is any.
    text: String,
    judgement: Judgement,
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Go on as if the server had said this, in its own words.
    As(u16, String),
    /// Close the connection, try again.
    Drop,
}

impl Judgement {
    /// The word for the log, and the counter.
    fn word(&self) -> &'static str {
        match self {
            Self::As(400..=499, _) => "temporary",
            Self::As(..) => "permanent",
            Self::Drop => "dropped",
        }
    }
}

impl Rule {
    fn fits(&self, reply: &Reply) -> bool {
        // A server that says 421 closes the connection, and nothing else can be made of that.
        (reply.code != CLOSING || self.judgement == Judgement::Drop)
            && reply.code.to_string().starts_with(&self.code)
            && reply.text().to_ascii_lowercase().contains(&self.text)
    }
}

fn rules(text: &str) -> Result<Vec<Rule>> {
    text.split(';').map(str::trim).filter(|rule| !rule.is_empty()).map(rule).collect()
}

/// Reads `5* greylist -> 451 4.7.1`.
fn rule(text: &str) -> Result<Rule> {
    let wrong = |what: &str| Failure::new(format!("the rule {text:?} {what}"));
    let (pattern, becomes) = text.split_once("->").ok_or_else(|| wrong("has no ->"))?;
    let (code, words) = pattern.trim().split_once(' ').unwrap_or((pattern.trim(), ""));
    let digits = code.strip_suffix('*').unwrap_or(code);
    let is_whole = digits.len() == 3 || digits.len() < 3 && code.ends_with('*');
    // Nothing but a refusal is judged: a recipient that was taken stays taken.
    if !is_whole || !digits.starts_with(['4', '5']) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong("begins with no code of 400 to 599, as in 501, 50* or 5*"));
    }
    let judgement = judgement(becomes.trim());
    let judgement = judgement
        .ok_or_else(|| wrong("ends with neither \"drop\" nor a code of 400 to 599 and its status, as in 451 4.7.1"))?;
    Ok(Rule { code: digits.to_owned(), text: words.trim().to_ascii_lowercase(), judgement })
}

fn judgement(text: &str) -> Option<Judgement> {
    if text == "drop" {
        return Some(Judgement::Drop);
    }
    let (code, status) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (400..=599).contains(code) && *code != CLOSING)?;
    let class = if code < 500 { "4." } else { "5." };
    let is_status = status.is_empty() || status.starts_with(class) && status.split('.').count() == 3;
    is_status.then(|| Judgement::As(code, status.to_owned()))
}

basin_sink::export!(Remote501: OnServerResponse);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const RCPT: &str = "RCPT TO:<b@far.example>";

    fn message() -> testing::Message {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        message.set_remote("MX.far.example", &[]);
        message
    }

    fn judged(message: &mut testing::Message, code: u16, text: &str) -> ResponseVerdict {
        message.server_response::<Remote501>(RCPT, Reply::new(code, text))
    }

    fn later(text: &str) -> ResponseVerdict {
        ResponseVerdict::TreatAs(Reply::new(451, text).status("4.7.1"))
    }

    #[test]
    fn a_501_is_tried_again_in_the_words_of_the_server() {
        let mut message = message();
        assert_eq!(judged(&mut message, 501, "who are you"), later("who are you"));
        assert_eq!(judged(&mut message, 550, "Greylisted, come back"), later("Greylisted, come back"));
        for (code, text) in [(550, "no such user"), (250, "greylisted"), (450, "later"), (354, "go")] {
            assert_eq!(judged(&mut message, code, text), ResponseVerdict::Next, "{code} {text}");
        }
        assert_eq!(message.counter("temporary"), 2);
        assert_eq!(message.state_keys(), ["501/mx.far.example", "550/mx.far.example"]);
    }

    #[test]
    fn the_operator_writes_rules_and_the_first_that_fits_counts() {
        let mut message = message();
        let rules = "550 5.7.1 -> 450 ;421 Too Many -> drop; 45* no such user -> 550 5.1.1;4* -> 452 4.3.1;";
        message.set_config("rules", rules);
        assert_eq!(judged(&mut message, 421, "too many connections"), ResponseVerdict::DropSession);
        let refused = ResponseVerdict::TreatAs(Reply::new(550, "No Such User here").status("5.1.1"));
        assert_eq!(judged(&mut message, 450, "No Such User here"), refused);
        assert_eq!(judged(&mut message, 432, "x"), ResponseVerdict::TreatAs(Reply::new(452, "x").status("4.3.1")));
        assert_eq!(
            judged(&mut message, 421, "going down"),
            ResponseVerdict::Next,
            "nobody can make anything else of it"
        );
        assert_eq!(judged(&mut message, 501, "what"), ResponseVerdict::Next, "the rules of the sink are replaced");
        assert_eq!(
            judged(&mut message, 550, "5.7.1 not you"),
            ResponseVerdict::TreatAs(Reply::new(450, "5.7.1 not you"))
        );
        assert_eq!((message.counter("dropped"), message.counter("permanent"), message.counter("temporary")), (1, 1, 2));
    }

    #[test]
    fn tls_and_the_login_are_left_alone() {
        let mut message = message();
        for line in ["STARTTLS", "AUTH"] {
            let verdict = message.server_response::<Remote501>(line, Reply::new(501, "no"));
            assert_eq!(verdict, ResponseVerdict::Next, "{line}");
        }
    }

    #[test]
    fn a_rule_that_says_nothing_is_a_failure() {
        let mut message = message();
        for rules in [
            "501",
            "-> 451",
            "250 -> 550",
            "5 -> 451",
            "501 -> 250 2.0.0",
            "501 -> 421",
            "501 -> 451 5.7.1",
            "6* -> 451",
        ] {
            message.set_config("rules", rules);
            assert!(message.try_server_response::<Remote501>(RCPT, Reply::new(501, "x")).is_err(), "{rules}");
        }
    }
}

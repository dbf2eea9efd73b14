//! Requests by mail to `LIST-request`: help, subscribe, unsubscribe, and the answer that proves who asked.

use super::lists::List;
use super::own;
use basin_sink::prelude::*;
use std::time::Duration;

/// How long an address that asked is not answered the same again: a forger cannot have a stranger flooded.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Help,
    Subscribe,
    Unsubscribe,
    Confirm(String),
}

/// Does what the message asks for.
pub(crate) fn answer(list: &List, message: &Message, call: &Call) -> Result<()> {
    let sender = message.sender();
    if !sender.contains('@') || !sender.is_ascii() || own::is_automatic(message) || list.is_own(&sender) {
        metrics::count("dropped");
        return Ok(());
    }
    let request = Request::of(message);
    if !request.is_proved(list, &sender) && was_answered(list, &sender, &request, call)? {
        return Ok(());
    }
    metrics::count("requests");
    let name = &list.address;
    let (subject, text) = match &request {
        Request::Subscribe if !list.is_open => {
            (format!("{name} is closed"), format!("Its owners add members: {}\n", list.with("owner")))
        }
        Request::Subscribe | Request::Unsubscribe => {
            let what = if request == Request::Subscribe { "join" } else { "leave" };
            let text = format!(
                "Somebody, probably you, asked to {what} {name} with this address.\n\
                 Answer this message and leave its subject as it is, then it is done.\n\
                 If it was not you, do nothing.\n"
            );
            (format!("confirm {}", list.proof(request.word(), &sender)), text)
        }
        Request::Confirm(proof) if *proof == list.proof("subscribe", &sender) && list.is_open => {
            list.add(&sender)?;
            metrics::count("joined");
            (format!("Welcome to {name}"), help(list))
        }
        Request::Confirm(proof) if *proof == list.proof("unsubscribe", &sender) => {
            list.remove(&sender)?;
            metrics::count("left");
            (format!("You have left {name}"), "No further mail of the list will reach you.\n".to_owned())
        }
        Request::Confirm(_) => {
            (format!("{name}: not done"), format!("This address has not asked for that.\n{}", help(list)))
        }
        Request::Help => (format!("{name}: help"), help(list)),
    };
    own::send(list, &[&sender], &subject, &text, Some(message))
}

/// Whether that address has had the same answer just now; it has from here on.
fn was_answered(list: &List, sender: &str, request: &Request, call: &Call) -> Result<bool> {
    let (key, event) = (list.key(&format!("asked-{}", request.word()), &list.tag(sender)), call.idempotency_key());
    // The table is written before the answer is on its way; a repetition after a crash between the two answers again,
    // under the same id.
    if state::get(&key)?.is_some_and(|before| before != event.as_bytes()) {
        return Ok(true);
    }
    state::set(&key, event, Some(AGAIN_AFTER))?;
    Ok(false)
}

impl Request {
    /// Whether it is the answer to a question that only this address was asked.
    fn is_proved(&self, list: &List, sender: &str) -> bool {
        let Self::Confirm(proof) = self else { return false };
        ["subscribe", "unsubscribe"].iter().any(|purpose| *proof == list.proof(purpose, sender))
    }

    /// The subject says it, else the first line.
    fn of(message: &Message) -> Self {
        let subject = message.subject().unwrap_or_default();
        let text = message.text_body().unwrap_or_default();
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self::read(&subject).or_else(|| Self::read(first)).unwrap_or(Self::Help)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip_while(|word| word.ends_with(':'));
        match (words.next()?.to_ascii_lowercase().as_str(), words.next()) {
            ("help", _) => Some(Self::Help),
            ("subscribe" | "join", None) => Some(Self::Subscribe),
            ("unsubscribe" | "leave", None) => Some(Self::Unsubscribe),
            ("confirm", Some(proof)) => Some(Self::Confirm(proof.to_ascii_lowercase())),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Confirm(_) => "confirm",
        }
    }
}

fn help(list: &List) -> String {
    format!(
        "Write to {} with the subject\n  subscribe    to join,\n  unsubscribe  to leave,\n  help         for this text.\n\
         People answer at {}.\n",
        list.with("request"),
        list.with("owner")
    )
}

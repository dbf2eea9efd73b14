//! Answers for people who are away, as RFC 3834 asks: one answer to a person for some days, and none to a machine.
//!
//! It shows messages of a sink's own and state that survives a crash without an answer lost or given twice: what is
//! remembered is the key of the event, which is the same when the event is repeated.

use basin_sink::prelude::*;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

mod answer;
mod guards;

use answer::Answer;

/// How long a sender is not answered again where the configuration has no `again-after`: RFC 3834 §2 suggests a week.
const AGAIN_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Octets of the digest that names a recipient and a sender; one table never has enough for a chance match.
const DIGEST_OCTETS: usize = 16;

/// The sink.
#[derive(Debug)]
pub struct AutoReply;

impl OnPostCategorize for AutoReply {
    fn on_post_categorize(message: &mut Message, call: &Call) -> Result<MessageVerdict> {
        let away: Vec<(Recipient, String)> = message.recipients().filter_map(text_for).collect();
        if away.is_empty() {
            return Ok(MessageVerdict::Next);
        }
        if let Some(why) = guards::machine(message) {
            return not_answered(why);
        }
        for (recipient, text) in away {
            match answer(message, &recipient, &text, call) {
                Ok(()) => {}
                // A sink answers for 10 people in one call; who wrote to more of them has heard enough.
                Err(Error::Limit(why)) => {
                    log::info!("no further answers: {why}");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(MessageVerdict::Next)
    }
}

/// The recipient with its text, where it is away.
fn text_for(recipient: Recipient) -> Option<(Recipient, String)> {
    let text = setting("text", &recipient.address()).filter(|text| !text.trim().is_empty())?;
    Some((recipient, text))
}

/// The value under `NAME.ADDRESS`, whatever the case of the address.
fn setting(name: &str, address: &str) -> Option<String> {
    let wanted = format!("{name}.{address}");
    config::keys().iter().find(|key| key.eq_ignore_ascii_case(&wanted)).and_then(|key| config::get(key))
}

fn not_answered(why: &str) -> Result<MessageVerdict> {
    metrics::count("not_answered");
    log::debug!("not answered: {why}");
    Ok(MessageVerdict::Next)
}

fn answer(message: &Message, recipient: &Recipient, text: &str, call: &Call) -> Result<(), Error> {
    let (sender, own) = (message.sender(), own_addresses(recipient));
    if let Some(why) = guards::not_meant(message, &own) {
        metrics::count("not_answered");
        log::debug!("not answered: {why}");
        return Ok(());
    }
    let life = config::duration("again-after")?.unwrap_or(AGAIN_AFTER);
    let (key, event) = (key_of(&recipient.address(), &sender), call.idempotency_key());
    let before = state::get(&key)?;
    // The table is written before the answer is on its way. What stands there under the key of this event is of a
    // repetition after a crash between the two, and the answer gets the same id again.
    if before.as_ref().is_some_and(|before| before != event.as_bytes()) {
        metrics::count("not_again");
        return Ok(());
    }
    // Two messages at the same moment are one answer: whoever is slower finds the other's mark, here, or when the table is
    // written and the event is raised again.
    if !state::swap(&key, before.as_deref(), event, Some(life))? {
        metrics::count("not_again");
        return Ok(());
    }
    let subject = setting("subject", &recipient.address());
    Answer { message, from: &recipient.address(), to: &sender, subject, text }.submit()?;
    metrics::count("answered");
    Ok(())
}

/// The addresses under which a recipient is written to.
fn own_addresses(recipient: &Recipient) -> Vec<String> {
    let mut own = vec![recipient.address()];
    // ORCPT is a type, a semicolon and the address (RFC 3461 §4.2).
    let original = recipient.original_address();
    own.push(original.rsplit_once(';').map_or(original.as_str(), |(_, address)| address).to_owned());
    let also = setting("also", &recipient.address()).unwrap_or_default();
    own.extend(also.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned));
    own
}

/// Names the two by a digest: a table of who writes to whom is nobody's business.
fn key_of(recipient: &str, sender: &str) -> String {
    let text = format!("{}\n{}", recipient.to_ascii_lowercase(), sender.to_ascii_lowercase());
    Sha256::digest(text).iter().take(DIGEST_OCTETS).map(|octet| format!("{octet:02x}")).collect()
}

basin_sink::export!(AutoReply: OnPostCategorize);

#[cfg(test)]
mod tests;

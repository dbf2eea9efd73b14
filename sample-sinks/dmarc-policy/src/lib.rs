//! Does what the domain of the author asks for where DMARC fails (RFC 7489 §6.3): nothing, quarantine or reject.
//!
//! It shows message authentication: the server verifies SPF, DKIM, DMARC and ARC once for each message, and the sink
//! decides what follows.

use basin_sink::prelude::*;

/// Field with the result, for readers and for rules of mail programs.
const FIELD: &str = "X-DMARC";

/// The sink.
#[derive(Debug)]
pub struct DmarcPolicy;

/// What the domain of the author asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Nothing,
    Quarantine,
    Reject,
}

impl OnEndOfData for DmarcPolicy {
    fn on_end_of_data(session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        // Nobody may speak for this sink; a field of that name in front of ours would be believed.
        message.headers_mut().remove(FIELD)?;
        // Mail of a user is not signed before it leaves.
        if session.auth_user().is_some() {
            return Ok(DataVerdict::Next);
        }
        let dmarc = match message_auth::verify(message, "dmarc") {
            Ok(results) => results.into_iter().next(),
            Err(Error::Unavailable(why)) => return unknown(message, &why),
            Err(error) => return Err(error.into()),
        };
        let Some(dmarc) = dmarc else { return Ok(DataVerdict::Next) };
        let outcome = dmarc.outcome();
        metrics::count(&format!("dmarc_{outcome}"));
        let policy = Policy::asked(&dmarc.property("policy.dmarc").unwrap_or_default());
        let about = format!("{outcome} ({}, {})", dmarc.domain(), authenticated(message)?);
        match outcome.as_str() {
            "temperror" => unknown(message, &dmarc.reason()),
            "fail" => match trusted_sealer(message)? {
                Some(sealer) => mark(message, &format!("{about}; passed on by {sealer}")),
                None => failed(message, &dmarc.domain(), policy, &about),
            },
            _ => mark(message, &about),
        }
    }
}

/// DMARC failed and nobody vouches for the message.
fn failed(message: &mut Message, domain: &str, policy: Policy, about: &str) -> Result<DataVerdict> {
    log::info!("{}: {about}, {domain} asks for {}", message.id(), policy.word());
    match policy {
        // 5.7.26: more than one authentication check failed (RFC 7372 §3.2, §3.3).
        Policy::Reject => Ok(refuse(550, "5.7.26", &format!("{} asks to reject what fails DMARC", plain(domain)))),
        Policy::Quarantine if config::get_or("quarantine", "mark") == "hold" => {
            stamp(message, about)?;
            Ok(DataVerdict::Hold(format!("DMARC {about}")))
        }
        Policy::Quarantine => {
            message.headers_mut().set("X-Spam-Flag", "YES")?;
            mark(message, about)
        }
        Policy::Nothing => mark(message, about),
    }
}

/// The DNS did not say. By default the client is asked to come again, or a forger would wait for a bad day of it.
fn unknown(message: &mut Message, why: &str) -> Result<DataVerdict> {
    log::warn!("{}: {why}", message.id());
    match config::get_or("unknown", "defer").as_str() {
        "defer" => Ok(refuse(451, "4.7.0", "cannot find out whether DMARC passes, please try again later")),
        "pass" => mark(message, "temperror"),
        other => Err(Failure::new(format!("unknown is defer or pass, not {other:?}"))),
    }
}

fn mark(message: &mut Message, text: &str) -> Result<DataVerdict> {
    stamp(message, text)?;
    Ok(DataVerdict::Next)
}

fn stamp(message: &mut Message, text: &str) -> Result<()> {
    // On top, where this server's Received is: what stands below it others may have written.
    Ok(message.headers_mut().prepend(FIELD, &plain(text))?)
}

/// What DMARC had to go by: the domains that SPF and DKIM vouch for.
fn authenticated(message: &Message) -> Result<String> {
    let mut words = Vec::new();
    for method in ["spf", "dkim"] {
        for result in message_auth::verify(message, method)? {
            words.push(format!("{method}={} {}", result.outcome(), result.domain()).trim_end().to_owned());
        }
    }
    Ok(words.join(", "))
}

/// The domain of a list or a forwarder that the operator trusts, where an intact ARC chain ends with its seal
/// (RFC 8617 §7.2).
fn trusted_sealer(message: &Message) -> Result<Option<String>> {
    let Some(trusted) = config::list("trusted-sealers") else { return Ok(None) };
    let passed = message_auth::verify(message, "arc")?.into_iter().filter(|result| result.outcome() == "pass");
    let mut sealers = passed.map(|result| result.domain());
    Ok(sealers.find(|sealer| trusted.iter().any(|domain| domain.eq_ignore_ascii_case(sealer))))
}

/// Domains are what the sender wrote.
fn plain(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

impl Policy {
    fn asked(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "reject" => Self::Reject,
            "quarantine" => Self::Quarantine,
            _ => Self::Nothing,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

basin_sink::export!(DmarcPolicy: OnEndOfData);

#[cfg(test)]
mod tests;

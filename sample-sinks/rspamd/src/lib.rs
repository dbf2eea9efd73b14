//! Asks rspamd about each message and does what it says.
//!
//! It shows a request over HTTP to a granted address. The message goes there in chunks, so that the memory that the
//! sink needs does not depend on it. Where the scanner cannot be reached the call fails, and the failure policy of the
//! binding decides what that means.

use basin_sink::http::Request;
use basin_sink::prelude::*;

mod answer;

use answer::{Action, Answer};

/// Where rspamd's normal worker listens, where the configuration has no `url`.
const URL: &str = "http://127.0.0.1:11333/checkv2";

/// Fields that say what the scanner found; nobody else may write them.
const STATUS: &str = "X-Spam-Status";
const FLAG: &str = "X-Spam";

/// The sink.
#[derive(Debug)]
pub struct Rspamd;

impl OnEndOfData for Rspamd {
    fn on_end_of_data(session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        if config::octets("max-size")?.is_some_and(|max| message.size() > max) {
            metrics::count("too_large");
            return Ok(DataVerdict::Next);
        }
        for name in [STATUS, FLAG] {
            message.headers_mut().remove(name)?;
        }
        let answer = ask(session, message)?;
        metrics::count(answer.action.counter());
        metrics::observe("score", answer.score);
        log::info!("{}: {:?}, score {:.1} of {:.1}", message.id(), answer.action, answer.score, answer.required);
        apply(message, answer)
    }
}

/// Shows the message to the scanner, with what is known of where it comes from.
fn ask(session: &Session, message: &Message) -> Result<Answer> {
    let mut content = message.content();
    let size = content.size();
    let mut request = Request::post(&config::get_or("url", URL), &mut content, size)
        .header("IP", &session.client().address)
        .header("From", &message.sender())
        .header("Queue-Id", &message.id())
        .header("MTA-Name", &server::host_name());
    for recipient in message.recipient_addresses() {
        request = request.header("Rcpt", &recipient);
    }
    let facts = [
        ("Helo", session.helo_domain()),
        ("Hostname", session.client_name()),
        ("User", session.auth_user()),
        ("TLS-Version", session.tls_version()),
        ("TLS-Cipher", session.tls_cipher()),
        ("Password", config::get("password")),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            request = request.header(name, &fact);
        }
    }
    let answer = request.send()?;
    if !answer.is_success() {
        return Err(Failure::new(format!("the scanner answers {}: {}", answer.status(), answer.text())));
    }
    Answer::parse(answer.body())
}

/// Does what the scanner says.
fn apply(message: &mut Message, answer: Answer) -> Result<DataVerdict> {
    match answer.action {
        Action::Reject => return Ok(refuse(550, "5.7.1", &answer.told("message rejected as spam"))),
        Action::SoftReject | Action::Greylist => {
            return Ok(refuse(451, "4.7.1", &answer.told("please try again later")));
        }
        Action::Discard => return Ok(DataVerdict::Discard),
        Action::Pass | Action::AddHeader | Action::RewriteSubject | Action::Quarantine => {}
    }
    for (name, place) in &answer.removed {
        remove(message, name, *place)?;
    }
    for (name, value) in &answer.added {
        message.headers_mut().append(name, &plain(value))?;
    }
    let is_spam = answer.action != Action::Pass;
    if is_spam {
        message.headers_mut().append(FLAG, "Yes")?;
    }
    let verdict = if is_spam { "Yes" } else { "No" };
    let status = format!("{verdict}, score={:.2} required={:.2}", answer.score, answer.required);
    message.headers_mut().append(STATUS, &status)?;
    if let (Action::RewriteSubject, Some(subject)) = (answer.action, &answer.subject) {
        rewrite(message, subject)?;
    }
    Ok(match answer.action {
        Action::Quarantine => DataVerdict::Hold(format!("rspamd: {}", answer.told("quarantine"))),
        _ => DataVerdict::Next,
    })
}

/// Replaces the subject, unless the author signed it: then the field X-Spam has to do.
fn rewrite(message: &mut Message, subject: &str) -> Result<()> {
    match message.headers_mut().set("Subject", &plain(subject)) {
        Err(Error::Denied(why)) => {
            log::debug!("the subject stays: {why}");
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Removes the field of that name at that place, counted from 1; all of them at 0.
fn remove(message: &mut Message, name: &str, place: u32) -> Result<()> {
    if place == 0 {
        message.headers_mut().remove(name)?;
        return Ok(());
    }
    let places = (0u32..).zip(message.headers().iter()).filter(|(_, header)| header.is(name)).map(|(index, _)| index);
    let wanted = places.zip(1u32..).find(|(_, nth)| *nth == place);
    if let Some((index, _)) = wanted {
        message.headers_mut().remove_at(index)?;
    }
    Ok(())
}

/// One line, without control characters: the text of a field.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", " ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

basin_sink::export!(Rspamd: OnEndOfData);

#[cfg(test)]
mod tests;

//! Mechanisms of AUTH that the server does not have: one of its own with challenge and response, and bearer tokens.
//!
//! It shows a dialogue of several lines. The server calls the sink afresh for each line, so what was said before is in
//! a session property, and the verdict `await-input` asks for the next line. At the end `set-authenticated` says who
//! the client is, together with the 235 (RFC 4954 §4).

mod bearer;
mod challenge;
mod sasl;

use basin_sink::prelude::*;

/// What is published where the configuration has no `mechanisms`.
const MECHANISMS: &str = "XCHALLENGE,OAUTHBEARER,XOAUTH2";

/// Session property with the place in the dialogue.
const PLACE: &str = "place";

/// The sink.
#[derive(Debug)]
pub struct AuthSink;

/// A mechanism that this sink knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    /// Proves with HMAC-SHA-256 that the client knows a secret, without sending it.
    Challenge,
    /// RFC 7628.
    OAuthBearer,
    /// What mail programs spoke before RFC 7628, and many still do.
    XOAuth2,
}

/// What comes next in a dialogue.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Send this challenge, and find this place again with the client's answer.
    Ask { challenge: Vec<u8>, place: String },
    /// It is this user.
    Proved(String),
    /// It is not, or nobody knows; why is for the log.
    Failed(&'static str),
}

impl OnInboundCommand for AuthSink {
    fn on_inbound_command(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        match command.keyword().as_str() {
            "EHLO" => publish(session, call),
            "AUTH" => begin(session, command, call),
            _ => Ok(CommandVerdict::Next),
        }
    }
}

impl OnInboundInput for AuthSink {
    fn on_inbound_input(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        input: &[u8],
        call: &Call,
    ) -> Result<CommandVerdict> {
        let Some((mechanism, _)) = mechanism_of(&command.argument()) else { return Ok(CommandVerdict::Next) };
        let Some(answer) = sasl::decoded(input) else { return Ok(not_base64()) };
        let place = String::from_utf8(session.property(PLACE).unwrap_or_default())?;
        let step = mechanism.next(&place, &answer, call)?;
        verdict(session, mechanism, step)
    }
}

/// Names the mechanisms in the answer to EHLO. The server makes one line of all sinks' and its own.
fn publish(session: &Session, call: &Call) -> Result<CommandVerdict> {
    let mut names = Vec::new();
    for mechanism in offered(session)? {
        names.push(mechanism.name());
    }
    if !names.is_empty() {
        call.append_response(&format!("AUTH {}", names.join(" ")))?;
    }
    Ok(CommandVerdict::Next)
}

/// The command AUTH, perhaps with the first answer in it (RFC 4954 §4, initial-response).
fn begin(session: &Session, command: &Command, call: &Call) -> Result<CommandVerdict> {
    let argument = command.argument();
    // What this sink does not offer now is the server's or another sink's to answer: 504 where nobody knows it.
    let Some((mechanism, initial)) = mechanism_of(&argument) else { return Ok(CommandVerdict::Next) };
    if !offered(session)?.contains(&mechanism) {
        return Ok(CommandVerdict::Next);
    }
    let step = match initial {
        None => mechanism.opening(),
        Some(text) => match sasl::initial(text) {
            Some(answer) => mechanism.next("", &answer, call)?,
            None => return Ok(not_base64()),
        },
    };
    verdict(session, mechanism, step)
}

fn verdict(session: &Session, mechanism: Mechanism, step: Step) -> Result<CommandVerdict> {
    match step {
        Step::Ask { challenge, place } => {
            session.set_property(PLACE, place)?;
            Ok(CommandVerdict::AwaitInput(Reply::new(334, sasl::encoded(&challenge))))
        }
        Step::Proved(user) => {
            session.set_authenticated(&user, mechanism.name())?;
            session.set_property(PLACE, "")?;
            metrics::count("accepted");
            log::info!("{user} is authenticated by {}", mechanism.name());
            Ok(CommandVerdict::Consume(Reply::new(235, "authentication successful").status("2.7.0")))
        }
        Step::Failed(why) => {
            metrics::count("refused");
            log::info!("{} of {} failed: {why}", mechanism.name(), session.client());
            // One text for every cause: which of them it was is what a guesser wants to know.
            Ok(refuse(535, "5.7.8", "authentication credentials invalid"))
        }
    }
}

fn not_base64() -> CommandVerdict {
    refuse(501, "5.5.2", "the answer is not base64")
}

/// What this session may use now.
fn offered(session: &Session) -> Result<Vec<Mechanism>> {
    let names = config::get_or("mechanisms", MECHANISMS);
    let is_private = session.tls_version().is_some() || config::flag("tokens-without-tls")? == Some(true);
    let mut offered = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let mechanism = Mechanism::named(name).ok_or_else(|| Failure::new(format!("mechanisms: no {name:?} here")))?;
        // A token is worth as much as a password, so it goes over TLS alone (RFC 7628 §3, RFC 6750 §5.3).
        if is_private || mechanism == Mechanism::Challenge {
            offered.push(mechanism);
        }
    }
    Ok(offered)
}

/// Mechanism and initial response of the argument of AUTH.
fn mechanism_of(argument: &str) -> Option<(Mechanism, Option<&str>)> {
    let (name, initial) = match argument.split_once(' ') {
        Some((name, initial)) => (name, Some(initial.trim())),
        None => (argument, None),
    };
    Some((Mechanism::named(name)?, initial))
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Challenge, Self::OAuthBearer, Self::XOAuth2];

    fn name(self) -> &'static str {
        match self {
            Self::Challenge => "XCHALLENGE",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// What the server says first where the client said nothing with AUTH: nothing (RFC 4954 §4).
    fn opening(self) -> Step {
        Step::Ask { challenge: Vec::new(), place: String::new() }
    }

    /// The step after this answer at that place.
    fn next(self, place: &str, answer: &[u8], call: &Call) -> Result<Step> {
        match self {
            Self::Challenge => challenge::next(place, answer, call),
            Self::OAuthBearer => Ok(bearer::next(place, answer, bearer::Form::Rfc7628)),
            Self::XOAuth2 => Ok(bearer::next(place, answer, bearer::Form::XOAuth2)),
        }
    }
}

basin_sink::export!(AuthSink: OnInboundCommand, OnInboundInput);

#[cfg(test)]
mod tests;

//! Events of the dialogue with other servers.
//!
//! | step | what it does |
//! |---|---|
//! | `line TEXT` | replaces the line of the command |
//! | `out-parameter NAME=VALUE` | adds a parameter to MAIL or RCPT |
//! | `out-property NAME=VALUE` | sets a property of the session; `out-show NAME` logs it |
//! | `heard` | logs what is known of the session, the command and the reply |
//!
//! | verdict | at |
//! |---|---|
//! | `send-first LINE`, `send-blob TEXT` (`~` is a line end), `drop-session` | before a command |
//! | `skip-recipient CODE TEXT`, `skip-message CODE TEXT` | before MAIL, RCPT and the text |
//! | `treat-as CODE TEXT`, `change-state STATE`, `drop-session` | `on-server-response` |

use basin_sink::prelude::*;

use crate::{Scripted, Stage, reply, text, unknown};

impl Stage<'_> {
    /// Plays a step of these events; false where it is none.
    pub(crate) fn outbound(&mut self, word: &str, rest: &str) -> Result<bool> {
        let Some(session) = self.out else { return Ok(false) };
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        match (word, self.out_command) {
            ("line", Some(command)) => command.set_line(rest)?,
            ("out-parameter", Some(command)) => command.append_parameter(rest)?,
            ("out-property", _) => session.set_property(name, value)?,
            ("out-show", _) => log::info!("{rest} is {}", text(session.property(rest))),
            ("heard", _) => heard(session, self.out_command, self.response),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn heard(session: &OutSession, command: Option<&OutCommand>, response: Option<&ServerResponse>) {
    let tls = session.tls_version().unwrap_or_else(|| "none".to_owned());
    log::info!("{} said {:?}, offers {:?}, tls {tls}", session.host(), session.banner(), session.extensions());
    if let Some(command) = command {
        let previous = command.previous_reply().map(|reply| reply.to_string());
        log::info!("about to send {:?} for {:?}, heard {previous:?}", command.line(), command.native_line());
    }
    if let Some(response) = response {
        let pipelined = if response.is_pipelined() { "pipelined" } else { "alone" };
        log::info!("{} {:?} got {} {pipelined}", response.keyword(), response.line(), response.reply());
    }
}

/// A verdict before a command.
fn before_command(mut stage: Stage<'_>, event: &str) -> Result<OutVerdict> {
    let (word, rest) = stage.play(event)?;
    Ok(match word.as_str() {
        "next" => OutVerdict::Next,
        "skip-remaining" => OutVerdict::SkipRemaining,
        "send-first" => OutVerdict::SendFirst(rest),
        "send-blob" => OutVerdict::SendBlob(rest.replace('~', "\r\n").into_bytes()),
        "skip-recipient" => OutVerdict::SkipRecipient(reply(&rest)?),
        "skip-message" => OutVerdict::SkipMessage(reply(&rest)?),
        "drop-session" => OutVerdict::DropSession,
        _ => return Err(unknown(&word).into()),
    })
}

impl OnSessionStart for Scripted {
    fn on_session_start(session: &OutSession, command: &OutCommand, call: &Call) -> Result<OutVerdict> {
        let stage = Stage { out: Some(session), out_command: Some(command), ..Stage::of(call) };
        before_command(stage, "on-session-start")
    }
}

impl OnMessageStart for Scripted {
    fn on_message_start(
        session: &OutSession,
        message: &mut Message,
        command: &OutCommand,
        call: &Call,
    ) -> Result<OutVerdict> {
        let stage = Stage { out: Some(session), message: Some(message), out_command: Some(command), ..Stage::of(call) };
        before_command(stage, "on-message-start")
    }
}

impl OnPerRecipient for Scripted {
    fn on_per_recipient(
        session: &OutSession,
        message: &mut Message,
        recipient: &mut Recipient,
        command: &OutCommand,
        call: &Call,
    ) -> Result<OutVerdict> {
        let stage = Stage {
            out: Some(session),
            message: Some(message),
            recipient: Some(recipient),
            out_command: Some(command),
            ..Stage::of(call)
        };
        before_command(stage, "on-per-recipient")
    }
}

impl OnBeforeData for Scripted {
    fn on_before_data(
        session: &OutSession,
        message: &mut Message,
        command: &OutCommand,
        call: &Call,
    ) -> Result<OutVerdict> {
        let stage = Stage { out: Some(session), message: Some(message), out_command: Some(command), ..Stage::of(call) };
        before_command(stage, "on-before-data")
    }
}

impl OnSessionEnd for Scripted {
    fn on_session_end(session: &OutSession, command: &OutCommand, call: &Call) -> Result<OutVerdict> {
        let stage = Stage { out: Some(session), out_command: Some(command), ..Stage::of(call) };
        before_command(stage, "on-session-end")
    }
}

impl OnServerResponse for Scripted {
    fn on_server_response(
        session: &OutSession,
        message: Option<&mut Message>,
        recipient: Option<&mut Recipient>,
        response: &ServerResponse,
        call: &Call,
    ) -> Result<ResponseVerdict> {
        let mut stage = Stage { out: Some(session), message, recipient, response: Some(response), ..Stage::of(call) };
        let (word, rest) = stage.play("on-server-response")?;
        Ok(match word.as_str() {
            "next" => ResponseVerdict::Next,
            "skip-remaining" => ResponseVerdict::SkipRemaining,
            "treat-as" => ResponseVerdict::TreatAs(reply(&rest)?),
            "change-state" => ResponseVerdict::ChangeState(match rest.as_str() {
                "session-start" => OutState::SessionStart,
                "message-start" => OutState::MessageStart,
                "per-recipient" => OutState::PerRecipient,
                "data" => OutState::Data,
                "session-end" => OutState::SessionEnd,
                _ => return Err(unknown(&rest).into()),
            }),
            "drop-session" => ResponseVerdict::DropSession,
            _ => return Err(unknown(&word).into()),
        })
    }
}

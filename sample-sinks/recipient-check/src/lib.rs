//! A policy for each recipient, from a table in the configuration.
//!
//! It shows the event before RCPT: the command and what the server will answer are known, and a sink can refuse,
//! rewrite the address, or accept what the server would refuse.

use basin_sink::prelude::*;

mod table;

use table::{Action, Table};

/// The sink.
#[derive(Debug)]
pub struct RecipientCheck;

impl OnInboundCommand for RecipientCheck {
    fn on_inbound_command(
        session: &Session,
        message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        let (Some(message), Some(recipient)) = (message, command.path()) else { return Ok(CommandVerdict::Next) };
        let table = Table::parse(&config::get("table").unwrap_or_default())?;
        let Some(action) = table.action_for(&recipient) else { return Ok(CommandVerdict::Next) };
        log::debug!("{recipient}: {action:?}");
        Ok(match action {
            Action::Reject(text) => refuse(550, "5.7.1", &told(text, "this address takes no mail")),
            Action::Defer(text) => refuse(450, "4.2.1", &told(text, "this address takes no mail just now")),
            // A sender is what the client says it is; to be one of those is worth something for a user alone.
            Action::Only(senders) if senders.iter().any(|sender| table::matches(sender, &message.sender())) => {
                CommandVerdict::Next
            }
            Action::Only(_) => refuse(550, "5.7.2", "this address takes mail of its members only"),
            Action::Users if session.auth_user().is_some() => CommandVerdict::Next,
            Action::Users => refuse(530, "5.7.0", "this address takes mail of authenticated users only"),
            Action::To(address) => {
                command.set_path(address)?;
                CommandVerdict::Next
            }
            Action::Accept if call.native_response().is_some_and(|reply| !reply.is_success()) => {
                metrics::count("accepted_against_policy");
                CommandVerdict::Accept
            }
            Action::Accept => CommandVerdict::Next,
        })
    }
}

fn told(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

basin_sink::export!(RecipientCheck: OnInboundCommand);

#[cfg(test)]
mod tests;

//! Mailing lists: members, fields of RFC 2369 and RFC 2919, bounces, and requests by mail.
//!
//! It shows what becomes of one message on its way: `on-inbound-command` takes addresses that the server does not know,
//! `on-categorize` puts the members in the place of the list, and `on-post-categorize` gives each of them a message
//! with a return path of its own (VERP), so that a bounce tells by its address whom it is about.

use basin_sink::prelude::*;

mod bounces;
mod lists;
mod own;
mod post;
mod requests;

use lists::{Lists, Role};

/// The sink.
#[derive(Debug)]
pub struct MailingList;

impl OnInboundCommand for MailingList {
    fn on_inbound_command(
        _session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        let Some(path) = command.path() else { return Ok(CommandVerdict::Next) };
        let is_refused = call.native_response().is_some_and(|reply| reply.is_permanent());
        let lists = Lists::read()?;
        Ok(match lists.role_of(&path) {
            // A return path that nobody gave out is not taken.
            Some((list, Role::Bounces(Some(tag)))) if is_refused && list.member_by_tag(&tag)?.is_none() => {
                CommandVerdict::Next
            }
            Some(_) if is_refused => CommandVerdict::Accept,
            _ => CommandVerdict::Next,
        })
    }
}

impl OnCategorize for MailingList {
    fn on_categorize(message: &mut Message, recipient: &mut Recipient, call: &Call) -> Result<Resolution> {
        let lists = Lists::read()?;
        let Some((list, role)) = lists.role_of(&recipient.address()) else { return Ok(Resolution::Next) };
        match role {
            Role::Post => return post::expand(list, message, recipient),
            Role::Owner => return Ok(Resolution::Expand(list.owners.clone())),
            Role::Request => requests::answer(list, message, call)?,
            Role::Bounces(Some(tag)) => bounces::count(list, &tag, message, call)?,
            Role::Bounces(None) => metrics::count("bounces_of_many"),
        }
        // It was for the list itself, which has dealt with it.
        Ok(Resolution::Expand(Vec::new()))
    }
}

impl OnPostCategorize for MailingList {
    fn on_post_categorize(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        post::send_out(&Lists::read()?, message)?;
        Ok(MessageVerdict::Next)
    }
}

basin_sink::export!(MailingList: OnInboundCommand, OnCategorize, OnPostCategorize);

#[cfg(test)]
mod tests;

//! Host calls of events between two sessions and of the dialogue with other servers.

use crate::basin::sink::message::{MailMsg, NewMessage, Position, Recipient, submit};
use crate::basin::sink::outbound::{OutCommand, OutSession, ServerResponse};
use crate::basin::sink::transport::{Destination, NextHop, TrackRecord};
use crate::basin::sink::types::{Error, Reply};
use crate::{answer, number, show, text};

/// What an event has besides session, message and command.
#[derive(Default, Clone, Copy)]
pub(crate) struct More<'a> {
    pub(crate) subject: Option<&'a MailMsg>,
    pub(crate) recipient: Option<&'a Recipient>,
    pub(crate) destination: Option<&'a Destination>,
    pub(crate) track: Option<&'a TrackRecord>,
    pub(crate) out: Option<&'a OutSession>,
    pub(crate) command: Option<&'a OutCommand>,
    pub(crate) response: Option<&'a ServerResponse>,
}

impl More<'_> {
    /// Plays one line of the script, if it is one of these.
    pub(crate) fn play(&self, msg: Option<&MailMsg>, name: &str, arguments: &[&str]) -> Option<String> {
        self.on_children(msg, name, arguments)
            .or_else(|| self.on_routing(name, arguments))
            .or_else(|| self.on_subject(name, arguments))
            .or_else(|| self.on_out(name, arguments))
            .or_else(|| self.on_track(name))
    }

    fn on_children(&self, msg: Option<&MailMsg>, name: &str, arguments: &[&str]) -> Option<String> {
        let msg = || msg.expect("a message");
        match name {
            "fork" => answer(msg().fork(&ids(arguments)).map(|fork| (fork.recipient_addresses(), fork.id().len()))),
            // Edits of the fork, of the message, and of recipients on either side.
            "fork-edit" => answer(fork_edit(msg(), &ids(arguments))),
            "supersede" => answer(msg().set_supersede_key(arguments[0])),
            "submit" => answer(made(arguments).and_then(submit)),
            "submit-twice" => answer((|| {
                let (first, second) = (made(arguments)?, made(arguments)?);
                Ok((submit(first)?, submit(second)?))
            })()),
            "create-many" => {
                let make = |_| NewMessage::create("", &["x@a.example".to_owned()]).ok();
                show((0..number(arguments, 0)).map_while(make).collect::<Vec<_>>().len())
            }
            "fill-new" => answer((|| {
                let new = NewMessage::create("", &["x@a.example".to_owned()])?;
                let chunk = vec![b'x'; 512 * 1024];
                (0..number(arguments, 0)).try_for_each(|_| new.write_body(&chunk))
            })()),
            "copy" => answer((|| {
                let copy = NewMessage::copy_of(msg(), arguments[0], &[arguments[1].to_owned()])?;
                if let Some(more) = arguments.get(2) {
                    copy.add_header("X-Copy", "yes")?;
                    copy.write_body(more.as_bytes())?;
                }
                submit(copy)
            })()),
            _ => None,
        }
    }

    fn on_routing(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let made = |hop: Result<NextHop, Error>| answer(hop.map(drop));
        let set = |set: fn(&NextHop, &str) -> Result<(), Error>| {
            answer(NextHop::mx("a.example").and_then(|hop| set(&hop, arguments[0])))
        };
        match name {
            "hop-mx" => made(NextHop::mx(arguments[0])),
            "hop-host" => made(NextHop::host(arguments[0], number(arguments, 1))),
            "hop-lmtp" => made(NextHop::lmtp(arguments[0])),
            "hop-local" => show(drop(NextHop::local())),
            "hop-many" => show((0..number(arguments, 0)).filter(|_| NextHop::mx("a.example").is_ok()).count()),
            "hop-tls" => {
                let hop = NextHop::local();
                answer(hop.set_tls(arguments[0]))
            }
            "hop-credentials" => set(NextHop::set_credentials),
            "hop-source" => set(NextHop::set_source),
            "destination" => {
                let destination = self.destination.expect("a destination");
                show((destination.domain(), destination.failures().iter().map(failure).collect::<Vec<_>>()))
            }
            "this-recipient" => {
                let one = self.recipient.expect("a recipient");
                show((one.id(), one.address(), one.outcome()))
            }
            "this-set" => answer(self.recipient.expect("a recipient").set_property(arguments[0], b"v")),
            "this-fail" => answer(self.recipient.expect("a recipient").fail(&crate::reply(arguments[0]))),
            _ => None,
        }
    }

    fn on_subject(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let subject = || self.subject.expect("a subject");
        match name {
            "subject-text" => show((subject().subject(), subject().read_body(0, 100).map(text).ok())),
            "subject-recipients" => {
                show(subject().recipients().iter().map(|one| (one.address(), one.outcome())).collect::<Vec<_>>())
            }
            "subject-parts" => {
                show((0..subject().part_count()).filter_map(|at| subject().part(at)?.text()).collect::<Vec<_>>())
            }
            "subject-edit" => answer(subject().add_header(arguments[0], "x", Position::Last)),
            "subject-property" => answer(subject().set_property("k", b"v")),
            "subject-body" => answer(subject().new_body().map(drop)),
            "subject-rcpt-fail" => answer(subject().recipients()[0].fail(&crate::reply("550 5.1.1 no"))),
            "subject-priority" => answer(subject().set_priority(1)),
            _ => None,
        }
    }

    fn on_out(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let out = || self.out.expect("a session");
        let command = || self.command.expect("a command");
        let response = || self.response.expect("a response");
        match name {
            "out-session" => show((
                (out().id(), out().host(), out().remote().address, out().local().port),
                (out().attempt(), out().banner(), out().extensions(), out().tls_version()),
            )),
            "out-property" => show(out().property(arguments[0]).map(text)),
            "set-out-property" => answer(out().set_property(arguments[0], arguments[1].as_bytes())),
            "out-keyword" => show(command().keyword()),
            "out-line" => show(command().line()),
            "native-line" => show(command().native_line()),
            "set-line" => answer(command().set_line(&arguments[0].replace('~', "\r\n"))),
            "append-parameter" => answer(command().append_parameter(arguments[0])),
            "previous-reply" => show(command().previous_reply().map(|reply| (reply.code, reply.lines))),
            "heard" => show((response().keyword(), response().reply().code, response().is_pipelined())),
            "response-line" => show(response().line()),
            _ => None,
        }
    }

    fn on_track(&self, name: &str) -> Option<String> {
        let track = || self.track.expect("a record");
        match name {
            "track" => show((
                (track().kind(), track().at().seconds, track().message_id(), track().remote().map(|it| it.address)),
                (track().reply().map(|reply| reply.code), track().size(), track().elapsed_ms()),
            )),
            "track-sender" => show(track().sender()),
            "track-recipient" => show(track().recipient()),
            _ => None,
        }
    }
}

fn failure((hop, reply): &(String, Reply)) -> String {
    format!("{hop}: {}", reply.code)
}

fn ids(arguments: &[&str]) -> Vec<u32> {
    let words = arguments.first().copied().unwrap_or("0").split(',');
    words.filter_map(|id| id.parse().ok()).collect()
}

/// `SENDER|RECIPIENT,RECIPIENT|NAME|VALUE|BODY`.
fn made(arguments: &[&str]) -> Result<NewMessage, Error> {
    let word = |at: usize| arguments.get(at).copied().unwrap_or_default();
    let recipients: Vec<String> = word(1).split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    let new = NewMessage::create(word(0), &recipients)?;
    if !word(2).is_empty() {
        new.add_header(word(2), word(3))?;
        new.write_body(word(4).as_bytes())?;
    }
    Ok(new)
}

fn fork_edit(msg: &MailMsg, ids: &[u32]) -> Result<(Vec<String>, Option<String>, Option<String>), Error> {
    let moved: Vec<Recipient> = msg.recipients().into_iter().filter(|one| ids.contains(&one.id())).collect();
    let fork = msg.fork(ids)?;
    fork.add_header("X-Fork", "yes", Position::Last)?;
    fork.set_property("side", b"fork")?;
    msg.set_property("side", b"main")?;
    moved[0].set_property("moved", b"yes")?;
    fork.recipients()[0].set_route_domain("other.example")?;
    let body = fork.new_body()?;
    body.write(b"of the fork")?;
    fork.replace_body(body)?;
    fork.add_recipient("late@a.example")?;
    Ok((fork.recipient_addresses(), fork.text_body(), msg.header("X-Fork")))
}

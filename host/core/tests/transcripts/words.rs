//! What the words of a transcript stand for.

use core::time::Duration;
use std::sync::{Arc, Mutex, OnceLock};

use basin_core::addr::Address;
use basin_core::event::{Decision, EventKind, Later, Overlay, Question, Verdict};
use basin_core::mail::{Auth, Field, Outcome, Scope, TlsFacts};
use basin_core::smtp::{Accounts, Channel, Login, Secured, StoredKeys, Verified};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};

use crate::script::{reply, seconds};

/// Who lives at `basin.example`.
pub(crate) fn directory() -> Directory {
    let address = |local: &str| Address::parse(&format!("{local}@basin.example")).expect("valid");
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: vec![(address("alice"), "alice".into()), (address("bob"), "bob".into())],
        aliases: vec![(address("team"), vec![address("alice"), address("bob")])],
        postmaster: "alice".into(),
        catch_all: Vec::new(),
        host_names: Vec::new(),
    };
    Directory::new(tables).expect("the tables are right")
}

/// Who may log in: `alice` with the password `rabbit hole`, and `user` with that of RFC 7677 §3, `pencil`.
pub(crate) fn accounts() -> Arc<Accounts> {
    static MADE: OnceLock<Arc<Accounts>> = OnceLock::new();
    MADE.get_or_init(|| Arc::new(make_accounts())).clone()
}

fn make_accounts() -> Accounts {
    let line = |user: &str, password: &str, salt: &[u8]| {
        Accounts::line(user, &StoredKeys::derive(password, salt, 4096).expect("keys")).expect("a line")
    };
    let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
    let text = format!("{}\n{}\n", line("alice", "rabbit hole", b"12345678"), line("user", "pencil", &salt));
    Accounts::parse(&text, [7; 32]).expect("the lines are right")
}

/// Compares a password, once for all the times that a transcript is played: it takes its time.
pub(crate) fn verified(accounts: &Accounts, login: Login) -> Verified {
    static KNOWN: Mutex<Vec<(Login, Verified)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().expect("no test panics with it");
    if let Some((_, verified)) = known.iter().find(|(other, _)| *other == login) {
        return *verified;
    }
    let verified = accounts.verify(&login);
    known.push((login, verified));
    verified
}

/// What the handshake comes to.
pub(crate) fn secured() -> Secured {
    let facts = TlsFacts {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        client_subject: None,
        server_name: Some("basin.example".into()),
    };
    Secured { facts, channel: Channel { exporter: Some(vec![9; 32]), server_end_point: None } }
}

pub(crate) fn decision(verdict: Verdict, overlay: Overlay) -> Decision {
    Decision { verdict, by: Some("a".into()), overlay, failures: Vec::new(), is_heard: true }
}

pub(crate) fn asked(question: &Question) -> String {
    match (question.occasion.event, &question.overlay.command) {
        (EventKind::OnConnect, _) => "connect".into(),
        (EventKind::OnEndOfData, _) => "end-of-data".into(),
        (EventKind::OnAuthenticated, _) => {
            let auth = question.occasion.session.as_ref().and_then(|session| session.vouched.auth.as_ref());
            let who = auth.map_or_else(|| "nobody".into(), |auth| format!("{} {}", auth.user, auth.mechanism));
            format!("authenticated {who}")
        }
        (EventKind::OnInboundInput, Some(command)) => {
            let input = String::from_utf8_lossy(question.occasion.input.reveal()).into_owned();
            format!("input {} {}: {input}", question.only.as_deref().unwrap_or_default(), command.keyword)
        }
        (EventKind::OnInboundCommand, Some(command)) => {
            let rest = command.path.as_deref().unwrap_or(&command.argument);
            format!("command {} {rest}", command.keyword).trim_end().to_owned()
        }
        (event, _) => event.name().to_owned(),
    }
}

pub(crate) fn describe(notice: &Question) -> String {
    let line = String::from_utf8_lossy(&notice.occasion.line).into_owned();
    let reason = notice.occasion.session.as_ref().and_then(|session| session.end_reason);
    match &notice.occasion.native_response {
        Some(reply) => format!("{} {line} = {reply}", notice.occasion.event),
        None => format!("{} {}", notice.occasion.event, reason.unwrap_or_default()),
    }
}

pub(crate) fn verdict(text: &str) -> Option<Verdict> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match word {
        "next" => Verdict::Next,
        "skip-remaining" => Verdict::SkipRemaining,
        "accept" => Verdict::Accept,
        "consume" => Verdict::Consume(reply(rest)?),
        "refuse" => Verdict::Refuse(reply(rest)?),
        "drop-session" => Verdict::DropSession(reply(rest)?),
        "defer" => Verdict::Refuse(reply(&format!("451 {rest}"))?),
        "await" => Verdict::AwaitInput(reply(rest)?),
        "await-octets" => {
            let (count, rest) = rest.split_once(' ')?;
            Verdict::AwaitOctets(reply(rest)?, count.parse().ok()?)
        }
        "waive" => Verdict::WaiveUpTo(rest.parse().ok()?),
        "discard" => Verdict::Discard,
        "hold" => Verdict::Hold(rest.into()),
        "later" => Verdict::Defer(Later { reply: reply(rest)?, after: Duration::from_secs(60) }),
        _ => return None,
    })
}

pub(crate) fn edit(overlay: &mut Overlay, change: &str) -> Option<()> {
    let (what, rest) = change.split_once(' ').unwrap_or((change, ""));
    match what {
        "append" => overlay.appended.push(rest.into()),
        "response" => overlay.response = Some(reply(rest)?),
        "banner" => overlay.banner = Some(rest.into()),
        "delay" => overlay.delay += seconds(rest)?,
        "authenticated" => {
            let (user, mechanism) = rest.split_once(' ')?;
            overlay.authenticated = Some(Auth { user: user.into(), mechanism: mechanism.into() });
        }
        "property" => {
            let (name, value) = rest.split_once('=')?;
            Arc::make_mut(&mut overlay.session_bag).set(Scope("a"), name, value.into()).ok()?;
        }
        "error" => overlay.is_protocol_error = true,
        "path" => Arc::make_mut(overlay.command.as_mut()?).path = Some(rest.into()),
        "parameter" => {
            let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
            Arc::make_mut(overlay.command.as_mut()?).parameters.insert(key.into(), value.into());
        }
        "recipient" => {
            let message = overlay.message.as_mut()?;
            Arc::make_mut(&mut message.envelope).add(Address::parse(rest).ok()?, rest.into())?;
        }
        // `fail ADDRESS CODE text` and `put-off ADDRESS CODE text`: what sinks say of one recipient.
        "fail" | "put-off" => {
            let (address, text) = rest.split_once(' ')?;
            let reply = reply(text)?;
            let message = overlay.message.as_mut()?;
            let recipients = &mut Arc::make_mut(&mut message.envelope).recipients;
            let recipient = recipients.iter_mut().find(|recipient| recipient.address.to_string() == address)?;
            recipient.outcome = if what == "fail" {
                Outcome::failed(reply)
            } else {
                Outcome::deferred(Timestamp::from_seconds(1_700_000_060), reply)
            };
        }
        "hold" => {
            let (address, reason) = rest.split_once(' ')?;
            let message = overlay.message.as_mut()?;
            let recipients = &mut Arc::make_mut(&mut message.envelope).recipients;
            let recipient = recipients.iter_mut().find(|recipient| recipient.address.to_string() == address)?;
            recipient.outcome = Outcome::Held { reason: reason.to_owned() };
        }
        "no-recipients" => {
            let message = overlay.message.as_mut()?;
            Arc::make_mut(&mut message.envelope).recipients.clear();
        }
        "field" => {
            let (name, value) = rest.split_once(": ")?;
            let message = overlay.message.as_mut()?;
            Arc::make_mut(&mut message.header).insert(0, Field::new(name, value).ok()?).ok()?;
        }
        _ => return None,
    }
    Some(())
}

//! Does what its configuration says: each line of `script` is one host call, `name|argument|argument`, and the log
//! tells what came of it. `verdict` is the answer. The tests of the host's functions, grants and limits drive it.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package probe:probe;
        world probe {
            include basin:sink/all-events@0.1.0;
        }
    ",
    world: "probe:probe/probe",
    generate_all,
});

use basin::sink::inbound::{Command, CommandVerdict, ConnectVerdict, DataVerdict, Session, SizeVerdict};
use basin::sink::message::{MailMsg, Position, Recipient};
use basin::sink::types::{Call, Datetime, Error, Later, Reply};
use basin::sink::{config, log, message, metrics, server};
use exports::basin::sink as events;

use std::cell::{Cell, RefCell};

mod files;
mod http;
mod services;
mod steering;
mod verdicts;

use steering::More;

struct Probe;

thread_local! {
    /// Calls that this instance has had.
    static CALLS: Cell<u32> = const { Cell::new(0) };
    /// Handles that outlive their call, where the instance does.
    static KEPT: RefCell<Vec<Recipient>> = const { RefCell::new(Vec::new()) };
    /// Memory that outlives its call.
    static HOARD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

export!(Probe);

/// What a script can act on at the event.
struct Scene<'a> {
    session: Option<&'a Session>,
    message: Option<&'a MailMsg>,
    command: Option<&'a Command>,
    /// What events between two sessions and with other servers have besides.
    more: steering::More<'a>,
    call: &'a Call,
}

fn play(scene: &Scene<'_>) {
    let script = config::get("script").unwrap_or_default();
    for line in script.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split('|').collect();
        let name = words[0];
        let arguments = &words[1..];
        let shown = scene
            .on_call(name, arguments)
            .or_else(|| scene.on_session(name, arguments))
            .or_else(|| scene.on_command(name, arguments))
            .or_else(|| scene.on_message(name, arguments))
            .or_else(|| scene.on_content(name, arguments))
            .or_else(|| scene.on_recipient(name, arguments))
            .or_else(|| services::play(scene.message, name, arguments))
            .or_else(|| scene.more.play(scene.message, name, arguments))
            .or_else(|| http::play(name, arguments))
            .or_else(|| files::play(name, arguments))
            .or_else(|| around(name, arguments));
        let shown = shown.unwrap_or_else(|| panic!("the probe does not know {name:?}"));
        log::write(log::Level::Info, &format!("{name}: {shown}"));
    }
}

fn show<T: std::fmt::Debug>(value: T) -> Option<String> {
    Some(format!("{value:?}"))
}

fn answer<T: std::fmt::Debug>(value: Result<T, Error>) -> Option<String> {
    Some(match value {
        Ok(value) => format!("ok {value:?}"),
        Err(Error::Denied(why)) => format!("denied {why}"),
        Err(Error::NotFound) => "not-found".to_owned(),
        Err(Error::Invalid(why)) => format!("invalid {why}"),
        Err(Error::Duplicate) => "duplicate".to_owned(),
        Err(Error::Limit(what)) => format!("limit {what}"),
        Err(Error::ReadOnly) => "read-only".to_owned(),
        Err(Error::Unavailable(what)) => format!("unavailable {what}"),
        Err(Error::Other(what)) => format!("other {what}"),
    })
}

fn number<T: std::str::FromStr>(arguments: &[&str], index: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    arguments[index].parse().expect("a number")
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8_lossy(&octets).into_owned()
}

/// `550 5.7.1 text` as a reply.
fn reply(written: &str) -> Reply {
    let mut words = written.splitn(3, ' ');
    let code = words.next().and_then(|code| code.parse().ok()).expect("a code");
    let enhanced = words.next().filter(|enhanced| *enhanced != "-").map(str::to_owned);
    Reply { code, enhanced, lines: words.next().map(str::to_owned).into_iter().collect() }
}

impl Scene<'_> {
    fn on_call(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let call = self.call;
        match name {
            "binding" => show((call.binding(), call.sink(), call.now().seconds, call.raised(), call.idempotency_key())),
            "native-response" => show(call.native_response().map(|reply| (reply.code, reply.lines))),
            "response" => show(call.response().map(|reply| (reply.code, reply.lines))),
            "append-response" => answer(call.append_response(arguments[0])),
            "set-response" => answer(call.set_response(&reply(arguments[0]))),
            "delay-response" => answer(call.delay_response(number(arguments, 0))),
            "set-protocol-error" => show(call.set_protocol_error()),
            _ => None,
        }
    }

    fn on_session(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let session = || self.session.expect("a session");
        match name {
            "session" => show((session().id(), session().client().address, session().helo_domain())),
            "session-end" => show(session().end_reason()),
            "session-property" => show(session().property(arguments[0]).map(text)),
            "set-session-property" => answer(session().set_property(arguments[0], arguments[1].as_bytes())),
            "set-banner" => answer(session().set_banner(arguments[0])),
            "set-authenticated" => answer(session().set_authenticated(arguments[0], arguments[1])),
            "vouched" => show((
                session().client_name(),
                (session().tls_version(), session().tls_cipher(), session().tls_client_subject()),
                (session().auth_user(), session().auth_mechanism()),
            )),
            _ => None,
        }
    }

    fn on_command(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let command = || self.command.expect("a command");
        match name {
            "keyword" => show(command().keyword()),
            "argument" => show(command().argument()),
            "line" => show(text(command().line())),
            "path" => show(command().path()),
            "set-path" => answer(command().set_path(arguments[0])),
            "command-parameter" => show(command().parameter(arguments[0])),
            "set-command-parameter" => answer(command().set_parameter(arguments[0], arguments.get(1).copied())),
            _ => None,
        }
    }

    fn on_message(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let msg = || self.message.expect("a message");
        let at = |index| Datetime { seconds: number(arguments, index), nanoseconds: 0 };
        match name {
            "message" => show((msg().id(), msg().origin(), msg().priority(), msg().message_class())),
            "pickup-file" => show(msg().pickup_file()),
            "sender" => show(msg().sender()),
            "set-sender" => answer(msg().set_sender(arguments[0])),
            "recipient-count" => show(msg().recipient_count()),
            "recipients" => show(msg().recipient_addresses()),
            "matched" => show(msg().matched_recipients().iter().map(|one| one.address()).collect::<Vec<_>>()),
            "add-recipient" => answer(msg().add_recipient(arguments[0]).map(|added| added.id())),
            "parameter" => show(msg().parameter(arguments[0])),
            "set-parameter" => answer(msg().set_parameter(arguments[0], arguments.get(1).copied())),
            "set-priority" => answer(msg().set_priority(number(arguments, 0))),
            "set-deliver-after" => answer(msg().set_deliver_after(at(0))),
            "set-expiry" => answer(msg().set_expiry(at(0), at(1))),
            "property" => show(msg().property(arguments[0]).map(text)),
            "set-property" => answer(msg().set_property(arguments[0], arguments[1].as_bytes())),
            "remove-property" => answer(msg().remove_property(arguments[0])),
            "property-names" => show(msg().property_names()),
            "message-vouched" => {
                show((msg().auth_user(), msg().auth_mechanism(), msg().tls_version(), msg().tls_cipher()))
            }
            "keep-recipient" => show(KEPT.with_borrow_mut(|kept| kept.extend(msg().recipient(0)))),
            "hold-handles" => {
                let count: usize = number(arguments, 0);
                let held: Vec<_> = (0..count).map(|_| msg().recipient(0)).collect();
                show(held.len())
            }
            _ => None,
        }
    }

    fn on_content(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let msg = || self.message.expect("a message");
        match name {
            "header" => show(msg().header(arguments[0])),
            "headers" => show(msg().headers().into_iter().map(|field| field.name).collect::<Vec<_>>()),
            "raw-header" => show(text(msg().raw_header())),
            "addresses" => show(msg().addresses(arguments[0])),
            "add-header" => answer(msg().add_header(arguments[0], arguments[1], Position::First)),
            "append-header" => answer(msg().add_header(arguments[0], arguments[1], Position::Last)),
            "insert-header" => answer(msg().insert_header(number(arguments, 0), arguments[1], arguments[2])),
            "set-header" => answer(msg().set_header(arguments[0], arguments[1])),
            "edit-header-at" => answer(msg().edit_header_at(number(arguments, 0), arguments[1])),
            "remove-header-at" => answer(msg().remove_header_at(number(arguments, 0))),
            "remove-header" => answer(msg().remove_header(arguments[0])),
            "replace-header-block" => answer(msg().replace_header_block(arguments[0].replace('~', "\r\n").as_bytes())),
            "fill-header" => {
                let value = "x ".repeat(number::<usize>(arguments, 0) / 2);
                let added = (0..200).take_while(|_| msg().add_header("X-Fill", &value, Position::Last).is_ok()).count();
                show(added)
            }
            "size" => show((msg().size(), msg().body_size())),
            "read" => answer(msg().read(number(arguments, 0), number(arguments, 1)).map(text)),
            "read-body" => answer(msg().read_body(number(arguments, 0), number(arguments, 1)).map(text)),
            "read-body-len" => {
                answer(msg().read_body(number(arguments, 0), number(arguments, 1)).map(|chunk| chunk.len()))
            }
            "replace-body" => answer((|| {
                let body = msg().new_body()?;
                body.write(arguments[0].replace('~', "\n").as_bytes())?;
                msg().replace_body(body)
            })()),
            "fill-body" => answer((|| {
                let chunk = vec![b'x'; 512 * 1024];
                let body = msg().new_body()?;
                (0..number(arguments, 0)).try_for_each(|_| body.write(&chunk))?;
                msg().replace_body(body)
            })()),
            "protection" => show(msg().protection()),
            "subject" => show(msg().subject()),
            "from" => show((msg().from_address(), msg().message_id(), msg().date().map(|date| date.seconds))),
            "text-body" => show(msg().text_body()),
            "html-body" => show(msg().html_body()),
            "parts" => {
                let parts = (0..msg().part_count()).filter_map(|index| msg().part(index));
                let shown = |part: message::Part| {
                    (part.path(), part.content_type(), part.file_name(), part.size(), part.is_attachment())
                };
                show(parts.map(shown).collect::<Vec<_>>())
            }
            "part" => show(msg().part(number(arguments, 0)).map(|part| part.read(0, u32::MAX).map(text))),
            "part-text" => show(msg().part(number(arguments, 0)).map(|part| part.text())),
            "part-header" => show(msg().part(number(arguments, 0)).map(|part| part.header(arguments[1]))),
            "part-range" => show(msg().part(number(arguments, 0)).map(|part| part.raw_range())),
            _ => None,
        }
    }

    fn on_recipient(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let one = || self.message.expect("a message").recipient(number(arguments, 0)).expect("a recipient");
        match name {
            "rcpt" => show((one().id(), one().address(), one().domain(), one().outcome(), one().notify())),
            "rcpt-last-reply" => show(one().last_reply().map(|reply| (reply.code, reply.lines.concat()))),
            "rcpt-set-address" => answer(one().set_address(arguments[1])),
            "rcpt-set-notify" => answer(one().set_notify(&[arguments[1].to_owned()])),
            "rcpt-set-route" => answer(one().set_route_domain(arguments[1])),
            "rcpt-fail" => answer(one().fail(&reply(arguments[1]))),
            "rcpt-defer" => answer(one().defer(&Later { reply: reply(arguments[1]), after_seconds: 60 })),
            "rcpt-hold" => answer(one().hold(arguments[1])),
            "rcpt-remove" => {
                let gone = one();
                let removed = gone.remove();
                show((answer(removed), gone.address(), answer(gone.set_address("other@a.example"))))
            }
            "rcpt-set-property" => answer(one().set_property(arguments[1], arguments[2].as_bytes())),
            "rcpt-property" => show(one().property(arguments[1]).map(text)),
            _ => None,
        }
    }
}

/// What needs no scene: services, WASI, and ways to end a call.
fn around(name: &str, arguments: &[&str]) -> Option<String> {
    match name {
        "config" => show((config::get(arguments[0]), config::keys())),
        "server" => {
            show((server::host_name(), server::is_local_domain(arguments[0]), server::is_local_address(arguments[1])))
        }
        "metric" => show((metrics::add(arguments[0], 2), metrics::observe(arguments[0], 0.5))),
        "log" => show(log::write(log::Level::Warn, &arguments[0].replace('~', "\n\u{1b}"))),
        "fill-log" => show((0..number(arguments, 0)).for_each(|_| log::write(log::Level::Info, &"l".repeat(1_000)))),
        "time" => {
            show(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|now| now.as_secs()).ok())
        }
        "random" => {
            use std::hash::{BuildHasher, RandomState};
            show(RandomState::new().hash_one(1))
        }
        "files" => show((std::fs::read("/etc/passwd").is_ok(), std::env::vars().count(), std::env::args().count())),
        "connect" => show(std::net::TcpStream::connect("127.0.0.1:25").is_ok()),
        "print" => {
            use std::io::Write;
            let text = arguments[0].repeat(number(arguments, 1));
            eprint!("{text}");
            print!("{text}");
            show(std::io::stdout().flush().is_ok())
        }
        "sleep" => show(std::thread::sleep(std::time::Duration::from_millis(number(arguments, 0)))),
        "recurse" => show(recurse(number(arguments, 0))),
        "grow" => show(vec![1_u8; number::<usize>(arguments, 0)].iter().map(|octet| u64::from(*octet)).sum::<u64>()),
        "long-argument" => show(config::get(&"k".repeat(number(arguments, 0)))),
        "calls" => show(CALLS.with(|calls| {
            calls.set(calls.get() + 1);
            calls.get()
        })),
        "use-kept" => show(KEPT.with_borrow(|kept| kept[0].address())),
        "drop-kept" => show(KEPT.with_borrow_mut(|kept| kept.drain(..).count())),
        "hoard" => show(HOARD.with_borrow_mut(|hoard| hoard.push(vec![1_u8; number(arguments, 0)]))),
        "exit" => std::process::exit(3),
        "panic" => panic!("the probe panics as it was told"),
        "call-many" => show((0..number(arguments, 0)).map(|_| config::keys().len()).sum::<usize>()),
        _ => None,
    }
}

// Its numbers stay out of memory: with an array in each frame the stack that Rust keeps there would run over first.
// Multiplying and mixing keeps the compiler from making a loop of it.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == 0 { 1 } else { recurse(depth - 1).wrapping_mul(depth | 1) ^ depth }
}

/// `refuse 550 5.7.1 no` as the name of a verdict and what stands behind it.
fn verdict() -> (String, String) {
    let said = config::get("verdict").unwrap_or_else(|| "next".to_owned());
    let (name, rest) = said.split_once(' ').unwrap_or((said.as_str(), ""));
    (name.to_owned(), rest.to_owned())
}

impl events::on_connect::Guest for Probe {
    fn handle(session: Session, call: Call) -> Result<ConnectVerdict, String> {
        play(&Scene { session: Some(&session), message: None, command: None, more: More::default(), call: &call });
        let (name, rest) = verdict();
        Ok(match name.as_str() {
            "next" => ConnectVerdict::Next,
            "skip-remaining" => ConnectVerdict::SkipRemaining,
            "refuse" => ConnectVerdict::Refuse(reply(&rest)),
            _ => return Err(rest),
        })
    }
}

fn command_verdict() -> Result<CommandVerdict, String> {
    let (name, rest) = verdict();
    Ok(match name.as_str() {
        "next" => CommandVerdict::Next,
        "skip-remaining" => CommandVerdict::SkipRemaining,
        "accept" => CommandVerdict::Accept,
        "consume" => CommandVerdict::Consume(reply(&rest)),
        "refuse" => CommandVerdict::Refuse(reply(&rest)),
        "drop-session" => CommandVerdict::DropSession(reply(&rest)),
        "await-input" => CommandVerdict::AwaitInput(reply(&rest)),
        "await-octets" => CommandVerdict::AwaitOctets((reply("354 - go on"), rest.parse().expect("a number"))),
        _ => return Err(rest),
    })
}

fn data_verdict() -> Result<DataVerdict, String> {
    let (name, rest) = verdict();
    Ok(match name.as_str() {
        "next" => DataVerdict::Next,
        "skip-remaining" => DataVerdict::SkipRemaining,
        "refuse" => DataVerdict::Refuse(reply(&rest)),
        "drop-session" => DataVerdict::DropSession(reply(&rest)),
        "discard" => DataVerdict::Discard,
        "hold" => DataVerdict::Hold(rest),
        _ => return Err(rest),
    })
}

impl events::on_authenticated::Guest for Probe {
    fn handle(session: Session, call: Call) -> Result<CommandVerdict, String> {
        play(&Scene { session: Some(&session), message: None, command: None, more: More::default(), call: &call });
        command_verdict()
    }
}

impl events::on_inbound_command::Guest for Probe {
    fn handle(session: Session, msg: Option<MailMsg>, command: Command, call: Call) -> Result<CommandVerdict, String> {
        play(&Scene {
            session: Some(&session),
            message: msg.as_ref(),
            command: Some(&command),
            more: More::default(),
            call: &call,
        });
        command_verdict()
    }
}

impl events::on_inbound_input::Guest for Probe {
    fn handle(
        session: Session,
        msg: Option<MailMsg>,
        command: Command,
        input: Vec<u8>,
        call: Call,
    ) -> Result<CommandVerdict, String> {
        log::write(log::Level::Info, &format!("input: {}", text(input)));
        play(&Scene {
            session: Some(&session),
            message: msg.as_ref(),
            command: Some(&command),
            more: More::default(),
            call: &call,
        });
        command_verdict()
    }
}

impl events::on_end_of_headers::Guest for Probe {
    fn handle(session: Session, msg: MailMsg, call: Call) -> Result<DataVerdict, String> {
        play(&Scene {
            session: Some(&session),
            message: Some(&msg),
            command: None,
            more: More::default(),
            call: &call,
        });
        data_verdict()
    }
}

impl events::on_end_of_data::Guest for Probe {
    fn handle(session: Session, msg: MailMsg, call: Call) -> Result<DataVerdict, String> {
        play(&Scene {
            session: Some(&session),
            message: Some(&msg),
            command: None,
            more: More::default(),
            call: &call,
        });
        data_verdict()
    }
}

impl events::on_max_msg_size::Guest for Probe {
    fn handle(session: Session, msg: MailMsg, limit: u64, call: Call) -> Result<SizeVerdict, String> {
        log::write(log::Level::Info, &format!("limit: {limit}"));
        play(&Scene {
            session: Some(&session),
            message: Some(&msg),
            command: None,
            more: More::default(),
            call: &call,
        });
        let (name, rest) = verdict();
        Ok(match name.as_str() {
            "next" => SizeVerdict::Next,
            "waive-up-to" => SizeVerdict::WaiveUpTo(rest.parse().expect("a number")),
            _ => return Err(rest),
        })
    }
}

impl events::on_reject::Guest for Probe {
    fn handle(session: Session, line: Vec<u8>, call: Call) -> Result<(), String> {
        log::write(log::Level::Info, &format!("rejected: {}", text(line)));
        play(&Scene { session: Some(&session), message: None, command: None, more: More::default(), call: &call });
        Ok(())
    }
}

impl events::on_disconnect::Guest for Probe {
    fn handle(session: Session, call: Call) -> Result<(), String> {
        play(&Scene { session: Some(&session), message: None, command: None, more: More::default(), call: &call });
        Ok(())
    }
}

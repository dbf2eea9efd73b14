//! Does at each event what its configuration says, so that one component serves every test of a verdict.
//!
//! The key is the event's name, the value a list of steps, parted by ` ; `. A step is an effect or, as the last
//! one, a verdict in the words of the contract; without a verdict the sink says `next`. Several lists are parted by
//! ` || `: the first one whose conditions hold is played, and where none does the sink says `next`.
//!
//! | step | what it does |
//! |---|---|
//! | `header NAME=VALUE` | adds a header field |
//! | `sender ADDRESS` | replaces the reverse path |
//! | `add ADDRESS` | adds a recipient |
//! | `property NAME=VALUE` | sets a property of the message, or of the session where there is none |
//! | `show NAME` | logs that property |
//! | `append TEXT` | adds a line to the reply |
//! | `response CODE TEXT` | replaces the reply |
//! | `banner TEXT` | replaces the banner |
//! | `path ADDRESS` | replaces the path of MAIL or RCPT |
//! | `parameter NAME=VALUE` | sets a parameter of MAIL or RCPT; without `=VALUE` it is removed |
//! | `authenticated USER=MECHANISM` | says who the client is |
//! | `rcpt-fail ADDRESS=CODE TEXT` | fails that recipient; `rcpt-defer` and `rcpt-hold` likewise |
//! | `fault` | counts a protocol error |
//! | `input` | logs what the client sent after `await-input` |
//! | `known` | logs who the client proved to be, and its TLS |
//! | `seen NAME` | counts in the sink's own memory and logs how often; tells how long an instance lives |
//! | `when VERB` | the steps behind it are for this verb alone |
//! | `for ADDRESS` | the steps behind it are for this recipient alone |
//! | `raised N`, `failures N` | the steps behind it are for the event raised so often before, the destination failed so often |
//! | `replied CODE`, `fresh` | the steps behind it are for that reply to what was sent first, or to none yet |
//! | `delay MILLISECONDS` | has the reply wait |
//! | `log TEXT` | logs |
//! | `count NAME` | counts |
//! | `fail TEXT` | returns an error; where TEXT is a reply it is a verdict |
//! | `panic TEXT` | panics |
//! | `spin` | goes round for ever |
//!
//! The steps of events between two sessions and in the dialogue with other servers are told in their files.

mod between;
mod outbound;

use basin_sink::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

thread_local! {
    /// How often each name was seen by this instance.
    static SEEN: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
}

/// The sink.
#[derive(Debug)]
pub struct Scripted;

/// What an event lets steps act on.
struct Stage<'a> {
    session: Option<&'a Session>,
    message: Option<&'a mut Message>,
    command: Option<&'a Command>,
    recipient: Option<&'a mut Recipient>,
    destination: Option<&'a Destination>,
    out: Option<&'a OutSession>,
    out_command: Option<&'a OutCommand>,
    response: Option<&'a ServerResponse>,
    input: &'a [u8],
    call: &'a Call,
}

impl<'a> Stage<'a> {
    /// A stage with nothing on it.
    fn of(call: &'a Call) -> Self {
        Self {
            session: None,
            message: None,
            command: None,
            recipient: None,
            destination: None,
            out: None,
            out_command: None,
            response: None,
            input: &[],
            call,
        }
    }

    /// Runs the effects and leaves the verdict: its word, and what stands behind it.
    fn play(&mut self, event: &str) -> Result<(String, String)> {
        let next = || ("next".to_owned(), String::new());
        let script = config::get_or(event, "next");
        'lists: for list in script.split(" || ") {
            for step in list.split(" ; ") {
                let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
                match self.holds(word, rest)? {
                    Some(true) => {}
                    Some(false) => continue 'lists,
                    None if self.effect(word, rest)? => {}
                    None => return Ok((word.to_owned(), rest.to_owned())),
                }
            }
            return Ok(next());
        }
        Ok(next())
    }

    /// Whether a condition holds; none where the step is no condition.
    fn holds(&self, word: &str, rest: &str) -> Result<Option<bool>> {
        let verb = || {
            let command = self.command.map(Command::keyword);
            let command = command.or_else(|| self.out_command.map(OutCommand::keyword));
            command.or_else(|| self.response.map(ServerResponse::keyword))
        };
        let previous = || self.out_command.and_then(OutCommand::previous_reply);
        Ok(Some(match word {
            "when" => verb().as_deref() == Some(rest),
            "for" => self.recipient.as_ref().is_some_and(|recipient| recipient.address() == rest),
            "raised" => u64::from(self.call.raised()) == number(rest)?,
            "failures" => self.destination.map_or(0, |it| it.failures().len()) as u64 == number(rest)?,
            "replied" => previous().map(|reply| u64::from(reply.code)) == Some(number(rest)?),
            "fresh" => previous().is_none(),
            _ => return Ok(None),
        }))
    }

    fn effect(&mut self, word: &str, rest: &str) -> Result<bool> {
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        match (word, &mut self.message, self.session) {
            ("header", Some(message), _) => message.headers_mut().append(name, value)?,
            ("sender", Some(message), _) => message.set_sender(rest)?,
            ("add", Some(message), _) => drop(message.add_recipient(rest)?),
            ("property", Some(message), _) => message.set_property(name, value)?,
            ("property", None, Some(session)) => session.set_property(name, value)?,
            ("show", Some(message), _) => log::info!("{rest} is {}", text(message.property(rest))),
            ("show", None, Some(session)) => log::info!("{rest} is {}", text(session.property(rest))),
            ("banner", _, Some(session)) => session.set_banner(rest)?,
            ("append", ..) => self.call.append_response(rest)?,
            ("response", ..) => self.call.set_response(&reply(rest)?)?,
            ("path", ..) => self.command.ok_or_else(|| unknown(word))?.set_path(rest)?,
            ("parameter", ..) => {
                let value = rest.contains('=').then_some(value);
                self.command.ok_or_else(|| unknown(word))?.set_parameter(name, value)?;
            }
            ("authenticated", _, Some(session)) => session.set_authenticated(name, value)?,
            ("known", _, Some(session)) => log::info!("{}", known(session)),
            ("rcpt-fail" | "rcpt-defer" | "rcpt-hold", Some(message), _) => judge(message, word, name, value)?,
            ("fault", ..) => self.call.set_protocol_error(),
            ("input", ..) => log::info!("input is {}", String::from_utf8_lossy(self.input)),
            ("seen", ..) => log::info!("{rest} seen {}", seen(rest)),
            ("delay", ..) => self.call.delay_response(Duration::from_millis(number(rest)?))?,
            ("log", ..) => log::info!("{rest}"),
            ("count", ..) => metrics::count(rest),
            // With a code it is a verdict.
            ("fail", ..) if !rest.starts_with(|first: char| first.is_ascii_digit()) => {
                return Err(Error::Other(rest.to_owned()).into());
            }
            ("panic", ..) => return on_purpose(rest),
            ("spin", ..) => loop {
                std::hint::black_box(());
            },
            _ => return Ok(self.between(word, rest)? || self.outbound(word, rest)?),
        }
        Ok(true)
    }
}

fn known(session: &Session) -> String {
    let (user, mechanism, tls) = (session.auth_user(), session.auth_mechanism(), session.tls_version());
    let shown = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
    format!("user {} by {}, tls {}", shown(user), shown(mechanism), shown(tls))
}

fn judge(message: &Message, word: &str, address: &str, why: &str) -> Result<()> {
    for mut recipient in message.recipients().filter(|recipient| recipient.address() == address) {
        match word {
            "rcpt-fail" => recipient.fail(&reply(why)?)?,
            "rcpt-defer" => recipient.defer(&Later::after(Duration::from_secs(1), reply(why)?))?,
            _ => recipient.hold(why)?,
        }
    }
    Ok(())
}

fn seen(name: &str) -> u32 {
    SEEN.with_borrow_mut(|seen| {
        let count = seen.entry(name.to_owned()).or_default();
        *count += 1;
        *count
    })
}

fn on_purpose(text: &str) -> Result<bool> {
    assert!(std::hint::black_box(false), "{text}");
    Ok(true)
}

fn text(property: Option<Vec<u8>>) -> String {
    property.map_or("not there".to_owned(), |octets| String::from_utf8_lossy(&octets).into_owned())
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().map_err(|_| Error::Invalid(format!("{text:?} is no number")).into())
}

/// Reads `550 5.7.1 text`; the status may be left out, `|` parts lines.
fn reply(text: &str) -> Result<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = u16::try_from(number(code)?).map_err(|_| Error::Invalid(format!("{code} is no code")))?;
    let (status, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_status = status.len() >= 5 && status.split('.').count() == 3;
    let lines = |words: &str| words.replace('|', "\n");
    Ok(if is_status { Reply::new(code, lines(words)).status(status) } else { Reply::new(code, lines(rest)) })
}

fn unknown(word: &str) -> Error {
    Error::Invalid(format!("this event has no {word}"))
}

impl OnConnect for Scripted {
    fn on_connect(session: &Session, call: &Call) -> Result<ConnectVerdict> {
        let mut stage = Stage { session: Some(session), ..Stage::of(call) };
        let (word, rest) = stage.play("on-connect")?;
        Ok(match word.as_str() {
            "next" => ConnectVerdict::Next,
            "skip-remaining" => ConnectVerdict::SkipRemaining,
            "refuse" => ConnectVerdict::Refuse(reply(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

/// A verdict about a command.
fn about_command(word: &str, rest: &str) -> Result<CommandVerdict> {
    Ok(match word {
        "next" => CommandVerdict::Next,
        "skip-remaining" => CommandVerdict::SkipRemaining,
        "accept" => CommandVerdict::Accept,
        "consume" => CommandVerdict::Consume(reply(rest)?),
        "refuse" => CommandVerdict::Refuse(reply(rest)?),
        "drop-session" => CommandVerdict::DropSession(reply(rest)?),
        "await-input" => CommandVerdict::AwaitInput(reply(rest)?),
        "await-octets" => {
            let (count, rest) = rest.split_once(' ').unwrap_or((rest, "354"));
            CommandVerdict::AwaitOctets((reply(rest)?, number(count)?))
        }
        _ => return Err(unknown(word).into()),
    })
}

/// A verdict about a message that is not accepted yet.
fn about_data(word: &str, rest: &str) -> Result<DataVerdict> {
    Ok(match word {
        "next" => DataVerdict::Next,
        "skip-remaining" => DataVerdict::SkipRemaining,
        "refuse" => DataVerdict::Refuse(reply(rest)?),
        "drop-session" => DataVerdict::DropSession(reply(rest)?),
        "discard" => DataVerdict::Discard,
        "hold" => DataVerdict::Hold(rest.to_owned()),
        _ => return Err(unknown(word).into()),
    })
}

impl OnAuthenticated for Scripted {
    fn on_authenticated(session: &Session, call: &Call) -> Result<CommandVerdict> {
        let mut stage = Stage { session: Some(session), ..Stage::of(call) };
        let (word, rest) = stage.play("on-authenticated")?;
        about_command(&word, &rest)
    }
}

impl OnInboundCommand for Scripted {
    fn on_inbound_command(
        session: &Session,
        message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        let mut stage = Stage { session: Some(session), message, command: Some(command), ..Stage::of(call) };
        let (word, rest) = stage.play("on-inbound-command")?;
        about_command(&word, &rest)
    }
}

impl OnInboundInput for Scripted {
    fn on_inbound_input(
        session: &Session,
        message: Option<&mut Message>,
        command: &Command,
        input: &[u8],
        call: &Call,
    ) -> Result<CommandVerdict> {
        let mut stage = Stage { session: Some(session), message, command: Some(command), input, ..Stage::of(call) };
        let (word, rest) = stage.play("on-inbound-input")?;
        about_command(&word, &rest)
    }
}

impl OnEndOfHeaders for Scripted {
    fn on_end_of_headers(session: &Session, message: &mut Message, call: &Call) -> Result<DataVerdict> {
        let mut stage = Stage { session: Some(session), message: Some(message), ..Stage::of(call) };
        let (word, rest) = stage.play("on-end-of-headers")?;
        about_data(&word, &rest)
    }
}

impl OnEndOfData for Scripted {
    fn on_end_of_data(session: &Session, message: &mut Message, call: &Call) -> Result<DataVerdict> {
        let mut stage = Stage { session: Some(session), message: Some(message), ..Stage::of(call) };
        let (word, rest) = stage.play("on-end-of-data")?;
        about_data(&word, &rest)
    }
}

impl OnMaxMsgSize for Scripted {
    fn on_max_msg_size(session: &Session, message: &mut Message, limit: u64, call: &Call) -> Result<SizeVerdict> {
        log::info!("{} octets, the limit is {limit}", message.size());
        let mut stage = Stage { session: Some(session), message: Some(message), ..Stage::of(call) };
        let (word, rest) = stage.play("on-max-msg-size")?;
        Ok(match word.as_str() {
            "next" => SizeVerdict::Next,
            "waive-up-to" => SizeVerdict::WaiveUpTo(number(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

impl OnReject for Scripted {
    fn on_reject(session: &Session, line: &[u8], call: &Call) -> Result<()> {
        let why = call.response().map_or("nothing".to_owned(), |reply| reply.to_string());
        log::info!("rejected {} with {why}", String::from_utf8_lossy(line));
        let mut stage = Stage { session: Some(session), ..Stage::of(call) };
        stage.play("on-reject").map(drop)
    }
}

impl OnDisconnect for Scripted {
    fn on_disconnect(session: &Session, call: &Call) -> Result<()> {
        log::info!("ended by {}", session.end_reason().unwrap_or_else(|| "nobody knows".to_owned()));
        let mut stage = Stage { session: Some(session), ..Stage::of(call) };
        stage.play("on-disconnect").map(drop)
    }
}

basin_sink::export!(
    Scripted: OnConnect, OnAuthenticated, OnInboundCommand, OnInboundInput, OnEndOfHeaders, OnEndOfData, OnMaxMsgSize,
    OnReject, OnDisconnect, OnSubmission, OnPreCategorize, OnCategorize, OnPostCategorize, OnRoute, OnDnsResolve,
    OnLocalDelivery, OnNotification, OnTrack, OnTimer, OnSessionStart, OnMessageStart, OnPerRecipient, OnBeforeData,
    OnSessionEnd, OnServerResponse
);

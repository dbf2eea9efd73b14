//! A scene: the session, command and message that `explain` and `test` have a sink meet.

mod outbound;

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use basin_core::addr::Address;
use basin_core::event::{
    Command, DestinationFacts, EventKind, Occasion, Overlay, Question, SessionFacts, SizeInQuestion, TrackFacts,
};
use basin_core::limits::MESSAGE_BYTES_DEFAULT;
use basin_core::mail::{
    Arrival, Auth, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin, RecipientId, TlsFacts, Vouched,
};
use basin_core::reply::{Enhanced, Reply};
use basin_core::smtp::Request;
use basin_core::time::Timestamp;
use bytes::Bytes;

/// Listener of a scene that no configuration stands behind.
const LISTENER: &str = "smtp";
/// Documentation address (RFC 5737) that stands for a client where none is named.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);
/// This server's end of the scene.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)), 25);

/// What happens in the scene.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SceneArgs {
    /// Reverse path; empty or <> for the null sender.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// A recipient.
    #[arg(long = "to", value_name = "ADDRESS")]
    to: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// What the client calls itself.
    #[arg(long, value_name = "NAME")]
    ehlo: Option<String>,
    /// The verb of the command, at on-inbound-command; MAIL and RCPT take --from and --to. At on-server-response the
    /// verb that was answered, "" for the banner and . for the end of data.
    #[arg(long, value_name = "VERB", conflicts_with = "command")]
    verb: Option<String>,
    /// The whole line of the command, at on-inbound-command and in the dialogue with another server.
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// A header field, as in "Subject: hello".
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// A file with the message, header block first; - reads standard input.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Who the client proved to be with AUTH.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The connection is encrypted with this version of TLS.
    #[arg(long, value_name = "VERSION", num_args = 0..=1, default_missing_value = "TLSv1.3")]
    tls: Option<String>,
    /// What the client announced, at on-max-msg-size, in octets; the limit is that of a listener without another.
    #[arg(long, value_name = "OCTETS")]
    size: Option<u64>,
    /// Name of the listener; a binding with a listener of its own fires only at that one. Left out: the first of the
    /// configuration (explain), or "smtp" (test).
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// What the server will answer if nobody objects, as in "550 5.1.1 unknown user"; at on-server-response what the
    /// other one answered.
    #[arg(long, value_name = "REPLY")]
    reply: Option<String>,
    /// Name of the other server, in the dialogue with it; mx and the domain of the last --to where it is left out.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// What the other server offers in its answer to EHLO, as in "SIZE 1000000".
    #[arg(long = "offers", value_name = "KEYWORD")]
    offers: Vec<String>,
}

impl SceneArgs {
    /// The event as it would be raised.
    pub(super) fn question(&self, event: EventKind, now: Timestamp) -> anyhow::Result<Question> {
        let command = self.command_at(event)?;
        let message = self.message_at(event, command.as_ref(), now)?;
        let native = match &self.reply {
            Some(text) => Some(parse_reply(text)?),
            None => native(event, command.as_ref()),
        };
        // After acceptance there is no session any more; what is known of it is in the message.
        let session = event.has_session().then(|| Arc::new(self.session(now, event)));
        let mut occasion = Occasion {
            idempotency_key: "scene".to_owned(),
            native_response: native,
            session,
            recipient: self.recipient_at(event, message.as_ref()),
            destination: self.destination_at(event, message.as_ref())?.map(Arc::new),
            // A notification and the message that it is about are the same letter here.
            subject: message.clone().filter(|_| event == EventKind::OnNotification).map(Arc::new),
            track: (event == EventKind::OnTrack).then(|| Arc::new(self.track(now))),
            line: command.as_ref().map(|command| command.line.clone()).unwrap_or_default(),
            ..Occasion::of(event, now)
        };
        let size = self.size_at(event);
        let mut overlay = Overlay { message, command: command.map(Arc::new), size, ..Overlay::default() };
        self.beyond(&mut occasion, &mut overlay);
        Ok(Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None, rest: None })
    }

    fn track(&self, now: Timestamp) -> TrackFacts {
        let bare = |address: &String| address.trim_matches(['<', '>']).to_owned();
        TrackFacts {
            kind: "delivered".to_owned(),
            at: now,
            message_id: MessageId::new(now, 0).to_string(),
            sender: self.from.as_ref().map(bare).unwrap_or_default(),
            recipient: self.to.first().map(bare),
            remote: None,
            reply: self.reply.as_deref().and_then(|text| parse_reply(text).ok()),
            size: self.size.unwrap_or(0),
            elapsed: Duration::ZERO,
        }
    }

    /// The same at that listener, unless the operator named one.
    pub(super) fn at_listener(mut self, name: &str) -> Self {
        self.listener.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Fills in what a sink would always meet and the operator left out.
    pub(super) fn with_defaults(mut self) -> Self {
        self.from.get_or_insert_with(|| "sender@client.example".to_owned());
        if self.to.is_empty() {
            self.to.push("recipient@basin.example".to_owned());
        }
        self.ehlo.get_or_insert_with(|| "client.example".to_owned());
        if self.command.is_none() {
            self.verb.get_or_insert_with(|| "RCPT".to_owned());
        }
        self
    }

    /// Domains of the recipients, which the scene's server takes for its own.
    pub(super) fn domains(&self) -> Vec<String> {
        self.to.iter().filter_map(|address| address.rsplit_once('@')).map(|(_, domain)| domain.to_owned()).collect()
    }

    fn session(&self, now: Timestamp, event: EventKind) -> SessionFacts {
        SessionFacts {
            id: "scene".to_owned(),
            listener: self.listener.clone().unwrap_or_else(|| LISTENER.to_owned()),
            client: self.client.map_or(CLIENT, |ip| SocketAddr::new(ip, CLIENT.port())),
            server: SERVER,
            started: now,
            // At on-connect nobody has said a word yet.
            helo: self.ehlo.clone().filter(|_| event != EventKind::OnConnect),
            is_esmtp: true,
            messages: 0,
            errors: 0,
            end_reason: (event == EventKind::OnDisconnect).then_some("quit"),
            vouched: self.vouched(),
        }
    }

    fn vouched(&self) -> Vouched {
        let tls = self.tls.clone().map(|version| TlsFacts { version, ..TlsFacts::default() });
        let auth = self.user.clone().map(|user| Auth { user, mechanism: "PLAIN".to_owned() });
        Vouched { tls, auth, ..Vouched::default() }
    }

    // The first recipient is the one that is asked about.
    fn recipient_at(&self, event: EventKind, message: Option<&Message>) -> Option<RecipientId> {
        let is_about_one = matches!(event, EventKind::OnCategorize | EventKind::OnLocalDelivery);
        message.filter(|_| is_about_one)?.envelope.recipients.first().map(|recipient| recipient.id)
    }

    // Its domain is the destination.
    fn destination_at(&self, event: EventKind, message: Option<&Message>) -> anyhow::Result<Option<DestinationFacts>> {
        if !matches!(event, EventKind::OnRoute | EventKind::OnDnsResolve) {
            return Ok(None);
        }
        let Some(to) = self.to.first() else { return Ok(None) };
        let address = Address::parse(to.trim_matches(['<', '>'])).with_context(|| format!("--to {to}"))?;
        let domain = address.ascii_domain().unwrap_or_default().to_ascii_lowercase();
        let recipients = message.iter().flat_map(|message| &message.envelope.recipients);
        let there = recipients.filter(|recipient| {
            recipient.address.ascii_domain().is_some_and(|other| other.eq_ignore_ascii_case(&domain))
        });
        let recipients = there.map(|recipient| recipient.id).collect();
        Ok(Some(DestinationFacts { domain, failures: Vec::new(), recipients }))
    }

    fn size_at(&self, event: EventKind) -> Option<SizeInQuestion> {
        let limit = MESSAGE_BYTES_DEFAULT;
        let octets = self.size.unwrap_or(limit + 1);
        (event == EventKind::OnMaxMsgSize).then_some(SizeInQuestion { limit, octets })
    }

    fn command_at(&self, event: EventKind) -> anyhow::Result<Option<Command>> {
        if !matches!(event, EventKind::OnInboundCommand | EventKind::OnInboundInput | EventKind::OnReject) {
            return Ok(None);
        }
        let line = match (&self.command, &self.verb) {
            (Some(line), _) => line.clone(),
            (None, Some(verb)) => self.line_of(verb),
            (None, None) => return Ok(None),
        };
        let request = Request::parse(line.as_bytes())
            .map_err(|error| anyhow!("{line:?} is no command that would reach a sink: {error}"))?;
        Ok(Some(request.describe(line.as_bytes())))
    }

    fn line_of(&self, verb: &str) -> String {
        let verb = verb.to_ascii_uppercase();
        let path = |path: &str| format!("<{}>", path.trim_matches(['<', '>']));
        match verb.as_str() {
            "MAIL" => format!("MAIL FROM:{}", path(self.from.as_deref().unwrap_or_default())),
            "RCPT" => format!("RCPT TO:{}", path(self.to.last().map_or("", String::as_str))),
            "HELO" | "EHLO" => format!("{verb} {}", self.ehlo.as_deref().unwrap_or("client.example")),
            _ => verb,
        }
    }

    fn message_at(
        &self,
        event: EventKind,
        command: Option<&Command>,
        now: Timestamp,
    ) -> anyhow::Result<Option<Message>> {
        // A session has a message from the answer to MAIL on; at RCPT it has the recipients before this one.
        let verb = command.map(|command| command.keyword.as_str());
        let has_message = event.has_header() || event == EventKind::OnMaxMsgSize || self.leaves_at(event);
        let recipients = match (has_message, verb) {
            (true, _) => self.to.as_slice(),
            (false, Some("RCPT")) if self.from.is_some() => self.to.split_last().map_or(&[][..], |(_, before)| before),
            (false, Some("DATA")) if self.from.is_some() => self.to.as_slice(),
            (false, _) => return Ok(None),
        };
        let sender = match self.from.as_deref().map(|from| from.trim_matches(['<', '>'])) {
            None | Some("") => None,
            Some(from) => Some(Address::parse(from).with_context(|| format!("--from {from}"))?),
        };
        let mut envelope = Envelope::new(sender);
        for to in recipients {
            let address = Address::parse(to.trim_matches(['<', '>'])).with_context(|| format!("--to {to}"))?;
            envelope.add(address, to.clone());
        }
        let session = self.session(now, event);
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: now,
            listener: session.listener,
            client: Some(session.client),
            server: Some(session.server),
            helo: session.helo,
            is_esmtp: true,
            session: Some(session.id),
            depth: 0,
            vouched: session.vouched,
        };
        let mut message = Message::new(MessageId::new(now, 0), arrival, envelope);
        if event.has_header() || event.is_outbound() {
            let octets = self.message.as_deref().map(read_message).transpose()?.unwrap_or_default();
            self.fill(&mut message, &octets)?;
            if event == EventKind::OnEndOfHeaders {
                message.body = Body::from_bytes("");
            }
        }
        Ok(Some(message))
    }

    fn fill(&self, message: &mut Message, octets: &[u8]) -> anyhow::Result<()> {
        let (header, body) = split(octets);
        let mut block = HeaderBlock::parse(&Bytes::from(header)).context("cannot read the header of the message")?;
        for text in &self.headers {
            let (name, value) =
                text.split_once(':').ok_or_else(|| anyhow!("--header {text:?} is no field; write \"Name: value\""))?;
            let field = Field::new(name.trim(), value.trim()).with_context(|| format!("--header {text:?}"))?;
            block.insert(block.fields().len(), field).context("cannot add a header field")?;
        }
        message.header = Arc::new(block);
        message.body = Body::from_bytes(body);
        Ok(())
    }
}

fn read_message(file: &Path) -> anyhow::Result<Vec<u8>> {
    let reader: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).with_context(|| format!("cannot read the message {}", file.display()))?)
    };
    let mut octets = Vec::new();
    let read = reader.take(MESSAGE_BYTES_DEFAULT + 1).read_to_end(&mut octets);
    read.with_context(|| format!("cannot read the message {}", file.display()))?;
    if octets.len() as u64 > MESSAGE_BYTES_DEFAULT {
        bail!("the message {} has more than {MESSAGE_BYTES_DEFAULT} octets", file.display());
    }
    Ok(with_crlf(&octets))
}

// Files on disk end their lines in LF; a message on the wire never does.
fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
        out.extend_from_slice(b"\r\n");
    }
    out
}

// The empty line between the two belongs to neither.
fn split(octets: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if let Some(body) = octets.strip_prefix(b"\r\n") {
        return (Vec::new(), body.to_vec());
    }
    match octets.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(end) => {
            let (header, rest) = octets.split_at(end + 2);
            (header.to_vec(), rest.get(2..).unwrap_or_default().to_vec())
        }
        None => (octets.to_vec(), Vec::new()),
    }
}

// After acceptance, and where a notice tells of something else, the server answers nobody.
fn native(event: EventKind, command: Option<&Command>) -> Option<Reply> {
    let is_ehlo = command.is_some_and(|command| command.keyword == "EHLO");
    if event == EventKind::OnConnect {
        Some(Reply::new(220, None, "basin.example ESMTP"))
    } else if event == EventKind::OnInboundCommand && is_ehlo {
        Some(Reply::new(250, None, "basin.example"))
    } else if event == EventKind::OnInboundCommand {
        Some(Reply::with(250, 0, 0, "ok"))
    } else if event == EventKind::OnAuthenticated {
        Some(Reply::with(235, 7, 0, "authenticated"))
    } else if event == EventKind::OnMaxMsgSize {
        Some(Reply::with(552, 3, 4, "too large"))
    } else if event == EventKind::OnEndOfHeaders || event == EventKind::OnEndOfData {
        Some(Reply::with(250, 6, 0, "accepted"))
    } else if event == EventKind::OnServerResponse {
        Some(Reply::with(250, 0, 0, "ok"))
    } else if event == EventKind::OnReject {
        Some(Reply::with(550, 1, 1, "unknown user"))
    } else {
        None
    }
}

fn parse_reply(text: &str) -> anyhow::Result<Reply> {
    let form = || anyhow!("--reply {text:?} is no reply; write code, enhanced code and text, as in \"550 5.1.1 no\"");
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (200..=599).contains(code)).ok_or_else(form)?;
    let (first, words) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(match Enhanced::parse(first) {
        Some(enhanced) => Reply::new(code, Some(enhanced), words),
        None => Reply::new(code, None, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_unix_line_ends_becomes_a_message() {
        let octets = with_crlf(b"Subject: a\nTo: b\n\nbody\r\nend");
        let (header, body) = split(&octets);
        assert_eq!((header.as_slice(), body.as_slice()), (&b"Subject: a\r\nTo: b\r\n"[..], &b"body\r\nend\r\n"[..]));
        assert_eq!(split(b"\r\nonly body\r\n"), (vec![], b"only body\r\n".to_vec()));
        assert_eq!(split(b"Only: header\r\n"), (b"Only: header\r\n".to_vec(), vec![]));
    }

    #[test]
    fn the_first_recipient_is_the_one_that_is_asked_about() {
        let to = vec!["a@Basin.example".to_owned(), "b@away.example".to_owned(), "c@basin.example".to_owned()];
        let scene = SceneArgs { to, ..SceneArgs::default() };
        let occasion = |event| scene.question(event, Timestamp::from_seconds(0)).expect("a scene").occasion;
        let one = occasion(EventKind::OnCategorize).recipient;
        assert!(one.is_some() && occasion(EventKind::OnLocalDelivery).recipient == one);
        assert_eq!(occasion(EventKind::OnSubmission).recipient, None);
        let route = occasion(EventKind::OnRoute).destination.clone().expect("a destination");
        assert_eq!((route.domain.as_str(), route.recipients.len()), ("basin.example", 2));
        assert_eq!(route.recipients.first().copied(), one);
        let resolve = occasion(EventKind::OnDnsResolve).destination.clone().expect("a destination");
        assert_eq!((resolve.domain.as_str(), resolve.recipients.len()), ("basin.example", 0));
        assert!(occasion(EventKind::OnNotification).subject.is_some());
    }

    #[test]
    fn a_scene_tells_the_facts_that_rules_are_checked_against() {
        let scene = SceneArgs {
            from: Some("<>".to_owned()),
            to: vec!["a@basin.example".to_owned()],
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            verb: Some("rcpt".to_owned()),
            ..SceneArgs::default()
        };
        let question = scene.question(EventKind::OnInboundCommand, Timestamp::default()).expect("a scene");
        assert!(question.overlay.message.as_ref().is_some_and(|message| message.envelope.recipients.is_empty()));
        let facts = question.facts();
        assert_eq!((facts.verb, facts.rcpt_argument), (Some("RCPT"), Some("a@basin.example")));
        assert_eq!((facts.sender.as_deref(), facts.client), (Some(""), Some(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    }

    #[test]
    fn replies_parse() {
        let reply = parse_reply("550 5.1.1 unknown user").expect("a reply");
        assert_eq!(reply.to_string(), "550 5.1.1 unknown user");
        assert_eq!(parse_reply("421 bye").expect("a reply").to_string(), "421 bye");
        assert!(parse_reply("hello").is_err_and(|error| error.to_string().contains("as in")));
    }
}

//! What the tests share: one engine, the guests, a host that remembers, and a call that is built step by step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use basin_core::addr::Address;
use basin_core::event::{
    Answer, Binding, BudgetOverride, Command, EventKind, Failure, FailurePolicy, Grant, Grants, InstanceMode, Mode,
    Occasion, Overlay, Rule, SessionFacts, SinkEntry, SizeInQuestion, TableEdits, Verdict,
};
use basin_core::mail::{Arrival, Auth, Body, Envelope, HeaderBlock, Message, MessageId, Origin, TlsFacts, Vouched};
use basin_core::reply::Reply;
use basin_core::secret::Secret;
use basin_core::time::Timestamp;
use basin_sinks::{CallReport, CallRequest, Component, Engine, EngineOptions, LogLevel, Scopes, SinkHost};
use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::remembering::Remembering;
use crate::scenes::Scene;

/// The time of every event.
pub(crate) const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanoseconds: 5 };

pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineOptions { calls_max: 32, ..EngineOptions::default() }).expect("an engine starts here")
});

/// The octets of a guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("BASIN_WASM")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/wasm32-wasip2/release"));
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `make hostile` builds it", path.display()))
}

/// A guest, compiled once for all tests.
pub(crate) fn component(name: &'static str) -> Arc<Component> {
    static LOADED: Mutex<BTreeMap<&str, Arc<Component>>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap();
    let load = || ENGINE.load(&guest(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    loaded.entry(name).or_insert_with(load).clone()
}

/// A message as it stands at the end of data.
pub(crate) fn message(header: &str, body: &str) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: NOW,
        listener: "mx".into(),
        client: Some("192.0.2.7:4000".parse().expect("an address")),
        server: Some("192.0.2.1:25".parse().expect("an address")),
        helo: Some("client.example".into()),
        is_esmtp: true,
        session: Some("s1".into()),
        depth: 0,
        vouched: Default::default(),
    };
    let address = |text: &str| Address::parse(text).expect("an address");
    let mut envelope = Envelope::new(Some(address("a@client.example")));
    for text in ["b@basin.example", "c@Basin.Example"] {
        envelope.add(address(text), text.to_owned());
    }
    envelope.parameters.insert("BODY".into(), "8BITMIME".into());
    let mut message = Message::new(MessageId::new(NOW, 7), arrival, envelope);
    let header = Bytes::from(header.replace('\n', "\r\n"));
    message.header = Arc::new(HeaderBlock::parse(&header).expect("small"));
    message.body = Body::from_bytes(body.replace('\n', "\r\n"));
    message
}

/// The message of most tests.
pub(crate) fn plain() -> Message {
    message(
        "Received: from client.example\nFrom: Ann <a@client.example>\nTo: \"B, b\" <b@basin.example>, c@basin.example\nSubject: \
         =?utf-8?q?caf=C3=A9?=\nMessage-ID: <1@client.example>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n",
        "hello\nworld\n",
    )
}

/// A call, built step by step.
pub(crate) struct Call {
    component: Arc<Component>,
    event: EventKind,
    grants: Grants,
    budget: BudgetOverride,
    config: BTreeMap<String, String>,
    message: Option<Message>,
    command: Option<Command>,
    native: Option<Reply>,
    input: Vec<u8>,
    oversize: Option<SizeInQuestion>,
    vouched: Vouched,
    is_read_only: bool,
    mode: Mode,
    instance: InstanceMode,
    scopes: Option<Scopes>,
    tables: TableEdits,
    arrived: Option<Message>,
    pub(crate) scene: Scene,
    pub(crate) host: Arc<Remembering>,
}

/// What came of a call.
pub(crate) struct Outcome {
    pub(crate) report: CallReport,
    pub(crate) log: Vec<(LogLevel, String)>,
    pub(crate) metrics: Vec<(String, u64)>,
}

/// A call of the probe at the end of data.
pub(crate) fn probe(script: &str) -> Call {
    call("probe").config("script", script)
}

/// A call of a guest at the end of data.
pub(crate) fn call(name: &'static str) -> Call {
    Call {
        component: component(name),
        event: EventKind::OnEndOfData,
        grants: Grants::default(),
        budget: BudgetOverride::default(),
        config: BTreeMap::new(),
        message: Some(plain()),
        command: None,
        native: Some(Reply::with(250, 0, 0, "taken")),
        input: Vec::new(),
        oversize: None,
        vouched: Vouched::default(),
        is_read_only: false,
        mode: Mode::Decide,
        instance: InstanceMode::Call,
        scopes: None,
        tables: TableEdits::default(),
        arrived: None,
        scene: Scene::default(),
        host: Arc::default(),
    }
}

impl Call {
    pub(crate) fn at(mut self, event: EventKind) -> Self {
        self.event = event;
        self
    }

    pub(crate) fn component(mut self, component: &Arc<Component>) -> Self {
        self.component = component.clone();
        self
    }

    pub(crate) fn grants(mut self, grants: &[Grant]) -> Self {
        self.grants = grants.iter().copied().collect();
        self
    }

    pub(crate) fn all_grants(mut self) -> Self {
        self.grants = Grants::everything();
        self
    }

    pub(crate) fn all_grants_but(mut self, grant: Grant) -> Self {
        self.grants = Grants::everything().iter().filter(|one| *one != grant).collect();
        self
    }

    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn verdict(self, verdict: &str) -> Self {
        self.config("verdict", verdict)
    }

    pub(crate) fn budget(mut self, budget: BudgetOverride) -> Self {
        self.budget = budget;
        self
    }

    pub(crate) fn message(mut self, message: Message) -> Self {
        self.message = Some(message);
        self
    }

    pub(crate) fn command(mut self, line: &str) -> Self {
        let (keyword, argument) = line.split_once(' ').unwrap_or((line, ""));
        let path = argument.split(['<', '>']).nth(1).map(str::to_owned);
        self.event = EventKind::OnInboundCommand;
        self.command = Some(Command {
            keyword: keyword.to_owned(),
            argument: argument.to_owned(),
            line: line.as_bytes().to_vec(),
            path,
            parameters: BTreeMap::new(),
        });
        self
    }

    /// A parameter of the command, without a value.
    pub(crate) fn parameter(mut self, keyword: &str) -> Self {
        let parameters = self.command.as_mut().map(|command| &mut command.parameters);
        parameters.expect("a command").insert(keyword.to_owned(), String::new());
        self
    }

    /// What the client sent after a command that the sink awaits input for.
    pub(crate) fn input(mut self, line: &str, input: &[u8]) -> Self {
        self = self.command(line);
        self.input = input.to_vec();
        self.at(EventKind::OnInboundInput)
    }

    /// A message of which the client announced more octets than the limit.
    pub(crate) fn oversize(mut self, limit: u64, octets: u64) -> Self {
        self.oversize = Some(SizeInQuestion { limit, octets });
        self.at(EventKind::OnMaxMsgSize)
    }

    /// A client that is known by TLS and AUTH.
    pub(crate) fn vouched(mut self) -> Self {
        let tls = TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            client_subject: Some("CN=ann".into()),
            server_name: None,
        };
        let auth = Auth { user: "ann".into(), mechanism: "PLAIN".into() };
        self.vouched = Vouched {
            client_name: Some("client.example".into()),
            tls: Some(tls),
            auth: Some(auth),
            ..Vouched::default()
        };
        if let Some(message) = &mut self.message {
            Arc::make_mut(&mut message.arrival).vouched = self.vouched.clone();
        }
        self
    }

    pub(crate) fn native(mut self, code: u16, text: &str) -> Self {
        self.native = Some(Reply::new(code, None, text));
        self
    }

    pub(crate) fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// In an instance that is kept for that long, of that session and message.
    pub(crate) fn instance(mut self, instance: InstanceMode, scopes: Option<&Scopes>) -> Self {
        (self.instance, self.scopes) = (instance, scopes.cloned());
        self
    }

    /// What sinks before this one set in their tables.
    pub(crate) fn tables(mut self, tables: TableEdits) -> Self {
        self.tables = tables;
        self
    }

    /// The message as it was when the chain began.
    pub(crate) fn arrived(mut self, message: Message) -> Self {
        self.arrived = Some(message);
        self
    }

    pub(crate) fn host(mut self, host: &Arc<Remembering>) -> Self {
        self.host = host.clone();
        self
    }

    /// In the mode shadow.
    pub(crate) fn shadow(mut self) -> Self {
        self.mode = Mode::Shadow;
        self
    }

    pub(crate) fn host_that_panics(mut self) -> Self {
        self.host = Arc::new(Remembering { panics: true, ..Remembering::default() });
        self
    }

    pub(crate) fn run(self) -> Outcome {
        RUNTIME.block_on(self.start(&ENGINE))
    }

    // A client's session, where the event has one.
    fn session(&self) -> Option<Arc<SessionFacts>> {
        let session = SessionFacts {
            id: "s1".into(),
            listener: "mx".into(),
            client: "192.0.2.7:4000".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            helo: Some("client.example".into()),
            is_esmtp: true,
            messages: 1,
            errors: 2,
            end_reason: (self.event == EventKind::OnDisconnect).then_some("quit"),
            vouched: self.vouched.clone(),
        };
        self.event.has_session().then(|| Arc::new(session))
    }

    pub(crate) async fn start(self, engine: &Engine) -> Outcome {
        let session = self.session();
        let sink = Arc::new(SinkEntry {
            name: "probe".into(),
            digest: self.component.digest().to_owned(),
            source: "test".into(),
            grants: self.grants,
            budget: self.budget,
            secrets: Default::default(),
            config: self.config,
            is_enabled: true,
        });
        let binding = Arc::new(Binding {
            name: "probe/test".into(),
            sink: sink.name.clone(),
            event: self.event,
            rule: Rule::default(),
            priority: 0,
            listener: None,
            mode: self.mode,
            instance: self.instance,
            on_failure: FailurePolicy::Defer,
            is_enabled: true,
            expires: None,
            max_firings: None,
            schedule: None,
        });
        let occasion = Arc::new(Occasion {
            raised: 3,
            idempotency_key: "key-1".into(),
            native_response: self.native,
            session,
            line: b"FOO bar".to_vec(),
            input: Secret::new(self.input),
            ..self.scene.occasion(self.event)
        });
        let overlay = Box::new(Overlay {
            message: self.message,
            command: self.command.map(Arc::new),
            size: self.oversize,
            tables: self.tables,
            arrived: self.arrived.map(Arc::new),
            out_command: self.scene.out_command,
            ..Overlay::default()
        });
        let host: Arc<dyn SinkHost> = self.host.clone();
        let request = CallRequest {
            sink: &sink,
            component: &self.component,
            binding: &binding,
            occasion: &occasion,
            overlay,
            is_read_only: self.is_read_only,
            scopes: self.scopes.as_ref(),
            host: &host,
        };
        let report = engine.call(request).await;
        let (log, metrics) = (self.host.log.lock().unwrap().clone(), self.host.metrics.lock().unwrap().clone());
        Outcome { report, log, metrics }
    }
}

impl Outcome {
    /// The lines that the sink logged.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.log.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Verdict and overlay of a call that succeeded.
    pub(crate) fn answered(&self) -> (&Verdict, &Overlay) {
        match &self.report.answer {
            Answer::Verdict(verdict, overlay) => (verdict, overlay),
            Answer::Failed(failure) => panic!("the call failed: {failure:?}, log {:?}", self.log),
        }
    }

    /// The message as the sink left it.
    pub(crate) fn edited(&self) -> &Message {
        self.answered().1.message.as_ref().expect("a message")
    }

    /// The header block as the sink left it, with `|` for line ends.
    pub(crate) fn header(&self) -> String {
        String::from_utf8(self.edited().header.to_bytes()).expect("ASCII").replace("\r\n", "|")
    }

    /// The failure of a call that failed.
    pub(crate) fn failed(&self) -> &Failure {
        match &self.report.answer {
            Answer::Failed(failure) => failure,
            Answer::Verdict(verdict, _) => panic!("the call answered {verdict:?}, log {:?}", self.log),
        }
    }
}

//! A server in a folder of its own, for tests: everything real but the ports.

use core::time::Duration;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Message, MessageId, Origin};
use basin_core::smtp::ListenerPolicy;
use basin_core::transport::{State, TransportPolicy};
use basin_outbound::dns::DnsOptions;
use basin_outbound::{Outbound, OutboundOptions};
use basin_sinks::{Engine, EngineOptions};
use basin_spool::{RealStorage, Spool};
use tempfile::TempDir;

use crate::ask::{self, Ask};
use crate::audit::Audit;
use crate::clock::{Randomness, now};
use crate::config::Config;
use crate::delivery::{Courier, Maildirs};
use crate::net::Guard;
use crate::net::door::Door;
use crate::registry::{Loaded, Prompt};
use crate::services::Services;
use crate::shutdown::Stopper;
use crate::sink_host::{ServerView, Sizes, Ways};
use crate::sink_tables::SinkTables;
use crate::telemetry::Metrics;
use crate::telemetry::sinks::SinkMetricNames;
use crate::tracking::Tracking;
use crate::transport::{Parts, Queue};

/// The parts of a server, and the folder that holds them.
pub(crate) struct Harness {
    pub(crate) services: Arc<Services>,
    pub(crate) door: Arc<Door>,
    pub(crate) home: TempDir,
}

impl Harness {
    /// Starts everything for the domain basin.example with alice and bob.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        Self::over(home)
    }

    /// The same over a folder that an earlier one left.
    pub(crate) fn over(home: TempDir) -> Self {
        let config = config(home.path());
        let metrics = Arc::new(Metrics::default());
        let (spool, _) =
            Spool::open(&config.spool, basin_spool::Options::default(), Arc::new(RealStorage)).expect("a spool");
        let directory = Arc::new(ArcSwap::new(config.directory.clone()));
        let tables = SinkTables::open(&config.spool);
        let outbound = Arc::new(ArcSwap::from_pointee(way_out()));
        let policy = TransportPolicy::new(config.host_name.clone(), config.directory.clone());
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let view = ServerView {
            host_name: config.host_name.clone(),
            sizes: Arc::new(ArcSwap::from_pointee(Sizes::of(&config.listeners))),
            directory: directory.clone(),
            metrics: metrics.clone(),
            names: SinkMetricNames::default(),
            tables: tables.clone(),
            ways: Ways { outbound: outbound.clone(), transport: policy.clone() },
        };
        let ask = Ask::start(ask::Parts {
            engine: Engine::new(EngineOptions { calls_max: 4, ..EngineOptions::default() }).expect("an engine"),
            loaded: Arc::new(ArcSwap::from_pointee(Loaded::empty(now()))),
            host: Arc::new(view),
            metrics: metrics.clone(),
            transaction_time: Duration::from_secs(60),
            waiting_notices: 16,
            tracking: Tracking::off(),
            tables: tables.clone(),
        });
        let maildirs = Maildirs::new(config.maildir.clone(), &config.host_name);
        let (courier, _thread) = Courier::start(maildirs).expect("a thread");
        let randomness = Randomness::open().expect("random numbers");
        let parts = Parts {
            ask: ask.clone(),
            spool: spool.clone(),
            courier,
            metrics: metrics.clone(),
            policy,
            randomness: randomness.clone(),
            signing: Arc::default(),
            tracking: Tracking::off(),
        };
        let queue = Queue::new(parts, 4);
        let services = Services {
            metrics,
            ask,
            spool,
            queue,
            tracking: Tracking::off(),
            audit: Audit::off(),
            stopper: Arc::new(Stopper::default()),
            randomness,
            guard: Guard::default(),
            outbound,
            registry: Prompt::channel().0,
            timers: Arc::default(),
            tables,
            directory,
        };
        let policy = ListenerPolicy {
            message_bytes_max: 1_000_000,
            ..ListenerPolicy::new("inbound", config.host_name.as_str(), config.directory.clone())
        };
        let door = Door {
            policy: Arc::new(policy),
            tls: None,
            proxies: Vec::new(),
            greet_delay: Duration::ZERO,
            has_client_names: false,
        };
        Self { services: Arc::new(services), door: Arc::new(door), home }
    }

    /// Files in the mailbox of a local part.
    pub(crate) fn mails(&self, local: &str) -> Vec<Vec<u8>> {
        let new = self.home.path().join("mail/basin.example").join(local).join("new");
        let Ok(entries) = std::fs::read_dir(new) else { return Vec::new() };
        entries.map(|entry| std::fs::read(entry.expect("listed").path()).expect("can be read")).collect()
    }

    /// Puts a message of alice for these recipients into the spool; nobody works on it before the queue is told.
    pub(crate) async fn store(&self, recipients: &[&str]) -> (Message, State) {
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: now(),
            listener: "inbound".into(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let mut envelope = Envelope::new(Address::parse("alice@basin.example").ok());
        for recipient in recipients {
            envelope.add(Address::parse(recipient).expect("valid"), (*recipient).to_owned());
        }
        let random = self.services.randomness.number().expect("random");
        let mut message = Message::new(MessageId::new(now(), random), arrival, envelope);
        message.body = Body::from_bytes(&b"text\r\n"[..]);
        let (done, result) = tokio::sync::oneshot::channel();
        let state = State::default();
        self.services.spool.commit(message.clone(), state.clone(), move |stored| drop(done.send(stored.map(drop))));
        result.await.expect("answered").expect("stored");
        (message, state)
    }

    /// Waits until the spool holds so many messages.
    pub(crate) async fn wait_for_messages(&self, count: u64) {
        let reached = async {
            while self.services.spool.statistics().live_messages != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the spool gets there");
    }
}

fn way_out() -> Outbound {
    // Nobody answers there; no test of this kind looks up a name.
    let dns = DnsOptions { servers: vec!["127.0.0.1:9".parse().expect("an address")], ..DnsOptions::default() };
    Outbound::new(OutboundOptions { dns, ..OutboundOptions::default() }).expect("a way out")
}

fn config(home: &Path) -> Config {
    let text = "host-name = \"mx.basin.example\"\npostmaster = \"alice@basin.example\"\n\
        [spool]\ndirectory = \"spool\"\n[maildir]\ndirectory = \"mail\"\n\
        [[listener]]\nname = \"inbound\"\naddress = \"127.0.0.1:2525\"\n\
        [[domain]]\nname = \"basin.example\"\nmailboxes = [\"alice\", \"bob\"]\n";
    Config::parse(&home.join("basin.toml"), text).expect("valid")
}

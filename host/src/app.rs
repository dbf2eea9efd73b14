//! The only place that wires the parts of the server together.

use core::time::Duration;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use basin_core::queue::{RetryPolicy, SchedulePolicy};
use basin_core::transport::{Directory, TransportPolicy};
use basin_outbound::Outbound;
use basin_outbound::tls_report::TlsReports;
use basin_sinks::{Engine, EngineOptions};
use basin_spool::{RealStorage, Spool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::admin::{self, Admin};
use crate::ask::{self, Ask};
use crate::audit::Audit;
use crate::clock::{Randomness, now};
use crate::config::{self, Config};
use crate::control::{self, ServerState};
use crate::delivery::{Courier, Maildirs};
use crate::net::Guard;
use crate::net::listen;
use crate::pickup::{self, Pickup};
use crate::privileges::Plan;
use crate::registry::compiler::compiler;
use crate::registry::watch::log_change;
use crate::registry::{Change, Loaded, Loader, OwnPlaces, Prompt, Prompts, Store, Watcher, watch};
use crate::services::Services;
use crate::shutdown::{HangUps, Phase, Signals, Stopper, Wish};
use crate::signing::Signing;
use crate::sink_host::{ServerView, Sizes, Ways};
use crate::sink_tables::SinkTables;
use crate::state::Running;
use crate::telemetry::Metrics;
use crate::telemetry::log::{self, LogLevel};
use crate::telemetry::records::{Recovered, Stopping};
use crate::telemetry::sinks::SinkMetricNames;
use crate::timer;
use crate::tracking::Teller;
use crate::transport::{Parts, Queue};

mod doors;
mod journals;
mod outgoing;
mod reload;

use doors::Doors;

/// How long the tasks get to come to an end after the drain is cut off.
const END_TIME: Duration = Duration::from_secs(5);

/// Open files of the server itself: segments, batches of deliveries, bodies that wait.
const FILES_OF_THE_SERVER: u64 = 512;

/// Longest wait between two probes of a destination that cannot be reached. A probe is one connection, so this may
/// be shorter than the waits of messages.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(3_600);

/// How often the end looks whether the last notices are told.
const NOTICE_LOOK: Duration = Duration::from_millis(5);

/// Sockets that are bound while the process still has the rights of whoever started it.
struct Sockets {
    listeners: Vec<std::net::TcpListener>,
    admin: Option<std::net::TcpListener>,
}

/// Runs a server until somebody stops it.
///
/// # Errors
/// It cannot start: the text says what to do. Once it runs, it does not end with an error.
pub fn serve(config: Config, allows_root: bool, hang_ups: HangUps) -> anyhow::Result<ExitCode> {
    let is_exposed = config.is_exposed();
    let (user, group) = (config.user.as_deref(), config.group.as_deref());
    let plan = Plan::make(user, group, allows_root || !is_exposed, config.file.clone())?;
    let sockets = bind(&config)?;
    let directories = [
        ("spool.directory", &config.spool),
        ("registry.directory", &config.registry),
        ("registry.cache", &config.cache),
        ("maildir.directory", &config.maildir),
    ];
    let tracking = config.tracking.as_ref().map(|tracking| ("tracking.directory", &tracking.directory));
    let audit = config.audit.as_ref().map(|audit| ("audit.directory", &audit.directory));
    let pickup = config.pickup.as_ref().map(|pickup| ("pickup.directory", &pickup.directory));
    for (key, directory) in directories.into_iter().chain(tracking).chain(audit).chain(pickup) {
        let advice = || {
            let (path, file) = (directory.display(), config.file.display());
            format!("cannot make {path}; make it, or change `{key}` in {file}")
        };
        make_directory(directory, &plan).with_context(advice)?;
    }
    if let Plan::Become(identity) = &plan {
        identity.assume()?;
    }
    let audit = journals::audit(&config)?;
    let level = log::start(&config.log, &audit);
    for warning in &config.warnings {
        tracing::warn!("{}", warning.at(&config.file));
    }
    raise_open_files(&config);
    match &plan {
        Plan::StayRoot => tracing::warn!("running as root; set `user`"),
        Plan::CannotChange(user) => tracing::warn!(user, "only root can become another user; staying who we are"),
        Plan::Stay | Plan::Become(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("basin").build();
    let runtime = runtime.context("cannot start the runtime")?;
    // Who is root because only this machine reaches it takes no listener in that others reach.
    let is_loopback_only = matches!(plan, Plan::StayRoot) && !allows_root;
    let began = Began { level, audit: audit.clone(), is_loopback_only };
    let ended = runtime.block_on(run(config, sockets, began, hang_ups));
    // A component that is being compiled cannot be interrupted, and nobody waits for it any more.
    runtime.shutdown_background();
    audit.close();
    ended
}

// One for each connection and more for files: the limit that shells give is 1024, which a thousand sessions use
// up. Raising it to what the administrator allows needs no right.
fn raise_open_files(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let available = if raised.is_ok() { limit.maximum } else { limit.current };
    let connections: usize = config.listeners.iter().map(|listener| listener.connections_max).sum();
    // A session has its connection and perhaps a draft.
    let wanted = (connections + config.outbound.connections) as u64 * 2 + FILES_OF_THE_SERVER;
    if let Some(available) = available.filter(|available| *available < wanted) {
        tracing::warn!(
            available,
            wanted,
            "fewer open files are allowed than all connections may need; raise the limit (LimitNOFILE= in a systemd \
             unit, `ulimit -Hn` in a shell) or lower `max-connections`"
        );
    }
}

fn bind(config: &Config) -> anyhow::Result<Sockets> {
    let bind = |listener: &config::Listener| listen::bind(&format!("listener {:?}", listener.name), listener.address);
    let listeners = config.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let admin = config.admin.map(|address| listen::bind("admin.address", address)).transpose()?;
    Ok(Sockets { listeners, admin })
}

// Root makes what is missing and gives it away; whoever else starts the server owns what it makes.
fn make_directory(path: &Path, plan: &Plan) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(path)?;
    if let Plan::Become(identity) = plan {
        identity.own(path)?;
    }
    Ok(())
}

async fn run(config: Config, sockets: Sockets, began: Began, hang_ups: HangUps) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::take(hang_ups).context("cannot take over signals")?;
    let (server, mut tasks) = Server::start(config, sockets, began).await?;
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let reason = loop {
        match signals.next().await {
            Wish::Stop(reason) => break reason,
            Wish::Reload => server.reload(&mut tasks.work),
        }
    };
    Stopping { reason }.record();
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    server.stop(tasks, signals).await;
    Ok(ExitCode::SUCCESS)
}

fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// What was settled before the runtime was there.
struct Began {
    level: LogLevel,
    audit: Audit,
    /// No listener may be added that others than this machine reach.
    is_loopback_only: bool,
}

/// A server that runs, and what can be changed about it.
struct Server {
    config: Config,
    services: Arc<Services>,
    doors: Arc<Doors>,
    transport: Arc<ArcSwap<TransportPolicy>>,
    outbound: Arc<ArcSwap<Outbound>>,
    sizes: Arc<ArcSwap<Sizes>>,
    reports: Option<Arc<TlsReports>>,
    signing: Arc<ArcSwap<Signing>>,
    began: Began,
}

/// Everything that runs beside the main task.
struct Tasks {
    /// Listeners with their sessions, and the workers: what a drain waits for.
    work: JoinSet<()>,
    /// The admin port, the control socket, the watcher: they end with the process.
    service: JoinSet<()>,
    /// The thread that delivers.
    courier: std::thread::JoinHandle<()>,
}

fn admin(config: &Config, services: &Arc<Services>, engine: Engine, spool: &basin_spool::Options) -> Admin {
    let (services, free_bytes_min) = (services.clone(), spool.free_bytes_min);
    Admin { services, engine, spool: config.spool.clone(), free_bytes_min }
}

async fn serve_admin(admin: Admin, socket: Option<std::net::TcpListener>) {
    let Some(socket) = socket else { return };
    let stop = admin.services.stopper.subscribe();
    if let Err(error) = admin::serve(admin, socket, stop).await {
        tracing::error!(%error, "the admin port failed");
    }
}

impl Server {
    async fn start(config: Config, sockets: Sockets, began: Began) -> anyhow::Result<(Self, Tasks)> {
        let metrics = counters();
        let randomness = Randomness::open().context("cannot open /dev/urandom")?;
        let stopper = Arc::new(Stopper::default());
        let (spool, spool_options) = open_spool(&config)?;
        let directory = Arc::new(ArcSwap::new(config.directory.clone()));
        let tracking = journals::tracking(&config)?;
        let (engine, loaded, watcher) = load_registry(&config).await?;
        let (outbound, reports) = outgoing::open(&config, &randomness)?;
        let tables = SinkTables::open(&config.spool);
        let (registry, prompts) = Prompt::channel();
        let signing = Signing::load(&config)?;
        let transport = Arc::new(ArcSwap::from_pointee(signing_policy(&config, &signing)));
        let signing = Arc::new(ArcSwap::from_pointee(signing));
        let ways = Ways { outbound: outbound.clone(), transport: transport.clone() };
        let sizes = Arc::new(ArcSwap::from_pointee(Sizes::of(&config.listeners)));
        let view = server_view(&config, directory.clone(), metrics.clone(), (tables.clone(), ways, sizes.clone()));
        let ask = Ask::start(ask::Parts {
            engine: engine.clone(),
            loaded,
            host: Arc::new(view),
            metrics: metrics.clone(),
            transaction_time: config.limits.sink_time,
            waiting_notices: config.limits.waiting_notices,
            tracking: tracking.clone(),
            tables: tables.clone(),
        });
        let (courier, courier_thread) = start_courier(&config)?;
        let parts = Parts {
            ask: ask.clone(),
            spool: spool.clone(),
            courier,
            metrics: metrics.clone(),
            policy: transport.clone(),
            randomness: randomness.clone(),
            signing: signing.clone(),
            tracking: tracking.clone(),
        };
        let queue = Queue::new(parts, config.limits.deliveries);
        configure_queue(&queue, &config);
        tracking.tell(Teller::new(&ask, queue.index().clone()));
        let services = Arc::new(Services {
            metrics,
            ask,
            spool,
            queue,
            tracking,
            audit: began.audit.clone(),
            stopper,
            randomness,
            guard: Guard::default(),
            outbound: outbound.clone(),
            registry,
            timers: Arc::default(),
            tables,
            directory,
        });
        let pickup = open_pickup(&config, &services.spool)?;
        let mut work = services.queue.run(&services.stopper.subscribe());
        outgoing::carry_out(&config, &services, &outbound, reports.clone(), &mut work)?;
        take_files(pickup, &services, &mut work);
        let mut service = JoinSet::new();
        serve_registry(watcher, prompts, &services, (&mut work, &mut service));
        serve_control(&config, &services, &mut service)?;
        service.spawn(serve_admin(admin(&config, &services, engine, &spool_options), sockets.admin));
        let doors = open_doors(&config, sockets.listeners, &services, &mut work)?;
        service.spawn(doors::watch_files(doors.clone()));
        let server = Self { config, services, doors, transport, outbound, sizes, reports, signing, began };
        Ok((server, Tasks { work, service, courier: courier_thread }))
    }

    /// Ends everything in order, within the time that the configuration gives.
    async fn stop(self, mut tasks: Tasks, mut signals: Signals) {
        let stopper = &self.services.stopper;
        stopper.advance(Phase::Draining);
        let drained = async {
            while tasks.work.join_next().await.is_some() {}
            while self.services.ask.notices_waiting() > 0 {
                tokio::time::sleep(NOTICE_LOOK).await;
            }
        };
        let cut_off = tokio::select! {
            () = drained => None,
            () = tokio::time::sleep(self.config.limits.drain_time) => Some("the time to drain is over"),
            reason = signals.next_stop() => Some(reason),
        };
        if let Some(reason) = cut_off {
            tracing::warn!(reason, "what is left is cut off; nothing that was acknowledged is lost");
            stopper.advance(Phase::Ending);
            let ended = async { while tasks.work.join_next().await.is_some() {} };
            if tokio::time::timeout(END_TIME, ended).await.is_err() {
                tasks.work.abort_all();
                while tasks.work.join_next().await.is_some() {}
            }
        }
        stopper.advance(Phase::Ending);
        tasks.service.abort_all();
        while tasks.service.join_next().await.is_some() {}
        remove_socket(&self.config.control_socket());
        let (spool, tracking) = (self.services.spool.clone(), self.services.tracking.clone());
        // The last courier goes with the queue, and its thread with it.
        drop(self);
        let closed = tokio::task::spawn_blocking(move || {
            spool.close();
            drop(tasks.courier);
            tracking.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the spool was not closed");
        }
        tracing::info!("stopped");
    }
}

fn counters() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::default());
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 53 bits")]
    metrics.started.set(now().seconds as f64);
    metrics
}

fn start_courier(config: &Config) -> anyhow::Result<(Courier, std::thread::JoinHandle<()>)> {
    let maildirs = Maildirs::new(config.maildir.clone(), &config.host_name);
    maildirs.prepare()?;
    Courier::start(maildirs).context("cannot start the delivery thread")
}

fn open_doors(
    config: &Config,
    sockets: Vec<std::net::TcpListener>,
    services: &Arc<Services>,
    work: &mut JoinSet<()>,
) -> anyhow::Result<Arc<Doors>> {
    let (doors, listeners) = Doors::open(config, sockets)?;
    for listener in listeners {
        work.spawn(listener.run(services.clone(), services.stopper.subscribe()));
    }
    Ok(Arc::new(doors))
}

fn take_files(pickup: Option<Pickup>, services: &Arc<Services>, work: &mut JoinSet<()>) {
    if let Some(pickup) = pickup {
        work.spawn(pickup::run(pickup, services.clone(), services.stopper.subscribe()));
    }
}

fn open_spool(config: &Config) -> anyhow::Result<(Spool, basin_spool::Options)> {
    let options = basin_spool::Options::default();
    let (spool, recovery) = Spool::open(&config.spool, options.clone(), Arc::new(RealStorage))?;
    let damaged: Vec<String> = recovery.damaged.iter().map(ToString::to_string).collect();
    Recovered { spool: &config.spool, messages: recovery.messages, damaged: &damaged }.record();
    Ok((spool, options))
}

async fn load_registry(config: &Config) -> anyhow::Result<(Engine, Arc<ArcSwap<Loaded>>, Watcher)> {
    let store = Store::new(&config.registry);
    store.create()?;
    let calls_max = u32::try_from(config.limits.sink_calls).unwrap_or(u32::MAX);
    let (code_cache, compiler) = (Some(config.cache.clone()), Some(compiler(Some(config))));
    let engine = Engine::new(EngineOptions { calls_max, code_cache, compiler, keeps_other_code: false })?;
    let loaded = Arc::new(ArcSwap::from_pointee(Loaded::empty(now())));
    let mut watcher = Watcher::new(Loader::new(store, engine.clone()).guarding(OwnPlaces::of(config)), loaded.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let change = watcher.look(now());
        (watcher, change)
    });
    let (watcher, change) = looked.await.context("cannot load the registry")?;
    // Later on a broken file keeps the old one in force; at the start there is none.
    if let Some(Change::Refused { why }) = &change {
        bail!("the registry cannot be used: {why}");
    }
    change.iter().for_each(log_change);
    Ok((engine, loaded, watcher))
}

// Timers are among what a drain waits for; who watches the registry ends with the process.
fn serve_registry(
    watcher: Watcher,
    prompts: Prompts,
    services: &Arc<Services>,
    (work, service): (&mut JoinSet<()>, &mut JoinSet<()>),
) {
    work.spawn(timer::run(services.clone(), services.stopper.subscribe()));
    let timers = services.timers.clone();
    service.spawn(watch(watcher, prompts, now, move |change| {
        log_change(change);
        timers.look_again();
    }));
}

fn serve_control(config: &Config, services: &Arc<Services>, service: &mut JoinSet<()>) -> anyhow::Result<()> {
    let path = config.control_socket();
    let socket = control::server::bind(&path)?;
    let state: Arc<dyn ServerState> = Arc::new(Running::new(services.clone()));
    let mut stop = services.stopper.subscribe();
    let stopped = async move { drop(stop.wait_for(|phase| *phase >= Phase::Ending).await) };
    service.spawn(async move {
        if let Err(error) = control::serve(socket, path, state, stopped).await {
            tracing::error!(%error, "the control socket failed");
        }
    });
    Ok(())
}

fn remove_socket(path: &PathBuf) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the control socket cannot be removed");
    }
}

fn server_view(
    config: &Config,
    directory: Arc<ArcSwap<Directory>>,
    metrics: Arc<Metrics>,
    (tables, ways, sizes): (SinkTables, Ways, Arc<ArcSwap<Sizes>>),
) -> ServerView {
    ServerView {
        host_name: config.host_name.clone(),
        sizes,
        directory,
        metrics,
        names: SinkMetricNames::default(),
        tables,
        ways,
    }
}

fn signing_policy(config: &Config, signing: &Signing) -> TransportPolicy {
    TransportPolicy { is_signing: !signing.is_idle(), ..transport_policy(config) }
}

/// What the transport needs to know, as the configuration says it.
pub(crate) fn transport_policy(config: &Config) -> TransportPolicy {
    let queue = &config.queue;
    TransportPolicy {
        routes: config.routes.clone(),
        lifetime: queue.lifetime,
        lifetime_null: queue.bounce_lifetime,
        delay_notice: queue.delay_notice,
        retry_remote: RetryPolicy { first_waits: queue.first_waits.clone(), wait_max: queue.longest_wait },
        ..TransportPolicy::new(config.host_name.clone(), config.directory.clone())
    }
}

// Before the queue runs: files whose messages are stored already have to go first.
fn open_pickup(config: &Config, spool: &Spool) -> anyhow::Result<Option<Pickup>> {
    let Some(settings) = config.pickup.clone() else { return Ok(None) };
    let directory = settings.directory.display().to_string();
    let opened = Pickup::open(settings, config.host_name.clone(), config.authority(), spool.clone());
    opened.map(Some).with_context(|| format!("cannot use the pickup directory {directory}"))
}

fn configure_queue(queue: &Queue, config: &Config) {
    let queue_waits = &config.queue;
    let policy = SchedulePolicy {
        // A destination that cannot be reached is probed as a message is tried: one probe for all that waits there.
        unreachable: RetryPolicy {
            first_waits: queue_waits.first_waits.clone(),
            wait_max: queue_waits.longest_wait.min(PROBE_WAIT_MAX),
        },
        connections_max: u32::try_from(config.outbound.connections).unwrap_or(u32::MAX),
        ..SchedulePolicy::new(config.routes.clone())
    };
    queue.configure(policy, config.queue.messages_max);
}

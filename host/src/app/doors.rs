//! What listeners are made of: the configuration, certificates and users.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use basin_core::smtp::{Accounts, AuthPolicy, ListenerPolicy, OwnDomains, TlsPolicy};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::now;
use crate::config::{self, Config, TlsMode};
use crate::net::crowd::{Crowd, CrowdLimits};
use crate::net::door::Door;
use crate::net::listen::{self, Listener};
use crate::registry::watch::Mark;
use crate::tls::{Certificate, ServerTls, Validity};

/// How often files are looked at. Certificates change every few weeks, users when somebody sits and waits for it.
const POLL: Duration = Duration::from_secs(2);

/// The file below the spool with the secret that made-up salts come from ([`Accounts::parse`]).
const DECOY_FILE: &str = "login-secret";

/// Octets of that secret.
const DECOY_BYTES: usize = 32;

/// The listeners' doors.
pub(super) struct Doors {
    decoy: [u8; DECOY_BYTES],
    made_of: Mutex<MadeOf>,
}

struct MadeOf {
    config: Config,
    files: Vec<(PathBuf, Option<Mark>)>,
    /// In the order of the configuration.
    ports: Vec<Port>,
}

/// A port that is listened to, until the value is gone.
struct Port {
    address: SocketAddr,
    door: Arc<ArcSwap<Door>>,
    crowd: Arc<Crowd>,
    _wanted: watch::Sender<()>,
}

/// What becomes of a listener of the new configuration.
enum Planned {
    /// It is there, at this place.
    Kept(usize, Box<Door>, CrowdLimits),
    New(Port),
}

impl Doors {
    /// Reads certificates and users, and takes bound sockets over, one for each listener.
    ///
    /// # Errors
    /// Any of them cannot be used.
    pub(super) fn open(config: &Config, sockets: Vec<std::net::TcpListener>) -> anyhow::Result<(Self, Vec<Listener>)> {
        let decoy = decoy(&config.spool.join(DECOY_FILE)).context("cannot keep the secret of the logins")?;
        let files = marks(config);
        let doors = build(config, &decoy)?;
        let (mut ports, mut listeners) = (Vec::new(), Vec::new());
        for ((listener, door), socket) in config.listeners.iter().zip(doors).zip(sockets) {
            let (port, running) = Port::open(listener, door, socket)?;
            ports.push(port);
            listeners.push(running);
        }
        Ok((Self { decoy, made_of: Mutex::new(MadeOf { config: config.clone(), files, ports }) }, listeners))
    }

    /// Puts another configuration in force; connections that are open keep theirs. The listeners that it gives are new
    /// and begin to run; those that are in it no longer end.
    ///
    /// # Errors
    /// Certificates or users cannot be used, or a port cannot be bound; nothing has changed then.
    pub(super) fn change(&self, config: Config) -> anyhow::Result<Vec<Listener>> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        // Marked before they are read: a change between the two is met by the next look.
        let files = marks(&config);
        let (mut planned, mut listeners, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (listener, door) in config.listeners.iter().zip(build(&config, &self.decoy)?) {
            let mut places = made_of.ports.iter().enumerate().filter(|(place, _)| !kept.contains(place));
            if let Some((place, _)) = places.find(|(_, port)| port.address == listener.address) {
                kept.push(place);
                planned.push(Planned::Kept(place, Box::new(door), crowd_limits(listener)));
                continue;
            }
            let socket = listen::bind(&format!("listener {:?}", listener.name), listener.address)?;
            let (port, running) = Port::open(listener, door, socket)?;
            planned.push(Planned::New(port));
            listeners.push(running);
        }
        let mut old: Vec<Option<Port>> = made_of.ports.drain(..).map(Some).collect();
        let ports = planned.into_iter().filter_map(|plan| match plan {
            Planned::New(port) => Some(port),
            Planned::Kept(place, door, limits) => {
                let port = old.get_mut(place).and_then(Option::take)?;
                port.door.store(Arc::new(*door));
                port.crowd.change(limits);
                Some(port)
            }
        });
        let ports = ports.collect();
        *made_of = MadeOf { config, files, ports };
        Ok(listeners)
    }

    /// Reads certificates and users again where a file changed.
    fn look(&self) {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if made_of.files.iter().all(|(path, mark)| Mark::of(path) == *mark) {
            return;
        }
        made_of.files = marks(&made_of.config);
        match build(&made_of.config, &self.decoy) {
            Ok(doors) => {
                made_of.ports.iter().zip(doors).for_each(|(port, door)| port.door.store(Arc::new(door)));
                tracing::info!("certificates and users read again");
            }
            Err(error) => {
                let problem = format!("{error:#}");
                tracing::error!(problem, "certificates and users not read again; what was in force stays");
            }
        }
    }
}

impl Port {
    fn open(
        listener: &config::Listener,
        door: Door,
        socket: std::net::TcpListener,
    ) -> anyhow::Result<(Self, Listener)> {
        let (door, crowd) = (Arc::new(ArcSwap::from_pointee(door)), Crowd::new(crowd_limits(listener)));
        let (wanted, is_wanted) = watch::channel(());
        let running = Listener::new(socket, door.clone(), crowd.clone(), is_wanted).context("cannot listen")?;
        Ok((Self { address: listener.address, door, crowd, _wanted: wanted }, running))
    }
}

fn crowd_limits(listener: &config::Listener) -> CrowdLimits {
    CrowdLimits {
        connections: listener.connections_max,
        per_client: listener.connections_per_client_max,
        rates: listener.rates,
        prefixes: listener.prefixes,
    }
}

/// Looks at the files until the future is dropped.
pub(super) async fn watch_files(doors: Arc<Doors>) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let doors = doors.clone();
        if tokio::task::spawn_blocking(move || doors.look()).await.is_err() {
            tracing::error!("certificates and users are no longer watched; restart the server to apply changes");
            return;
        }
    }
}

fn marks(config: &Config) -> Vec<(PathBuf, Option<Mark>)> {
    let pairs = config.certificates.iter().flat_map(|files| [files.chain.clone(), files.key.clone()]);
    let authorities =
        config.listeners.iter().filter_map(|listener| Some(listener.tls.clients.as_ref()?.authorities.clone()));
    let users = config.listeners.iter().filter_map(|listener| listener.auth.as_ref()?.users.clone());
    pairs.chain(authorities).chain(users).map(|path| (path.clone(), Mark::of(&path))).collect()
}

fn build(config: &Config, decoy: &[u8; DECOY_BYTES]) -> anyhow::Result<Vec<Door>> {
    let mut certificates = Vec::new();
    for files in &config.certificates {
        let certificate =
            Certificate::read(&files.chain, &files.key).with_context(|| format!("certificate {:?}", files.name))?;
        warn_of_time(&files.name, &certificate);
        warn_of_readers(&files.key);
        certificates.push(Arc::new(certificate));
    }
    let mut users: BTreeMap<PathBuf, Arc<Accounts>> = BTreeMap::new();
    for file in config.listeners.iter().filter_map(|listener| listener.auth.as_ref()?.users.as_ref()) {
        if !users.contains_key(file) {
            warn_of_readers(file);
            users.insert(file.clone(), Arc::new(config::read_accounts(file, *decoy)?));
        }
    }
    config.listeners.iter().map(|listener| door(config, listener, &certificates, &users)).collect()
}

fn door(
    config: &Config,
    listener: &config::Listener,
    certificates: &[Arc<Certificate>],
    users: &BTreeMap<PathBuf, Arc<Accounts>>,
) -> anyhow::Result<Door> {
    let shown = listener.tls.certificates.iter().filter_map(|place| certificates.get(*place).cloned()).collect();
    let tls = match listener.tls.mode {
        TlsMode::Off => None,
        TlsMode::StartTls | TlsMode::Required | TlsMode::Implicit => {
            let set_up = ServerTls::new(shown, listener.tls.clients.as_ref());
            Some(set_up.with_context(|| format!("listener {:?}", listener.name))?)
        }
    };
    let accounts =
        |auth: &config::ListenerAuth| auth.users.as_ref().and_then(|file| users.get(file).cloned()).unwrap_or_default();
    Ok(Door {
        policy: Arc::new(listener_policy(config, listener, accounts)),
        tls,
        proxies: listener.proxies.clone(),
        greet_delay: listener.greet_delay,
        has_client_names: listener.has_client_names,
    })
}

fn listener_policy(
    config: &Config,
    listener: &config::Listener,
    accounts: impl Fn(&config::ListenerAuth) -> Arc<Accounts>,
) -> ListenerPolicy {
    let host_name = listener.host_name.as_ref().unwrap_or(&config.host_name);
    let usual = ListenerPolicy::new(listener.name.as_str(), host_name.as_str(), config.directory.clone());
    let tls = match listener.tls.mode {
        TlsMode::Off | TlsMode::Implicit => None,
        TlsMode::StartTls => Some(TlsPolicy { is_required: false }),
        TlsMode::Required => Some(TlsPolicy { is_required: true }),
    };
    let auth = listener.auth.as_ref().map(|auth| AuthPolicy {
        mechanisms: auth.mechanisms.clone(),
        needs_tls: auth.needs_tls,
        attempts_max: auth.attempts_max,
        accounts: accounts(auth),
    });
    ListenerPolicy {
        banner: listener.banner.clone(),
        message_bytes_max: listener.message_bytes_max,
        message_bytes_hard_max: listener.message_bytes_hard_max,
        extensions: listener.extensions,
        recipients_max: listener.recipients_max,
        senders: config.senders.clone(),
        domains: listener.domains.as_ref().map(OwnDomains::new),
        is_auth_required: listener.auth.as_ref().is_some_and(|auth| auth.is_required),
        mails_max: listener.mails_max,
        hold_max: listener.hold_max,
        deliver_by_min: listener.deliver_by_min,
        data_rate_min: listener.data_rate_min,
        idle_commands_max: listener.idle_commands_max,
        errors_max: listener.errors_max,
        command_timeout: listener.command_timeout,
        data_timeout: listener.data_timeout,
        data_total: listener.data_total,
        relay_clients: listener.relay_clients.as_ref().unwrap_or(&config.relay_clients).clone(),
        tls,
        is_implicit_tls: listener.tls.mode == TlsMode::Implicit,
        auth,
        is_submission: listener.is_submission,
        xclient_from: listener.xclient_from.clone(),
        message_auth: Arc::new(config.message_auth_policy(listener)),
        ..usual
    }
}

fn warn_of_time(name: &str, certificate: &Certificate) {
    match certificate.validity(now()) {
        Validity::Valid => {}
        Validity::ExpiresSoon(end) => tracing::warn!(name, end = end.to_rfc3339(), "a certificate expires soon"),
        Validity::Expired(end) => tracing::error!(name, end = end.to_rfc3339(), "a certificate has expired"),
        Validity::NotYet(start) => tracing::error!(name, start = start.to_rfc3339(), "a certificate is not valid yet"),
    }
}

fn warn_of_readers(file: &Path) {
    if let Some(warning) = config::open_to_all(file) {
        tracing::warn!("{warning}");
    }
}

// The secret is the same after a restart, or who asks twice would see which users are made up.
fn decoy(file: &Path) -> io::Result<[u8; DECOY_BYTES]> {
    let mut secret = [0; DECOY_BYTES];
    match fs::File::open(file) {
        Ok(mut kept) => {
            kept.read_exact(&mut secret)?;
            return Ok(secret);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    // Written beside and renamed: a file that was cut off would stop the next start.
    let part = file.with_extension("new");
    let mut made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    made.write_all(&secret)?;
    made.sync_all()?;
    fs::rename(&part, file)?;
    Ok(secret)
}

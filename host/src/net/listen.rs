//! Who is let in: ports, and limits on connections.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use basin_core::reply::Reply;
use basin_core::smtp::{Connection, ListenerPolicy};
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::now;
use crate::net::inbound::Inbound;
use crate::net::wire::turn_away;
use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::records::{ConnectionRefused, Listening};

/// Connections that the kernel keeps until they are accepted. It lowers this to its own limit (`somaxconn`).
const BACKLOG: i32 = 1024;

/// Pause after accepting failed for want of descriptors or memory. They come back when sessions end; until
/// then the loop must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a port cannot be used.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program has it.
    #[error(
        "cannot listen on {address} ({what}): the port is in use; `ss -ltnp 'sport = :{}'` shows by whom; stop that \
         program or change the address in the configuration", .address.port()
    )]
    InUse {
        /// Whose address it is.
        what: String,
        /// The address.
        address: SocketAddr,
    },
    /// A port below 1024, and no right to it.
    #[error(
        "cannot listen on {address} ({what}): permission denied; ports below 1024 need root and `user`, or \
         CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit)"
    )]
    Denied {
        /// Whose address it is.
        what: String,
        /// The address.
        address: SocketAddr,
    },
    /// An address that this machine does not have.
    #[error("cannot listen on {address} ({what}): this machine has no such address; `ip address` lists those it has")]
    NoSuchAddress {
        /// Whose address it is.
        what: String,
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address} ({what}): {source}")]
    Other {
        /// Whose address it is.
        what: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds a port and listens; `what` names it in errors.
///
/// # Errors
/// See [`BindError`].
pub fn bind(what: &str, address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    try_bind(address).map_err(|source| {
        let what = what.to_owned();
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            BindError::InUse { what, address }
        } else if kind == io::ErrorKind::PermissionDenied {
            BindError::Denied { what, address }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            BindError::NoSuchAddress { what, address }
        } else {
            BindError::Other { what, address, source }
        }
    })
}

fn try_bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME-WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]:25` takes IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A port that takes mail.
pub(crate) struct Listener {
    policy: Arc<ArcSwap<ListenerPolicy>>,
    socket: TcpListener,
    crowd: Arc<Crowd>,
}

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrowdLimits {
    /// Of the listener.
    pub(crate) connections: usize,
    /// Of one client.
    pub(crate) per_client: usize,
}

impl Listener {
    /// Takes over a bound socket.
    pub(crate) fn new(
        socket: std::net::TcpListener,
        policy: Arc<ArcSwap<ListenerPolicy>>,
        limits: CrowdLimits,
    ) -> io::Result<Self> {
        let crowd = Arc::new(Crowd { limits, clients: Mutex::default() });
        Ok(Self { policy, socket: TcpListener::from_std(socket)?, crowd })
    }

    /// Accepts connections until the server stops, then waits for their sessions.
    pub(crate) async fn run(self, services: Arc<Services>, mut stop: watch::Receiver<Phase>) {
        let mut sessions = JoinSet::new();
        if let Ok(address) = self.socket.local_addr() {
            Listening { listener: &self.policy.load().name, address }.record();
        }
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|phase| *phase >= Phase::Draining) => break,
            };
            // What has ended is forgotten here, so the set holds little more than what lives.
            while sessions.try_join_next().is_some() {}
            match accepted {
                Ok((stream, client)) => {
                    is_failing = false;
                    self.begin(&services, stream, client, &mut sessions);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Once, until it goes again: whoever opens many connections must not fill the log as well.
                    if !is_failing {
                        tracing::error!(%error, "no connection can be accepted; is the limit of open files too low?");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Closed before the wait: the kernel refuses new connections, and another server can have the port.
        drop(self.socket);
        while sessions.join_next().await.is_some() {}
    }

    fn begin(&self, services: &Arc<Services>, stream: TcpStream, client: SocketAddr, sessions: &mut JoinSet<()>) {
        let policy = self.policy.load_full();
        let name = [policy.name.as_str()];
        let place = match self.crowd.enter(client.ip()) {
            Ok(place) => place,
            Err(limit) => {
                ConnectionRefused { listener: &policy.name, client, limit }.record(&services.metrics);
                return refuse(&stream, &policy, limit);
            }
        };
        let connection = match connect(services, &stream, client) {
            Ok(connection) => connection,
            // The client is gone already, or no id can be made; either way there is nobody to talk to.
            Err(error) => return tracing::debug!(%client, %error, "connection lost"),
        };
        services.metrics.connections.with_label_values(&name).inc();
        let open = Open::new(services.metrics.sessions.with_label_values(&name));
        let services = services.clone();
        sessions.spawn(async move {
            Box::pin(Inbound::serve(services, policy, stream, connection)).await;
            drop((open, place));
        });
    }
}

/// Counts an open session for as long as it lives, also where it ends in a panic or is cut off.
struct Open(IntGauge);

impl Open {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn connect(services: &Services, stream: &TcpStream, client: SocketAddr) -> io::Result<Connection> {
    // Replies are gathered by the session; Nagle's algorithm would only hold the last one back.
    stream.set_nodelay(true)?;
    let (id, random) = services.randomness.pair()?;
    // A dual-stack socket shows IPv4 clients as mapped addresses; rules and logs have them as they are.
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let server = plain(stream.local_addr()?);
    Ok(Connection {
        id: format!("{id:016x}"),
        client: plain(client),
        server,
        started: now(),
        random,
        client_name: None,
        tls: None,
    })
}

fn refuse(stream: &TcpStream, policy: &ListenerPolicy, limit: &str) {
    let text = match limit {
        "client" => "too many connections from your address",
        _ => "too many connections",
    };
    let mut octets = Vec::new();
    // In place of the banner there is no enhanced code (RFC 2034 §4).
    Reply::new(421, None, format!("{} {text}, try again later", policy.host_name)).encode(&mut octets);
    if let Err(error) = turn_away(stream, &octets) {
        tracing::debug!(%error, "a connection over the limit was closed without a word");
    }
}

// Errors that accept(2) reports about a connection that broke before anybody took it.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Who is connected now.
#[derive(Debug)]
struct Crowd {
    limits: CrowdLimits,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// Takes a place, or says which limit is reached.
    fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Place, &'static str> {
        let client = network(client);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.all >= self.limits.connections {
            return Err("connections");
        }
        let own = clients.by_address.entry(client).or_default();
        if *own >= self.limits.per_client {
            return Err("client");
        }
        *own += 1;
        clients.all += 1;
        Ok(Place { crowd: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.all = clients.all.saturating_sub(1);
        let Some(own) = clients.by_address.get_mut(&self.client) else { return };
        *own = own.saturating_sub(1);
        if *own == 0 {
            clients.by_address.remove(&self.client);
        }
    }
}

// One customer of an IPv6 network has a /64 at least, so a limit for single addresses would be none.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(connections: usize, per_client: usize) -> Arc<Crowd> {
        Arc::new(Crowd { limits: CrowdLimits { connections, per_client }, clients: Mutex::default() })
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let crowd = crowd(3, 2);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = crowd.enter(address("192.0.2.1")).expect("a place");
        let _second = crowd.enter(address("192.0.2.1")).expect("a place");
        assert_eq!(crowd.enter(address("192.0.2.1")).err(), Some("client"));
        let _third = crowd.enter(address("192.0.2.2")).expect("a place");
        assert_eq!(crowd.enter(address("192.0.2.3")).err(), Some("connections"));
        drop(first);
        assert!(crowd.enter(address("::ffff:192.0.2.1")).is_ok(), "a mapped address is the same client");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let crowd = crowd(10, 1);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let _place = crowd.enter(address("2001:db8::1")).expect("a place");
        assert_eq!(crowd.enter(address("2001:db8::ffff:2")).err(), Some("client"));
        assert!(crowd.enter(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn a_port_in_use_says_how_to_find_out_by_whom() {
        let taken = bind("a test", SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = taken.local_addr().expect("an address");
        let error = bind("listener \"inbound\"", address).expect_err("taken");
        let port = address.port();
        assert!(error.to_string().contains(&format!("`ss -ltnp 'sport = :{port}'`")), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_in_words() {
        let error = bind("a test", SocketAddr::from(([192, 0, 2, 1], 2525))).expect_err("not ours");
        assert!(matches!(error, BindError::NoSuchAddress { .. }), "{error}");
    }
}

//! Who is let in: ports, and limits on connections.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::smtp::Connection;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::now;
use crate::net::arrival::{Arrival, refusal};
use crate::net::crowd::Crowd;
use crate::net::door::Door;
use crate::net::wire::{Wire, turn_away};
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
    door: Arc<ArcSwap<Door>>,
    socket: TcpListener,
    crowd: Arc<Crowd>,
    /// Ends when the listener is taken away.
    is_wanted: watch::Receiver<()>,
}

impl Listener {
    /// Takes over a bound socket; it is listened to for as long as the sender of `is_wanted` lives.
    pub(crate) fn new(
        socket: std::net::TcpListener,
        door: Arc<ArcSwap<Door>>,
        crowd: Arc<Crowd>,
        is_wanted: watch::Receiver<()>,
    ) -> io::Result<Self> {
        Ok(Self { door, socket: TcpListener::from_std(socket)?, crowd, is_wanted })
    }

    /// Accepts connections until the server stops or the listener is taken away, then waits for their sessions.
    pub(crate) async fn run(mut self, services: Arc<Services>, mut stop: watch::Receiver<Phase>) {
        let mut sessions = JoinSet::new();
        if let Ok(address) = self.socket.local_addr() {
            Listening { listener: &self.door.load().policy.name, address }.record();
        }
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|phase| *phase >= Phase::Draining) => break,
                // Nobody ever sends: it is the end of the sender.
                _ = self.is_wanted.changed() => {
                    tracing::info!(listener = self.door.load().policy.name, "listener closed; its sessions go on");
                    break;
                }
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
        let door = self.door.load_full();
        let name = [door.policy.name.as_str()];
        // Of a proxy's connection only its header says whose it is.
        let is_proxied = door.proxies.iter().any(|network| network.has(client.ip()));
        let entered = self.crowd.enter().and_then(|mut place| {
            if !is_proxied {
                place.belongs_to(client.ip(), now())?;
            }
            Ok(place)
        });
        let place = match entered {
            Ok(place) => place,
            Err(limit) => {
                ConnectionRefused { listener: &door.policy.name, client, limit }.record(&services.metrics);
                return refuse(&stream, &door, limit);
            }
        };
        let connection = match connect(services, &stream, client) {
            Ok(connection) => connection,
            // The client is gone already, or no id can be made; either way there is nobody to talk to.
            Err(error) => return tracing::debug!(%client, %error, "connection lost"),
        };
        services.metrics.connections.with_label_values(&name).inc();
        let open = Open::new(services.metrics.sessions.with_label_values(&name));
        let wire = Wire::new(stream, services.stopper.subscribe());
        let arrival = Arrival { services: services.clone(), door, wire, connection, place, is_proxied };
        sessions.spawn(async move {
            Box::pin(arrival.serve()).await;
            drop(open);
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

fn refuse(stream: &TcpStream, door: &Door, limit: &str) {
    // Under implicit TLS nobody could read a reply.
    if !door.policy.is_implicit_tls
        && let Err(error) = turn_away(stream, &refusal(door, limit))
    {
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

#[cfg(test)]
mod tests {
    use super::*;

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

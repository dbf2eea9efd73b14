//! The configuration that a test server runs with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::server;

/// Domain that test servers take mail for.
pub const DOMAIN: &str = "basin.example";

/// Mailboxes of the domain.
pub const MAILBOXES: &[&str] = &["user", "alice", "bob", "postmaster"];

/// First port tried. Under 32768, where Linux begins to give ports to outgoing connections, so that no client of
/// a test running beside takes the port between the look and the server's bind.
const PORT_FIRST: u16 = 20_000;
/// How many ports are tried, from the first on.
const PORT_COUNT: u16 = 12_000;

/// What differs between tests; the rest of the file is the same for all.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the only listener.
    pub smtp: SocketAddr,
    /// Address of `/metrics` and `/health`.
    pub admin: SocketAddr,
    /// Name of the server.
    pub host_name: String,
    /// Lines for the top of the file.
    pub top: String,
    /// Further lines of the listener.
    pub listener: String,
    /// Further lines of the domain.
    pub domain: String,
    /// Lines of `[aliases]`.
    pub aliases: String,
    /// Lines of `[limits]`.
    pub limits: String,
    /// Who may send to other domains: the value of `clients` in `[relay]`. Nobody, where a test does not say so.
    pub relay_clients: String,
    /// Further tables.
    pub tables: String,
    /// Where the spool lies when not below the server's home.
    pub spool: Option<String>,
    /// Where compiled code lies when not in the place that all tests share. Most of a test's time would go into compiling the
    /// same components again; what is taken from the cache is verified there as everywhere.
    pub cache: Option<String>,
}

impl Settings {
    /// The usual server: one listener and the admin port on loopback, each on a free port.
    pub fn usual() -> Self {
        Self {
            smtp: free_address(),
            admin: free_address(),
            host_name: format!("mx.{DOMAIN}"),
            top: String::new(),
            listener: String::new(),
            domain: String::new(),
            aliases: String::new(),
            limits: String::new(),
            relay_clients: "[]".to_owned(),
            tables: String::new(),
            spool: None,
            cache: None,
        }
    }

    /// The text of `basin.toml`, with everything below `home`.
    pub fn text(&self, home: &Path) -> String {
        let home = home.display();
        let spool = self.spool.clone().unwrap_or_else(|| format!("{home}/spool"));
        let cache = self.cache.clone().unwrap_or_else(|| server::target().join("test-cache").display().to_string());
        let mailboxes: Vec<String> = MAILBOXES.iter().map(|name| format!("{name:?}")).collect();
        let Self { host_name, smtp, admin, top, listener, domain, aliases, limits, tables, relay_clients, .. } = self;
        format!(
            "host-name = \"{host_name}\"\n{top}\n\
             [spool]\ndirectory = \"{spool}\"\n\
             [registry]\ndirectory = \"{home}/registry\"\ncache = \"{cache}\"\n\
             [maildir]\ndirectory = \"{home}/mail\"\n\
             [admin]\naddress = \"{admin}\"\n\
             [[listener]]\nname = \"inbound\"\naddress = \"{smtp}\"\n{listener}\n\
             [[domain]]\nname = \"{DOMAIN}\"\nmailboxes = [{}]\n{domain}\n\
             [aliases]\n{aliases}\n[limits]\n{limits}\n[relay]\nclients = {relay_clients}\n{tables}\n",
            mailboxes.join(", ")
        )
    }
}

/// An address on loopback that nobody listens at.
///
/// Each call gives another port, spread by the process id, so that tests in other processes try others first.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORT_COUNT)).unwrap_or(0);
    for _ in 0..PORT_COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // A stride that shares no factor with the count visits every port once.
        let offset = (u32::from(start) * 7 + u32::from(step)) % u32::from(PORT_COUNT);
        let port = PORT_FIRST + u16::try_from(offset).unwrap_or(0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

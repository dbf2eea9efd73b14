//! What the configuration says of the way out, in the words of `basin_outbound`.

use basin_core::smtp::client::{ClientTimeouts, Credentials, Mechanism};
use basin_outbound::dns::{DnsOptions, Dnssec};
use basin_outbound::mta_sts::MtaStsOptions;
use basin_outbound::{OutboundOptions, TrustStore, VisitLimits};

use crate::clock::Randomness;
use crate::config::{self, Config};

/// The options of the way out.
pub(super) fn options(config: &Config, randomness: &Randomness) -> OutboundOptions {
    let outbound = &config.outbound;
    let addresses = config.listeners.iter().map(|listener| listener.address);
    let own = addresses.clone().map(|address| address.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    let dns = DnsOptions {
        servers: config.dns.servers.clone(),
        own_names: vec![config.host_name.clone(), outbound.helo_name.clone()],
        own_addresses: own.collect(),
        dnssec: if config.dns.is_validated {
            Dnssec::Validate { anchor: config.dns.trust_anchor.clone() }
        } else {
            Dnssec::Off
        },
        ..DnsOptions::default()
    };
    let timeouts = ClientTimeouts {
        greeting: outbound.command_timeout,
        command: outbound.command_timeout,
        end: outbound.final_timeout,
        ..ClientTimeouts::default()
    };
    OutboundOptions {
        host_name: outbound.helo_name.clone(),
        source_addresses: outbound.source_addresses.clone(),
        listeners: addresses.collect(),
        credentials: config.credentials.iter().map(|one| (one.name.clone(), credentials(one))).collect(),
        trust: config.tls.roots.clone().map_or(TrustStore::System, |roots| TrustStore::Files(vec![roots])),
        client_certificate: None,
        limits: VisitLimits { connect: outbound.connect_timeout, ..VisitLimits::default() },
        timeouts,
        chunking: outbound.chunking,
        dns,
        mta_sts: config.tls.is_mta_sts.then(MtaStsOptions::default),
        mx_port: outbound.mx_port,
        random: randomness.number().unwrap_or(0),
        ..OutboundOptions::default()
    }
}

fn credentials(written: &config::Credentials) -> Credentials {
    Credentials {
        user: written.user.clone(),
        secret: written.password.clone(),
        mechanisms: vec![Mechanism::Plain, Mechanism::Login],
        // The configuration lets a route go without TLS to this machine alone.
        may_go_unencrypted: true,
    }
}

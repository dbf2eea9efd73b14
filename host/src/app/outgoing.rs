//! What the configuration says of the way out, in the words of `basin_outbound`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use basin_core::smtp::client::{ClientTimeouts, Credentials, Mechanism};
use basin_outbound::dns::{DnsOptions, Dnssec};
use basin_outbound::mta_sts::MtaStsOptions;
use basin_outbound::tls_report::{ReportMaker, TlsReportOptions, TlsReporter, TlsReports};
use basin_outbound::{Outbound, OutboundOptions, TrustStore, VisitLimits};
use tokio::task::JoinSet;

use crate::clock::Randomness;
use crate::config::{self, Config};
use crate::delivery;
use crate::delivery::outbound::Carrier;
use crate::delivery::outbound::reports::Reporting;
use crate::services::Services;

/// The way out; it changes when the configuration is read again.
pub(super) type Way = Arc<ArcSwap<Outbound>>;

/// Folder of MTA-STS policies, below the spool.
const MTA_STS_FOLDER: &str = "mta-sts";

/// Folder of counts for TLS reports, below the spool.
const TLS_REPORTS_FOLDER: &str = "tls-reports";

/// The options of the way out.
///
/// `reports` counts what TLS comes to, the same before and after the configuration is read again.
pub(super) fn options(config: &Config, randomness: &Randomness, reports: Option<Arc<TlsReports>>) -> OutboundOptions {
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
        sources: outbound.sources.clone().into_iter().collect(),
        listeners: addresses.collect(),
        credentials: config.credentials.iter().map(|one| (one.name.clone(), credentials(one))).collect(),
        trust: config.tls.roots.clone().map_or(TrustStore::System, |roots| TrustStore::Files(vec![roots])),
        client_certificate: None,
        limits: VisitLimits { connect: outbound.connect_timeout, ..VisitLimits::default() },
        timeouts,
        chunking: outbound.chunking,
        dns,
        is_dane: config.tls.is_dane,
        mta_sts: config
            .tls
            .is_mta_sts
            .then(|| MtaStsOptions { directory: Some(config.spool.join(MTA_STS_FOLDER)), ..MtaStsOptions::default() }),
        reports,
        mx_port: outbound.mx_port,
        random: randomness.number().unwrap_or(0),
    }
}

/// The way out, and the counts for TLS reports where reports are sent.
///
/// # Errors
/// A folder cannot be made, or certificates, keys or resolvers cannot be used.
pub(super) fn open(config: &Config, randomness: &Randomness) -> anyhow::Result<(Way, Option<Arc<TlsReports>>)> {
    let reports = prepare(config)?;
    let outbound = Outbound::new(options(config, randomness, reports.clone()))?;
    Ok((Arc::new(ArcSwap::from_pointee(outbound)), reports))
}

// Makes the folders below the spool in which the way out keeps what it knows, and the counts for TLS reports where
// reports are sent.
fn prepare(config: &Config) -> anyhow::Result<Option<Arc<TlsReports>>> {
    let make = |name: &str| {
        let folder = config.spool.join(name);
        make_folder(&folder).with_context(|| format!("cannot make {}", folder.display())).map(|()| folder)
    };
    if config.tls.is_mta_sts {
        make(MTA_STS_FOLDER)?;
    }
    if config.tls.reports_from.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(TlsReports::new(TlsReportOptions::new(make(TLS_REPORTS_FOLDER)?)))))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Starts the tasks that carry mail to other servers, where there are workers to prepare it and connections to carry
/// it; and the one that sends TLS reports.
///
/// # Errors
/// The TLS library cannot be set up.
pub(super) fn carry_out(
    config: &Config,
    services: &Arc<Services>,
    outbound: &Way,
    reports: Option<Arc<TlsReports>>,
    work: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    if config.limits.deliveries == 0 || config.outbound.connections == 0 {
        return Ok(());
    }
    let Services { queue, metrics, tracking, stopper, ask, randomness, .. } = services.as_ref();
    let carrier = Carrier {
        queue: queue.clone(),
        outbound: outbound.clone(),
        metrics: metrics.clone(),
        tracking: tracking.clone(),
        ask: ask.clone(),
        randomness: randomness.clone(),
    };
    work.spawn(delivery::outbound::run(carrier, stopper.subscribe()));
    let (Some(reports), Some(maker)) = (reports, report_maker(config)) else { return Ok(()) };
    let way = outbound.load();
    let reporter = TlsReporter::new(reports.clone(), maker, way.resolver().clone(), way.roots().clone())
        .context("cannot set up the sending of TLS reports")?;
    let reporting = Reporting { reporter, reports, services: services.clone() };
    work.spawn(reporting.run(stopper.subscribe()));
    Ok(())
}

// Who TLS reports say that they are from; `None` where none are sent.
fn report_maker(config: &Config) -> Option<ReportMaker> {
    let sender = config.tls.reports_from.clone()?;
    let host_name = config.host_name.clone();
    let domain = sender.to_string().rsplit_once('@').map(|(_, domain)| domain.to_owned());
    let organization = domain.unwrap_or_else(|| host_name.clone());
    Some(ReportMaker { organization, contact: sender.to_string(), sender, host_name })
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

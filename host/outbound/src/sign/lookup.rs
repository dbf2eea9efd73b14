//! What DNS says about keys.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::record::record_name;

/// A resolver that asks those servers, or those of `/etc/resolv.conf` where there are none; `None` where nobody can be
/// asked. It has to be made within a runtime.
pub(super) fn resolver(servers: &[SocketAddr]) -> Option<TokioResolver> {
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().ok()?
    } else {
        let server = |address: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        };
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    builder.build().ok()
}

/// The texts of the TXT records of a selector, each put together from its strings.
///
/// # Errors
/// What the name servers said, or that they said nothing; none at all is an empty list.
pub async fn published(servers: &[SocketAddr], domain: &str, selector: &str) -> Result<Vec<String>, String> {
    let resolver = resolver(servers).ok_or("no name server is known")?;
    let name = format!("{}.", record_name(domain, selector));
    let found = match resolver.txt_lookup(name).await {
        Ok(found) => found,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let text = |data: &RData| match data {
        RData::TXT(txt) => Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect::<String>()),
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect())
}

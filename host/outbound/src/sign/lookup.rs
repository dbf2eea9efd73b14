//! What DNS says about keys.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use mail_auth::{ResolverCache, Txt};

use super::record::record_name;

/// Most records of others that are remembered. They come from domains of the senders' choice.
const KNOWN_MAX: usize = 4_096;

/// Records of others that were looked up, each until its time to live is over.
#[derive(Default)]
pub(super) struct KnownKeys(Mutex<HashMap<Box<str>, (Txt, Instant)>>);

impl ResolverCache<Box<str>, Txt> for KnownKeys {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(_, until)| *until > Instant::now()).map(|(text, _)| text.clone())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name).map(|(text, _)| text)
    }

    fn insert(&self, name: Box<str>, text: Txt, until: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name, (text, until));
    }
}

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
    let text = |data: &RData| {
        let RData::TXT(txt) = data else { return None };
        Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect::<String>())
    };
    Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect())
}

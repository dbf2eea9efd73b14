//! Plain questions: what the records of a name say, without a view to where mail goes.

use std::net::IpAddr;

use basin_core::addr::check_domain;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail_auth::MessageAuthenticator;

use super::{LookupError, Resolver, mail_name, text_of};

/// Records of one answer that are passed on. Nobody needs more; an answer over TCP can hold thousands.
const RECORDS_MAX: usize = 100;

/// Names of one address that are asked whether they lead back to it. Hosts have one; whoever may write what an address
/// points to could list thousands.
pub(super) const NAMES_TRIED_MAX: usize = 4;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The name does not exist.
    #[error("the name does not exist")]
    NoName,
    /// What was asked is no name.
    #[error("this is no name in the domain name system")]
    NotAName,
    /// Nobody gave an answer that can be used.
    #[error("{0}")]
    Failed(String),
}

impl Resolver {
    /// The addresses of a host, whatever they are: lists that answer out of 127.0.0.0/8 are asked with this too.
    pub async fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, QueryError> {
        let name = asked(name)?;
        let (v6, v4) = tokio::join!(self.found(&name, RecordType::AAAA), self.found(&name, RecordType::A));
        let (v4, v6) = match (v4, v6) {
            // One family that cannot be looked up hides the other's addresses only where there are none.
            (Ok(v4), Err(QueryError::Failed(_))) if !v4.is_empty() => (v4, Vec::new()),
            (Err(QueryError::Failed(_)), Ok(v6)) if !v6.is_empty() => (Vec::new(), v6),
            (v4, v6) => (v4?, v6?),
        };
        let address = |record: &RData| {
            if let RData::A(v4) = record {
                Some(IpAddr::V4(v4.0))
            } else if let RData::AAAA(v6) = record {
                Some(IpAddr::V6(v6.0))
            } else {
                None
            }
        };
        Ok(v4.iter().chain(&v6).filter_map(address).collect())
    }

    /// The MX records of a domain, lowest preference first; the empty name stands for "takes no mail" (RFC 7505).
    pub async fn mx_of(&self, domain: &str) -> Result<Vec<(u16, String)>, QueryError> {
        let found = self.found(&asked(domain)?, RecordType::MX).await?;
        let record = |record: &RData| {
            let RData::MX(mx) = record else { return None };
            Some((mx.preference, text_of(&mx.exchange)))
        };
        let mut records: Vec<_> = found.iter().filter_map(record).collect();
        records.sort();
        Ok(records)
    }

    /// The TXT records of a name, the strings of each joined without a space (RFC 7208 §3.3).
    pub async fn txt_of(&self, name: &str) -> Result<Vec<String>, QueryError> {
        let found = self.found(&asked(name)?, RecordType::TXT).await?;
        let record = |record: &RData| {
            let RData::TXT(parts) = record else { return None };
            Some(String::from_utf8_lossy(&parts.txt_data.concat()).into_owned())
        };
        Ok(found.iter().filter_map(record).collect())
    }

    /// The names that an address points to.
    pub async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, QueryError> {
        let found = self.found(&Name::from(address.to_canonical()), RecordType::PTR).await?;
        let record = |record: &RData| {
            let RData::PTR(name) = record else { return None };
            Some(text_of(&name.0))
        };
        Ok(found.iter().filter_map(record).collect())
    }

    /// The name that an address points to and that has that address in turn (RFC 8601 §2.7.3): what an address points to
    /// is written by whoever has the address, and could be anybody's name. `None` also where it cannot be found out.
    pub async fn confirmed_name_of(&self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        let names = self.names_of(address).await.ok()?;
        for name in names.into_iter().filter(|name| check_domain(name).is_ok()).take(NAMES_TRIED_MAX) {
            let addresses = self.addresses_of(&name).await.unwrap_or_default();
            if addresses.iter().any(|found| found.to_canonical() == address) {
                return Some(name);
            }
        }
        None
    }

    /// The library that verifies messages, over the same resolver and its cache.
    pub(crate) fn authenticator(&self) -> MessageAuthenticator {
        MessageAuthenticator(self.lookups.resolver().clone())
    }

    async fn found(&self, name: &Name, kind: RecordType) -> Result<Vec<RData>, QueryError> {
        match self.records(name, kind).await {
            Ok(answer) => Ok(answer.data.into_iter().take(RECORDS_MAX).collect()),
            Err(LookupError::NoRecord | LookupError::Unproved) => Ok(Vec::new()),
            Err(LookupError::NoName) => Err(QueryError::NoName),
            Err(error @ (LookupError::Bogus | LookupError::Failed(_))) => Err(QueryError::Failed(error.to_string())),
        }
    }
}

fn asked(name: &str) -> Result<Name, QueryError> {
    mail_name(name.strip_suffix('.').unwrap_or(name)).ok_or(QueryError::NotAName)
}

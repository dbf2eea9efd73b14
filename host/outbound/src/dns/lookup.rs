//! One question to the name servers, and what its answer is worth.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{DnsOptions, DnsSetupError, Dnssec};

/// Longest chain of aliases followed. RFC 1034 §3.6.2 wants none that is longer than one; ten is generous.
const ALIASES_MAX: usize = 10;

/// Longest time that an answer is kept, whatever its owner wrote: a mistake in a zone heals within a day.
const POSITIVE_TTL_MAX: Duration = Duration::from_hours(24);

/// Longest time that "there is none" is kept: who adds a record wants it seen soon.
const NEGATIVE_TTL_MAX: Duration = Duration::from_mins(5);

/// How long "there is none" is kept where the answer does not say.
const NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(30);

/// Questions in flight to one server at a time over one connection.
const ACTIVE_REQUESTS_MAX: usize = 256;

/// Records of one kind, at the end of a chain of aliases.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// What they say, never nothing.
    pub(crate) data: Vec<RData>,
    /// Whether every step to them is proved by DNSSEC.
    pub(crate) is_secure: bool,
    /// The name that they belong to, where the name asked for is an alias.
    pub(crate) canonical: Option<Name>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// The name does not exist.
    #[error("no such name")]
    NoName,
    /// The name exists, but has no such record.
    #[error("no such record")]
    NoRecord,
    /// There is no such record, by an answer that is neither signed nor shows that its zone is not.
    #[error("an answer that proves nothing says that there is no such record")]
    Unproved,
    /// The answer's signatures are wrong or missing: somebody may be lying.
    #[error("the answer fails its DNSSEC validation")]
    Bogus,
    /// Nobody gave an answer.
    #[error("{0}")]
    Failed(String),
}

/// Asks, and keeps answers. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct Lookups {
    resolver: TokioResolver,
    is_validating: bool,
    absent: Arc<Mutex<Absent>>,
}

/// What is known not to be there. The resolver's own cache keeps no negative answer that was validated, and most
/// exchangers have no AAAA record, so that every visit would ask for it again.
struct Absent {
    known: HashMap<(Name, RecordType), (Instant, LookupError)>,
    entries_max: usize,
}

impl Lookups {
    pub(crate) fn new(options: &DnsOptions) -> Result<Self, DnsSetupError> {
        let servers = if options.servers.is_empty() { system_servers()? } else { configured_servers(options) };
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = resolver_options(options);
        if let Dnssec::Validate { anchor } = &options.dnssec {
            let anchors = match anchor {
                None => TrustAnchors::default(),
                Some(path) => TrustAnchors::from_file(path)
                    .map_err(|error| DnsSetupError::Anchor { path: path.clone(), why: error.to_string() })?,
            };
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        let resolver = builder.build().map_err(|error| DnsSetupError::System(error.to_string()))?;
        let entries_max = usize::try_from(options.cache_entries).unwrap_or(usize::MAX);
        let absent = Absent { known: HashMap::new(), entries_max };
        let is_validating = options.dnssec != Dnssec::Off;
        Ok(Self { resolver, is_validating, absent: Arc::new(Mutex::new(absent)) })
    }

    /// The resolver itself, with its cache; for the library that verifies messages.
    pub(crate) fn resolver(&self) -> &TokioResolver {
        &self.resolver
    }

    /// Asks for the records of one kind that a name has; the name is taken as it is, no search list is applied.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, LookupError> {
        let mut name = name.clone();
        name.set_fqdn(true);
        if let Some(error) = self.absent().find(&name, kind) {
            return Err(error);
        }
        let error = match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => match digest(&name, kind, lookup.answers()) {
                Some(answer) => return Ok(answer),
                // The record stands where no answer belongs, where nobody looked at its proof.
                None if self.is_validating => return Err(LookupError::Bogus),
                None => return Err(LookupError::NoRecord),
            },
            Err(error) => error,
        };
        if self.is_validating
            && let NetError::Dns(DnsError::NoRecordsFound(none)) = &error
            && let Some(doubt) = doubt(none, kind)
        {
            return Err(doubt);
        }
        if let Some(answer) = unproved_answer(&name, kind, &error) {
            return Ok(answer);
        }
        let (error, keep) = classify(error);
        if let Some(time) = keep {
            self.absent().keep((name, kind), time, error.clone());
        }
        Err(error)
    }

    // A panic while the lock was held left a cache that is still one: every entry is written whole.
    fn absent(&self) -> std::sync::MutexGuard<'_, Absent> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Absent {
    fn find(&mut self, name: &Name, kind: RecordType) -> Option<LookupError> {
        let key = (name.clone(), kind);
        let (until, error) = self.known.get(&key)?;
        if *until > Instant::now() {
            return Some(error.clone());
        }
        self.known.remove(&key);
        None
    }

    fn keep(&mut self, key: (Name, RecordType), time: Duration, error: LookupError) {
        let now = Instant::now();
        if self.known.len() >= self.entries_max {
            self.known.retain(|_, (until, _)| *until > now);
        }
        // All of them are younger than five minutes; to start again is cheaper than to keep an order of age.
        if self.known.len() >= self.entries_max {
            self.known.clear();
        }
        self.known.insert(key, (now + time, error));
    }
}

fn system_servers() -> Result<Vec<NameServerConfig>, DnsSetupError> {
    let (config, _) =
        hickory_resolver::system_conf::read_system_conf().map_err(|error| DnsSetupError::System(error.to_string()))?;
    match config.name_servers() {
        [] => Err(DnsSetupError::System("none is configured".to_owned())),
        servers => Ok(servers.to_vec()),
    }
}

fn configured_servers(options: &DnsOptions) -> Vec<NameServerConfig> {
    let server = |address: &std::net::SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    options.servers.iter().map(server).collect()
}

fn resolver_options(options: &DnsOptions) -> ResolverOpts {
    let mut resolver = ResolverOpts::default();
    resolver.timeout = options.query_timeout;
    resolver.attempts = options.retries;
    resolver.cache_size = options.cache_entries;
    resolver.positive_max_ttl = Some(POSITIVE_TTL_MAX);
    resolver.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    // A line in /etc/hosts is for this machine's programs; where mail goes is the domain's owner's to say.
    resolver.use_hosts_file = ResolveHosts::Never;
    resolver.max_active_requests = ACTIVE_REQUESTS_MAX;
    resolver.preserve_intermediates = true;
    resolver
}

/// Walks the aliases of an answer and takes the records at their end. What else the server added is not looked
/// at, so that nobody can slip in records for another name.
fn digest(asked: &Name, kind: RecordType, records: &[Record]) -> Option<Answer> {
    let mut name = asked;
    let mut is_secure = true;
    for _ in 0..=ALIASES_MAX {
        let found: Vec<_> = records.iter().filter(|it| it.record_type() == kind && it.name == *name).collect();
        if !found.is_empty() {
            is_secure &= found.iter().all(|record| record.proof.is_secure());
            let data = found.into_iter().map(|record| record.data.clone()).collect();
            let canonical = (name != asked).then(|| name.clone());
            return Some(Answer { data, is_secure, canonical });
        }
        let alias = records
            .iter()
            .filter(|it| it.name == *name)
            .find_map(|it| if let RData::CNAME(target) = &it.data { Some((it, &target.0)) } else { None });
        let (record, target) = alias?;
        is_secure &= record.proof.is_secure();
        name = target;
    }
    None
}

/// The answer that stands in an error: a wildcard's, whose proof takes more hash iterations than anybody should
/// compute (RFC 9276 §3.2), which makes it insecure and no more.
fn unproved_answer(asked: &Name, kind: RecordType, error: &NetError) -> Option<Answer> {
    let NetError::Dns(DnsError::Nsec { response, proof, .. }) = error else { return None };
    let answer = digest(asked, kind, &response.answers).filter(|_| proof.is_insecure())?;
    Some(Answer { is_secure: false, ..answer })
}

/// What is wrong with a denial under validation.
///
/// The library takes one as that of a zone without signatures when all records beside it are of such zones, of
/// whichever: whoever stands between it and the name servers could deny the records of any signed zone so.
fn doubt(none: &NoRecords, kind: RecordType) -> Option<LookupError> {
    let name = none.query.name();
    let is_evidence = |owner: &Name, proof: Proof| proof.is_secure() || owner.zone_of(name);
    let soa = none.soa.iter().map(|it| is_evidence(&it.name, it.proof));
    let beside = none.authorities.iter().flat_map(|records| records.iter()).map(|it| is_evidence(&it.name, it.proof));
    let is_evident: Vec<bool> = soa.chain(beside).collect();
    match (is_evident.as_slice(), kind) {
        (found, _) if found.contains(&true) => None,
        // Some servers of unsigned zones send nothing at all. Nobody asks for TLSA records but in signed ones.
        ([], RecordType::MX) if none.response_code == ResponseCode::NoError => Some(LookupError::Unproved),
        ([], RecordType::TLSA) | ([_, ..], _) => Some(LookupError::Bogus),
        ([], _) => None,
    }
}

/// What a failure means, and how long it holds.
fn classify(error: NetError) -> (LookupError, Option<Duration>) {
    let absent = |code| if code == ResponseCode::NXDomain { LookupError::NoName } else { LookupError::NoRecord };
    let failed = |why: String| (LookupError::Failed(why), None);
    if matches!(error, NetError::Timeout) {
        return failed("no name server answered in time".to_owned());
    }
    let text = error.to_string();
    let NetError::Dns(error) = error else { return failed(text) };
    match error {
        DnsError::NoRecordsFound(none) => (absent(none.response_code), Some(negative_ttl(&none))),
        DnsError::Nsec { response, proof, .. } if proof.is_insecure() => {
            (absent(response.response_code), Some(NEGATIVE_TTL_DEFAULT))
        }
        DnsError::Nsec { .. } | DnsError::DnssecBogus => (LookupError::Bogus, None),
        DnsError::ResponseCode(code) => failed(format!("the name server says: {code}")),
        error => failed(error.to_string()),
    }
}

// RFC 2308 §5: the lesser of the SOA record's own time to live and its minimum field.
fn negative_ttl(none: &NoRecords) -> Duration {
    let Some(soa) = &none.soa else { return NEGATIVE_TTL_DEFAULT };
    Duration::from_secs(u64::from(soa.ttl.min(soa.data.minimum))).min(NEGATIVE_TTL_MAX)
}

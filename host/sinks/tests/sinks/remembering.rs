//! A host that remembers what sinks told it.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use basin_core::mail::{AuthMethod, AuthResult, Message};
use basin_core::time::Timestamp;
use basin_core::transport::HopTarget;
use basin_sinks::{HttpStream, LogLevel, LogLine, Named, ServiceError, SinkHost, Waiting};
use tokio::net::TcpStream;

/// A host that remembers what sinks told it.
#[derive(Default)]
pub(crate) struct Remembering {
    pub(crate) log: Mutex<Vec<(LogLevel, String)>>,
    pub(crate) metrics: Mutex<Vec<(String, u64)>>,
    pub(crate) panics: bool,
    /// What is stored: sink and key to the value.
    pub(crate) tables: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    /// Ids of the messages that were verified, with the size of the body at that time.
    pub(crate) verified: Mutex<Vec<(String, u64)>>,
    /// Connections that were asked for: host, port, whether over TLS, whether an inner address is allowed.
    pub(crate) connected: Mutex<Vec<(String, u16, bool, bool)>>,
}

impl SinkHost for Remembering {
    fn host_name(&self) -> String {
        assert!(!self.panics, "a bug of the host");
        "mx.basin.example".into()
    }

    fn is_local_domain(&self, domain: &str) -> bool {
        domain == "basin.example"
    }

    fn is_local_address(&self, address: &str) -> bool {
        address == "b@basin.example"
    }

    fn message_bytes_max(&self, listener: Option<&str>) -> u64 {
        if listener == Some("small") { 1_024 * 1_024 } else { 2 * 1_024 * 1_024 }
    }

    fn may_log_in(&self, credentials: &str, there: &HopTarget) -> bool {
        credentials == "relay" && *there != HopTarget::Local
    }

    fn has_name(&self, what: Named, name: &str) -> bool {
        matches!((what, name), (Named::Lmtp, "store") | (Named::Source, "first"))
    }

    fn is_log_enabled(&self, _: &str, level: LogLevel) -> bool {
        level >= LogLevel::Info
    }

    fn log(&self, line: &LogLine<'_>) {
        self.log.lock().unwrap().push((line.level, line.text.to_owned()));
    }

    fn metric_add(&self, _: &str, name: &str, by: u64) {
        self.metrics.lock().unwrap().push((name.to_owned(), by));
    }

    fn metric_observe(&self, _: &str, name: &str, _: f64) {
        self.metrics.lock().unwrap().push((name.to_owned(), 0));
    }

    fn table_value(&self, sink: &str, key: &str, _: Timestamp) -> Result<Option<Arc<[u8]>>, ServiceError> {
        let tables = self.tables.lock().unwrap();
        Ok(tables.get(&(sink.to_owned(), key.to_owned())).map(|value| value.as_slice().into()))
    }

    fn table_keys(
        &self,
        sink: &str,
        prefix: &str,
        after: Option<&str>,
        at_most: usize,
        _: Timestamp,
    ) -> Result<Vec<String>, ServiceError> {
        let tables = self.tables.lock().unwrap();
        let own = tables.keys().filter(|(owner, key)| owner == sink && key.starts_with(prefix)).map(|(_, key)| key);
        Ok(own.filter(|key| after.is_none_or(|after| key.as_str() > after)).take(at_most).cloned().collect())
    }

    fn table_bytes(&self, sink: &str) -> Result<u64, ServiceError> {
        let tables = self.tables.lock().unwrap();
        let weight = |((_, key), value): (&(String, String), &Vec<u8>)| (key.len() + value.len()) as u64 + 32;
        Ok(tables.iter().filter(|((owner, _), _)| owner == sink).map(weight).sum())
    }

    fn table_increment(&self, sink: &str, key: &str, by: i64, _: u32, _: Timestamp) -> Waiting<'_, i64> {
        let mut tables = self.tables.lock().unwrap();
        let value = tables.entry((sink.to_owned(), key.to_owned())).or_insert_with(|| b"0".to_vec());
        let sum = String::from_utf8_lossy(value).parse::<i64>().unwrap_or(0) + by;
        *value = sum.to_string().into_bytes();
        Box::pin(async move { Ok(sum) })
    }

    fn addresses(&self, name: &str) -> Waiting<'_, Vec<IpAddr>> {
        let answer = match name {
            "two.example" => Ok(vec![IpAddr::from([127, 0, 0, 2]), "2001:db8::1".parse().expect("an address")]),
            "none.example" => Ok(Vec::new()),
            "odd name" => Err(ServiceError::Invalid("this is no name".into())),
            _ => Err(ServiceError::NotFound),
        };
        Box::pin(async move { answer })
    }

    fn exchangers(&self, _: &str) -> Waiting<'_, Vec<(u16, String)>> {
        Box::pin(async { Ok(vec![(0, String::new())]) })
    }

    fn texts(&self, name: &str) -> Waiting<'_, Vec<String>> {
        if name == "slow.example" {
            Box::pin(core::future::pending())
        } else {
            Box::pin(async { Ok(vec!["v=spf1 -all".to_owned()]) })
        }
    }

    fn verify(&self, message: Arc<Message>, method: AuthMethod) -> Waiting<'_, Vec<AuthResult>> {
        self.verified.lock().unwrap().push((message.id.as_str().to_owned(), message.body.len()));
        let result = AuthResult {
            method,
            outcome: "pass",
            domain: "client.example".into(),
            properties: BTreeMap::from([("header.s", "s1".to_owned())]),
            reason: "the test says so".into(),
        };
        Box::pin(async move { Ok(vec![result]) })
    }

    fn connect(&self, host: &str, port: u16, is_tls: bool, may_be_inner: bool) -> Waiting<'_, HttpStream> {
        self.connected.lock().unwrap().push((host.to_owned(), port, is_tls, may_be_inner));
        let host = host.to_owned();
        Box::pin(async move {
            let address = match host.as_str() {
                "none.example" => return Err(ServiceError::NotFound),
                "inner.example" => return Err(ServiceError::Invalid("10.0.0.1 is inside".into())),
                "slow.example" => core::future::pending().await,
                // A name of the world outside, as far as the test goes.
                "scan.example" => "127.0.0.1",
                literal => literal,
            };
            let stream = TcpStream::connect((address, port)).await;
            let stream = stream.map_err(|error| ServiceError::Unavailable(error.to_string()))?;
            Ok(Box::new(stream) as HttpStream)
        })
    }
}

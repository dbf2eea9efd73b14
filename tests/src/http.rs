//! The smallest HTTP client that can read `/health` and `/metrics`.

use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Wait for the local port; it answers out of memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches a path: status and body.
pub fn get(server: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let bad = || Error::new(ErrorKind::InvalidData, format!("not an HTTP answer: {answer:?}"));
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or_else(bad)?;
    Ok((status, body))
}

/// The samples of a Prometheus page, by name with labels as they stand there.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Fetches and reads `/metrics`.
    pub fn fetch(server: SocketAddr) -> io::Result<Self> {
        let (status, body) = get(server, "/metrics")?;
        if status != 200 {
            return Err(Error::other(format!("/metrics answers {status}")));
        }
        Ok(Self::parse(&body))
    }

    /// Reads a page; comment lines and what is no sample are passed over.
    pub fn parse(page: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum over all labels of a metric; `None` where there is no such metric.
    pub fn total(&self, name: &str) -> Option<f64> {
        let of_name = |key: &str| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let values: Vec<f64> = self.0.iter().filter(|(key, _)| of_name(key)).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The names that are there, labels left out.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.keys().map(|key| key.split('{').next().unwrap_or(key)).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn labels_of_one_metric_are_summed_and_like_names_are_not() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\nbroken\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.total("a"), Some(5.0));
        assert_eq!(metrics.total("ab"), Some(7.0));
        assert_eq!(metrics.total("b"), None);
    }
}

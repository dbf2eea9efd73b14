//! `basin check`: what the configuration means, and what is wrong with it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use basin_core::event::SinkSecret;
use basin_core::time::Timestamp;

use crate::cli::Context;
use crate::clock::now;
use crate::config::{Config, open_to_all, read_accounts};
use crate::registry::Store;
use crate::registry::secret::read_secret;
use crate::tls::{Certificate, Validity};

/// Arguments of `basin check`.
#[derive(Debug, clap::Args)]
pub struct Check {}

impl Check {
    /// Prints what the file means and its warnings.
    ///
    /// # Errors
    /// The configuration cannot be used; the text has every problem.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load()?;
        print!("{}", config.describe());
        let mut is_usable = true;
        let mut warnings: Vec<String> =
            config.warnings.iter().map(|warning| warning.at(&config.file).to_string()).collect();
        let mut certificates = Vec::new();
        for files in &config.certificates {
            match Certificate::read(&files.chain, &files.key) {
                Ok(certificate) => {
                    println!("certificate  {}", describe(&files.name, &certificate));
                    warnings.extend(ending(&files.name, &certificate, now()));
                    certificates.push(certificate);
                }
                Err(error) => {
                    is_usable = false;
                    println!("certificate  {}: {error}", files.name);
                }
            }
        }
        warnings.extend(nameless(&config.host_name, &certificates));
        let users = user_files(&config);
        warnings.extend(
            config.certificates.iter().map(|files| &files.key).chain(&users).filter_map(|file| open_to_all(file)),
        );
        let mut known = BTreeSet::new();
        for file in &users {
            // The secret matters to who guesses, not to whether the file can be used.
            match read_accounts(file, Default::default()) {
                Ok(accounts) => known.extend(accounts.users().map(str::to_owned)),
                Err(error) => {
                    is_usable = false;
                    println!("users        {error:#}");
                }
            }
        }
        warnings.extend(strangers(&config, &known));
        warnings.extend(elsewhere(&config));
        warnings.extend(secrets(&Store::new(&config.registry)));
        for warning in &warnings {
            println!("warning: {warning}");
        }
        if !is_usable {
            bail!("{} cannot be used: a certificate or a file of users cannot", config.file.display());
        }
        let count = warnings.len();
        println!("{} can be used, {count} warning{}", config.file.display(), if count == 1 { "" } else { "s" });
        Ok(ExitCode::SUCCESS)
    }
}

// A row for a user whom nobody knows keeps nobody from anything; most often the name is written in two ways.
fn strangers(config: &Config, known: &BTreeSet<String>) -> Vec<String> {
    let rows = config.senders.rows.keys().filter(|user| !known.contains(*user));
    let text = |user: &String| {
        format!("sender: no file of users has {user:?}, so the row is for nobody, unless a sink logs that user in")
    };
    rows.map(text).collect()
}

// Mail that would leave from there waits for as long as the machine does not have the address.
fn elsewhere(config: &Config) -> Vec<String> {
    let usual =
        config.outbound.source_addresses.iter().map(|address| ("outbound.source-addresses".to_owned(), address));
    let sources = config.outbound.sources.iter();
    let named = sources.flat_map(|(name, addresses)| addresses.iter().map(move |one| (format!("source {name}"), one)));
    let is_absent = |address: &IpAddr| {
        let bound = UdpSocket::bind((*address, 0));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    };
    let absent = usual.chain(named).filter(|(_, address)| is_absent(address));
    absent
        .map(|(key, address)| format!("{key}: this machine does not have {address}, so nothing leaves from it"))
        .collect()
}

// Sinks are apart from the configuration: the server runs without those that cannot be loaded.
fn secrets(store: &Store) -> Vec<String> {
    if !store.file_path().exists() {
        return Vec::new();
    }
    let file = match store.read() {
        Ok(file) => file,
        Err(error) => return vec![format!("the registry cannot be used, and no server starts with it: {error}")],
    };
    let named = file.sinks.iter().filter(|sink| sink.is_enabled);
    let named = named.flat_map(|sink| sink.secrets.iter().map(move |(key, secret)| (&sink.name, key, secret)));
    let fault = |(sink, key, secret): (&String, &String, &SinkSecret)| {
        let why = read_secret(Path::new(&secret.file)).err()?;
        Some(format!("sink {sink} cannot be loaded, and its bindings fail: {key}: {why}"))
    };
    named.filter_map(fault).collect()
}

fn user_files(config: &Config) -> BTreeSet<PathBuf> {
    config.listeners.iter().filter_map(|listener| listener.auth.as_ref()?.users.clone()).collect()
}

// Most mail servers take any certificate; mail programs and those who verify do not.
fn ending(name: &str, certificate: &Certificate, now: Timestamp) -> Option<String> {
    let problem = match certificate.validity(now) {
        Validity::Valid => return None,
        Validity::ExpiresSoon(end) => format!("ends on {}", end.to_rfc3339()),
        Validity::Expired(end) => format!("has been over since {}", end.to_rfc3339()),
        Validity::NotYet(start) => format!("begins only on {}", start.to_rfc3339()),
    };
    Some(format!(
        "the certificate {name} {problem}; mail programs refuse one that is not valid, put a new one in place"
    ))
}

// Clients ask for the name that they know the server by: the host name, by MX records and in greetings.
fn nameless(host_name: &str, certificates: &[Certificate]) -> Option<String> {
    if certificates.is_empty() || certificates.iter().any(|certificate| certificate.is_for(host_name)) {
        return None;
    }
    Some(format!(
        "no certificate is for {host_name}, the `host-name`: who verifies will not take what this server shows there"
    ))
}

fn describe(name: &str, certificate: &Certificate) -> String {
    let validity = match certificate.validity(now()) {
        Validity::Valid => format!("valid until {}", certificate.not_after().to_rfc3339()),
        Validity::ExpiresSoon(end) => format!("EXPIRES SOON, {}", end.to_rfc3339()),
        Validity::Expired(end) => format!("EXPIRED {}", end.to_rfc3339()),
        Validity::NotYet(start) => format!("NOT VALID before {}", start.to_rfc3339()),
    };
    format!("{name}: for {}; {validity}", certificate.names().join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::tls::make::self_signed;

    #[test]
    fn a_certificate_that_clients_will_not_take_is_warned_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = self_signed(&["mail.example.org".to_owned()], 2020, 10).expect("made");
        let (chain, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
        std::fs::write(&chain, made.certificate).expect("written");
        std::fs::write(&key, made.key).expect("written");
        let certificate = Certificate::read(&chain, &key).expect("a pair");
        let at = |text: &str| ending("main", &certificate, Timestamp::parse_rfc3339(text).expect("a time"));
        assert_eq!(at("2026-01-01T00:00:00Z"), None);
        assert!(at("2030-01-02T00:00:00Z").is_some_and(|text| text.contains("has been over since 2030-01-01")));
        assert!(at("2029-12-28T00:00:00Z").is_some_and(|text| text.contains("ends on 2030-01-01")));
        assert!(at("2019-01-01T00:00:00Z").is_some_and(|text| text.contains("begins only on 2020-01-01")));
        let certificates = [certificate];
        assert_eq!(nameless("MAIL.example.org", &certificates), None);
        assert!(nameless("mx.example.org", &certificates).is_some_and(|text| text.contains("mx.example.org")));
        assert_eq!(nameless("mx.example.org", &[]), None, "without TLS nothing is shown");
    }

    #[test]
    fn rows_of_senders_are_for_users_who_exist() {
        let text = "host-name = \"mx.example.org\"\n[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:2525\"\n\
                    [[domain]]\nname = \"example.org\"\nmailboxes = [\"postmaster\"]\n\
                    [[sender]]\nuser = \"ann\"\naddresses = []\n[[sender]]\nuser = \"bob\"\naddresses = []\n";
        let config = Config::parse(Path::new("basin.toml"), text).expect("valid");
        let warnings = strangers(&config, &["ann".to_owned()].into());
        assert!(matches!(warnings.as_slice(), [one] if one.contains("no file of users has \"bob\"")), "{warnings:?}");
    }

    #[test]
    fn a_secret_that_is_gone_is_told_and_one_of_a_sink_that_is_off_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        assert_eq!(secrets(&store), [""; 0], "no sink was ever registered");
        let (there, gone) = (folder.path().join("there"), folder.path().join("gone"));
        std::fs::write(&there, "open sesame").expect("written");
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o600)).expect("changed");
        let sink = |name: &str, file: &Path, is_enabled: bool| {
            let digest = "0".repeat(64);
            format!(
                "[[sink]]\nname = \"{name}\"\ndigest = \"{digest}\"\nenabled = {is_enabled}\nsecrets = {{ key = {file:?} }}\n"
            )
        };
        let text = [sink("one", &there, true), sink("two", &gone, true), sink("three", &gone, false)].concat();
        std::fs::write(store.file_path(), format!("version = 1\n{text}")).expect("written");
        let warnings = secrets(&store);
        assert!(matches!(warnings.as_slice(), [one] if one.starts_with("sink two cannot be loaded")), "{warnings:?}");
        std::fs::write(store.file_path(), "version = 1\nsinks = 1").expect("written");
        assert!(matches!(secrets(&store).as_slice(), [one] if one.starts_with("the registry cannot be used")));
    }
}

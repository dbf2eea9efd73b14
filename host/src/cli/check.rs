//! `basin check`: what the configuration means, and what is wrong with it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use basin_core::time::Timestamp;

use crate::cli::Context;
use crate::clock::now;
use crate::config::{Config, open_to_all, read_accounts};
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
        for file in &users {
            // The secret matters to who guesses, not to whether the file can be used.
            if let Err(error) = read_accounts(file, Default::default()) {
                is_usable = false;
                println!("users        {error:#}");
            }
        }
        for warning in &warnings {
            println!("warning: {warning}");
        }
        if !is_usable {
            bail!("{} cannot be used: a certificate or a file of users cannot", config.file.display());
        }
        println!("{} can be used, {} warnings", config.file.display(), warnings.len());
        Ok(ExitCode::SUCCESS)
    }
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
}

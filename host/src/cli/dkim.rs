//! `basin dkim`: keys that sign mail, and the records that publish them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_outbound::sign::{
    KeyKind, PublishedKey, RSA_BITS_DEFAULT, SigningKey, generate, published, record_name, record_text,
};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::table::{print, print_json};
use crate::signing::read_key;

/// Longest string of a TXT record, in octets (RFC 1035 §3.3.14).
const TXT_STRING_BYTES: usize = 255;

/// Arguments of `basin dkim`.
#[derive(Debug, clap::Args)]
pub struct Dkim {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a private key, and print the record and the configuration for it.
    ///
    /// The file is readable by its owner alone; give it to the server's user. Publish the record, wait until
    /// `basin dkim check` finds it, then add the key to the configuration: mail that is signed before the
    /// record can be seen fails to verify.
    #[command(
        after_help = "Example:\n  basin dkim keygen --domain example.org --selector 2026a --out /etc/basin/dkim/2026a.pem\n  basin dkim keygen --domain example.org --selector 2026e --algorithm ed25519 --out /etc/basin/dkim/2026e.pem"
    )]
    Keygen {
        /// The domain that will sign.
        #[arg(long)]
        domain: String,
        /// The selector: a name for this key. A new key needs a new one.
        #[arg(long)]
        selector: String,
        /// Which kind. Everybody can verify rsa; ed25519 beside it is small and quick.
        #[arg(long, value_enum, default_value_t = Algorithm::Rsa)]
        algorithm: Algorithm,
        /// Bits of an RSA key: 2048, 3072 or 4096.
        #[arg(long, default_value_t = RSA_BITS_DEFAULT)]
        bits: u32,
        /// The file for the private key; one that exists is not overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the DNS record of each configured key.
    Record {
        /// Only keys of this domain.
        #[arg(long)]
        domain: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask DNS whether the configured keys are published, and ends with 1 where one is not.
    Check {
        /// Only keys of this domain.
        #[arg(long)]
        domain: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    Rsa,
    Ed25519,
}

/// A key and its record, as they are shown.
#[derive(Debug, Serialize)]
struct Record {
    domain: String,
    selector: String,
    algorithm: String,
    key_file: PathBuf,
    name: String,
    text: String,
}

/// What DNS says about a key.
#[derive(Debug, Serialize)]
struct Finding {
    domain: String,
    selector: String,
    name: String,
    is_published: bool,
    problems: Vec<String>,
}

impl Dkim {
    /// Does what is asked.
    ///
    /// # Errors
    /// A key cannot be made, read or written, or the configuration cannot be used.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Keygen { domain, selector, algorithm, bits, out, json } => {
                let kind = match algorithm {
                    Algorithm::Rsa => KeyKind::Rsa(bits),
                    Algorithm::Ed25519 => KeyKind::Ed25519,
                };
                let key = make(kind, &out)?;
                let record = Record::of(&domain, &selector, &out, &key);
                if json {
                    print_json(&record)?
                } else {
                    print(made_text(&record))?
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Record { domain, json } => {
                let keys = configured(context, domain.as_deref())?;
                let record = |(domain, selector, file, key): &Configured| Record::of(domain, selector, file, key);
                let records: Vec<Record> = keys.iter().map(record).collect();
                let text = || records.iter().map(zone_text).collect::<Vec<_>>().join("\n");
                if json {
                    print_json(&records)?
                } else {
                    print(text())?
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Check { domain, json } => {
                let servers = context.load()?.dns.servers;
                let keys = configured(context, domain.as_deref())?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let findings = runtime.context("cannot start the runtime")?.block_on(async {
                    let mut findings = Vec::new();
                    for (domain, selector, _, key) in &keys {
                        findings.push(find(&servers, domain, selector, key).await);
                    }
                    findings
                });
                let is_well = findings.iter().all(|finding| finding.is_published);
                if json {
                    print_json(&findings)?
                } else {
                    print(findings.iter().map(finding_text).collect::<String>())?
                }
                Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }
}

type Configured = (String, String, PathBuf, SigningKey);

fn configured(context: &Context, domain: Option<&str>) -> anyhow::Result<Vec<Configured>> {
    let config = context.load()?;
    let dkim = config.dkim.into_iter().map(|key| (key.domain, key.selector, key.file));
    let arc = config.arc.into_iter().map(|key| (key.domain, key.selector, key.file));
    let is_wanted = |of: &str| domain.is_none_or(|wanted| wanted.eq_ignore_ascii_case(of));
    let mut keys: Vec<Configured> = Vec::new();
    for (domain, selector, file) in dkim.chain(arc).filter(|(domain, ..)| is_wanted(domain)) {
        // One key may both sign and seal.
        if !keys.iter().any(|known| known.0 == domain && known.1 == selector) {
            let key = read_key(&file)?;
            keys.push((domain, selector, file, key));
        }
    }
    if keys.is_empty() {
        let file = context.config.display();
        bail!("{file} has no key for that; `basin dkim keygen` makes one, `[[dkim]]` names it");
    }
    Ok(keys)
}

fn make(kind: KeyKind, out: &Path) -> anyhow::Result<SigningKey> {
    let pem = generate(kind)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = opened.with_context(|| format!("cannot make {}", out.display()))?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", out.display()))?;
    Ok(read_key(out)?)
}

async fn find(servers: &[std::net::SocketAddr], domain: &str, selector: &str, key: &SigningKey) -> Finding {
    let name = record_name(domain, selector);
    let (is_published, problems) = match published(servers, domain, selector).await {
        Err(error) => (false, vec![format!("cannot ask: {error}")]),
        Ok(texts) => match texts.as_slice() {
            [] => (false, vec!["there is no record; publish what `basin dkim record` prints".to_owned()]),
            [text] => {
                let problems = PublishedKey::parse(text).problems(key);
                let is_published = problems.iter().all(|problem| problem.is_warning());
                (is_published, problems.iter().map(ToString::to_string).collect())
            }
            // RFC 6376 §3.6.2.2: the result is undefined then.
            many => (false, vec![format!("there are {} records; receivers expect one", many.len())]),
        },
    };
    Finding { domain: domain.to_owned(), selector: selector.to_owned(), name, is_published, problems }
}

impl Record {
    fn of(domain: &str, selector: &str, file: &Path, key: &SigningKey) -> Self {
        Self {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            algorithm: key.kind().to_string(),
            key_file: file.to_owned(),
            name: record_name(domain, selector),
            text: record_text(key),
        }
    }
}

// A line of a zone file: strings of at most 255 octets, which resolvers put together.
fn zone_text(record: &Record) -> String {
    let mut text = format!("{}. IN TXT (", record.name);
    let mut rest = record.text.as_str();
    while !rest.is_empty() {
        let (string, after) = rest.split_at(rest.len().min(TXT_STRING_BYTES));
        text.push_str(&format!(" \"{string}\""));
        rest = after;
    }
    text + " )\n"
}

fn made_text(record: &Record) -> String {
    let Record { domain, selector, algorithm, key_file, .. } = record;
    let file = key_file.display();
    format!(
        "made {file} ({algorithm}), readable by its owner alone: give it to the server's user\n\n\
         1. publish this record:\n\n{}\n\
         2. add this to the configuration:\n\n\
         [[dkim]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nkey-file = \"{file}\"\n\n\
         3. `basin dkim check` says when the record can be seen; then send SIGHUP to the server\n",
        zone_text(record)
    )
}

fn finding_text(finding: &Finding) -> String {
    let word = if finding.is_published { "published" } else { "NOT published" };
    let mut text = format!("{}: {word}\n", finding.name);
    finding.problems.iter().for_each(|problem| text.push_str(&format!("  {problem}\n")));
    text
}

//! The day's files: a line for each kind of result, with how often it came.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Detail, Entry, PolicyFacts, TlsReportOptions};

/// Kinds of failures told for one policy. A hostile domain can make up any number of host names.
const DETAILS_MAX: usize = 100;

/// Policies told for one domain and day; they change rarely.
const POLICIES_MAX: usize = 10;

/// How the files end.
const ENDING: &str = ".jsonl";

/// The files.
pub(super) struct Ledger {
    options: TlsReportOptions,
    domains: Mutex<(u64, HashSet<String>)>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    count: u64,
}

/// What came of one domain's policy on one day.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) details: BTreeMap<Detail, u64>,
}

/// All policies of one domain with what came of them.
pub(super) type Tallies = BTreeMap<PolicyFacts, Tally>;

impl Ledger {
    pub(super) fn new(options: TlsReportOptions) -> Self {
        Self { options, domains: Mutex::default() }
    }

    fn path(&self, day: u64) -> PathBuf {
        self.options.directory.join(format!("{day}{ENDING}"))
    }

    pub(super) fn append(&self, day: u64, results: &HashMap<Entry, u64>) -> io::Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if domains.0 != day {
            *domains = (day, self.read(day)?.into_keys().collect());
        }
        let mut out = Vec::new();
        for (entry, count) in results {
            let domain = &entry.policy.domain;
            if !domains.1.contains(domain) {
                if domains.1.len() >= self.options.domains_max {
                    continue;
                }
                domains.1.insert(domain.clone());
            }
            serde_json::to_writer(&mut out, &Line { entry: entry.clone(), count: *count })?;
            out.push(b'\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(day))?;
        if file.metadata()?.len() + out.len() as u64 > self.options.file_bytes_max {
            return Err(io::Error::other("the day's file is full"));
        }
        file.write_all(&out)
    }

    /// Days before that one of which there are results, oldest first.
    pub(super) fn days_before(&self, day: u64) -> io::Result<Vec<u64>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.options.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse::<u64>().ok());
            days.extend(number.filter(|number| *number < day));
        }
        days.sort_unstable();
        Ok(days)
    }

    /// The sums of a day by domain. Lines that a crash cut off are passed over.
    pub(super) fn read(&self, day: u64) -> io::Result<BTreeMap<String, Tallies>> {
        let mut domains: BTreeMap<String, Tallies> = BTreeMap::new();
        let file = match File::open(self.path(day)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(domains),
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let Ok(Line { entry, count }) = serde_json::from_slice(&line?) else { continue };
            let policies = domains.entry(entry.policy.domain.clone()).or_default();
            if policies.len() >= POLICIES_MAX && !policies.contains_key(&entry.policy) {
                continue;
            }
            let tally = policies.entry(entry.policy).or_default();
            let Some(detail) = entry.failure else {
                tally.successes += count;
                continue;
            };
            tally.failures += count;
            if tally.details.len() < DETAILS_MAX || tally.details.contains_key(&detail) {
                *tally.details.entry(detail).or_default() += count;
            }
        }
        Ok(domains)
    }

    pub(super) fn forget(&self, day: u64) -> io::Result<()> {
        fs::remove_file(self.path(day))
    }
}

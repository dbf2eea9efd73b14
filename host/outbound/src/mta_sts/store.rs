//! Policies on disk: a file for each domain, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Kept, Policy};

/// How the files end.
const ENDING: &str = ".json";

/// Longest file read, in octets: the policy itself is shorter than its limit, and JSON adds little.
const FILE_BYTES_MAX: u64 = 256 * 1_024;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    domain: String,
    id: String,
    fetched: u64,
    policy: String,
}

impl Store {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Reads what still holds, and removes what does not. A file that cannot be understood is left alone: it is
    /// replaced when its domain's policy is fetched again.
    pub(super) fn load(&self, count_max: usize, now: u64) -> io::Result<Vec<(String, Kept)>> {
        let mut found = Vec::new();
        fs::create_dir_all(&self.directory)?;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if found.len() >= count_max || !path.to_string_lossy().ends_with(ENDING) {
                continue;
            }
            let mut text = String::new();
            let is_read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
            let record = is_read.ok().and_then(|_| serde_json::from_str::<Record>(&text).ok());
            let kept = record.and_then(|record| {
                let policy = Arc::new(Policy::parse(&record.policy)?);
                Some((record.domain, Kept { id: record.id, policy, fetched: record.fetched.min(now) }))
            });
            match kept {
                Some((_, kept)) if !kept.holds(now) => fs::remove_file(&path)?,
                Some(kept) => found.push(kept),
                None => tracing::warn!(path = %path.display(), "cannot read a kept MTA-STS policy"),
            }
        }
        Ok(found)
    }

    /// Writes a policy beside its file and puts it in its place.
    pub(super) fn save(&self, domain: &str, kept: &Kept) -> io::Result<()> {
        let record = Record {
            domain: domain.to_owned(),
            id: kept.id.clone(),
            fetched: kept.fetched,
            policy: kept.policy.to_text(),
        };
        // A domain is letters, digits, hyphens, underscores and dots: it cannot lead out of the directory.
        let path = self.directory.join(format!("{domain}{ENDING}"));
        let beside = self.directory.join(format!("{domain}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    }
}

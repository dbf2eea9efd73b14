//! Destinations that an operator holds, in a file, so that a restart does not let them go.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use basin_core::transport::Destination;

/// The file below the spool: a destination in each line.
const FILE: &str = "held-destinations";

/// The destinations that are held.
#[derive(Debug)]
pub struct Holds {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Holds {
    /// Reads those of a spool.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(spool: &Path) -> io::Result<Self> {
        let path = spool.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Self { path, names })
    }

    /// The destinations.
    pub fn destinations(&self) -> impl Iterator<Item = Destination> {
        self.names.iter().map(|name| Destination::domain(name))
    }

    /// Holds a destination or lets it go, and says whether that is new. It is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then nothing is changed.
    pub fn set(&mut self, destination: &Destination, is_held: bool) -> io::Result<bool> {
        let mut names = self.names.clone();
        let is_new = if is_held { names.insert(destination.to_string()) } else { names.remove(destination.as_str()) };
        if is_new {
            self.write(&names)?;
            self.names = names;
        }
        Ok(is_new)
    }

    // The old file or the new one is there, whatever happens meanwhile.
    fn write(&self, names: &BTreeSet<String>) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        for name in names {
            writeln!(file, "{name}")?;
        }
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_held_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Holds::open(folder.path()).expect("readable");
        let (hop, domain) = (Destination::domain("[relay.example]:25"), Destination::domain("slow.example"));
        let mut holds = open();
        assert!(holds.set(&hop, true).expect("written") && holds.set(&domain, true).expect("written"));
        assert!(!holds.set(&domain, true).expect("nothing to write"), "it is held already");
        assert_eq!(open().destinations().collect::<Vec<_>>(), [hop.clone(), domain.clone()]);
        assert!(holds.set(&hop, false).expect("written"));
        assert_eq!(open().destinations().collect::<Vec<_>>(), [domain]);
    }

    #[test]
    fn a_hold_that_cannot_be_written_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut holds = Holds::open(folder.path()).expect("readable");
        fs::create_dir(folder.path().join("held-destinations.new")).expect("a folder in the way");
        holds.set(&Destination::domain("slow.example"), true).expect_err("there is a folder in the way");
        assert_eq!(holds.destinations().count(), 0);
    }
}

//! A full disk: 452 at once, and mail again as soon as there is room, without a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use basin_tests::letter::{Letter, recognise};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};

use crate::{HELLO, Outcome, SENDER, USER};

/// A tmpfs of a few hundred megabytes, which only root can have.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={size}");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output()?;
        if status.status.success() {
            return Ok(Self { folder });
        }
        Err(io::Error::other(String::from_utf8_lossy(&status.stderr).into_owned()))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room that is left.
    fn fill(&self) -> io::Result<PathBuf> {
        let path = self.path().join("filler");
        let mut file = File::create(&path)?;
        // Down to single octets: a chunk that does not fit leaves room behind.
        for size in [1 << 20, 4096, 1] {
            let chunk = vec![0; size];
            while file.write(&chunk).is_ok_and(|count| count > 0) {}
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let outcome = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        if !outcome.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.folder.path().display());
        }
    }
}

#[test]
fn a_full_disk_answers_452_and_recovers_without_a_restart() -> Outcome {
    let disk = match SmallDisk::mount("300m") {
        Ok(disk) => disk,
        Err(error) => {
            println!("skipped: no small disk on this machine, mounting needs root ({error})");
            return Ok(());
        }
    };
    let mut settings = Settings::usual();
    settings.spool = Some(disk.path().join("spool").display().to_string());
    // Before the disk in the order of drops: the server goes first.
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    let filler = disk.fill()?;
    // A log that is allocated ahead still has room inside: send until it has not.
    let large = |number| Letter { run: 5, author: 1, number, size: 1_000_000 };
    let mut taken = 1;
    let refusal = (0..400).find_map(|number| match client.deliver(SENDER, &[USER], &large(number).text()) {
        Ok(reply) if reply.code == 250 => {
            taken += 1;
            None
        }
        other => Some(other),
    });
    let reply = refusal.ok_or_else(|| io::Error::other("400 MB went onto a disk of 300"))??;
    assert_eq!(reply.code, 452, "RFC 5321 §4.2.3: {}", reply.wire());
    assert!(reply.says("4.3.1"), "{}", reply.wire());
    client.command("NOOP")?.require(250)?;
    fs::remove_file(filler)?;
    let recovers = || server.client().and_then(|mut client| client.deliver(SENDER, &["alice@basin.example"], HELLO));
    assert!(wait::until_true(PATIENCE, || recovers().is_ok_and(|reply| reply.code == 250)), "{}", server.log());
    let mails = server.maildir("user").wait_for(taken, PATIENCE)?;
    let large = mails.iter().filter(|mail| mail.octets.len() > 500_000);
    for mail in large {
        assert_eq!(recognise(&mail.octets, &[]).err(), None, "what was acknowledged is whole");
    }
    Ok(())
}

//! `basin user`: who may log in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::limits::SCRAM_ITERATIONS_DEFAULT;
use basin_core::smtp::{Accounts, Login, StoredKeys, Verified};
use clap::Subcommand;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use rustix::fs::{FlockOperation, flock};

use crate::audit::{Fact, note};
use crate::cli::Context;
use crate::cli::table::print;
use crate::clock::Randomness;
use crate::control::{Client, ClientError};

/// Arguments of `basin user`.
#[derive(Debug, clap::Args)]
pub struct User {
    /// The file of users. The default is the one of `[auth]` in the configuration.
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user. The password is asked for, or is the first line of standard input; it has 8 characters at least.
    Add {
        /// The name, such as alice@example.org.
        name: String,
    },
    /// Remove a user.
    Remove {
        /// The name.
        name: String,
    },
    /// Give a user another password.
    Passwd {
        /// The name.
        name: String,
    },
    /// List the users.
    List,
    /// Say whether a password is that of a user; ends with 1 where it is not.
    Check {
        /// The name.
        name: String,
    },
}

impl User {
    /// Does what is asked. A running server takes the change within seconds.
    ///
    /// # Errors
    /// The file cannot be read or written, or there is no such user, or there is one already.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (file, spool, audit) = match self.file {
            Some(file) => (file, None, None),
            None => {
                let config = context.load()?;
                let named =
                    config.users_file.context("the configuration names no `users-file` in [auth]; use --file")?;
                (named, Some(config.spool), config.audit)
            }
        };
        let tell = |what: &str| print(format!("{what} in {}; {}\n", file.display(), aftermath(spool.as_deref())));
        let done = |what, user: &str| {
            let fact = Fact::new(what).with("user", user).with("file", file.display().to_string());
            note(audit.as_ref(), vec![fact]);
        };
        match self.command {
            Command::List => {
                let users: String = read(&file)?.1.users().map(|user| format!("{user}\n")).collect();
                print(users)?;
            }
            Command::Check { name } => {
                let accounts = read(&file)?.1;
                let login = Login::with_password(name, password(false)?);
                let is_right = accounts.verify(&login) == Verified::Right;
                print(if is_right { "right\n" } else { "wrong\n" })?;
                return Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Add { name } => {
                let line = line(&name)?;
                change(&file, |text, has| {
                    if has(&name) {
                        bail!("there is a user {name:?} already; `basin user passwd` changes the password");
                    }
                    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
                    Ok(format!("{text}{gap}{line}\n"))
                })?;
                done("user added", &name);
                tell(&format!("user {name} added"))?;
            }
            Command::Passwd { name } => {
                let line = line(&name)?;
                change(&file, |text, has| with(text, &name, has(&name), Some(&line)))?;
                done("password changed", &name);
                tell(&format!("user {name} has the new password"))?;
            }
            Command::Remove { name } => {
                change(&file, |text, has| with(text, &name, has(&name), None))?;
                done("user removed", &name);
                tell(&format!("user {name} removed"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

// When a change is in force. Sessions that logged in before keep what they have.
fn aftermath(spool: Option<&Path>) -> String {
    match spool.map(|spool| Client::new(spool).ping()) {
        Some(Ok(())) => "the running server has it within five seconds".to_owned(),
        Some(Err(ClientError::NotRunning(_))) => "no server runs; it has it from its start on".to_owned(),
        Some(Err(_)) | None => "a server that reads this file has it within five seconds".to_owned(),
    }
}

// The text with another line for a user, or with none; comments and order stay.
fn with(text: &str, name: &str, is_there: bool, line: Option<&str>) -> anyhow::Result<String> {
    if !is_there {
        bail!("there is no user {name:?}");
    }
    let is_own = |old: &&str| old.split_once(':').is_some_and(|(user, _)| user == name);
    let lines = text.lines().filter_map(|old| if is_own(&old) { line } else { Some(old) });
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

fn line(name: &str) -> anyhow::Result<String> {
    let text = password(true)?;
    let text = core::str::from_utf8(&text).context("the password is not UTF-8")?;
    is_long_enough(text)?;
    let (high, low) = Randomness::open()?.pair().context("cannot make a salt")?;
    let salt = [high.to_ne_bytes(), low.to_ne_bytes()].concat();
    let keys = StoredKeys::derive(text, &salt, SCRAM_ITERATIONS_DEFAULT).context("this is no password")?;
    Accounts::line(name, &keys).with_context(|| format!("{name:?} is no name for a user"))
}

fn read(file: &Path) -> anyhow::Result<(String, Accounts)> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let accounts = parse(file, &text)?;
    Ok((text, accounts))
}

fn parse(file: &Path, text: &str) -> anyhow::Result<Accounts> {
    // The secret makes up users for clients that guess; here nobody does.
    Accounts::parse(text, [0; 32]).with_context(|| format!("cannot use the users in {}", file.display()))
}

// Changes the file as a whole or not at all: what the server reads is always complete.
fn change(file: &Path, edit: impl FnOnce(&str, &dyn Fn(&str) -> bool) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let beside = |end: &str| {
        let mut path = file.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    // Two who change it at a time must not undo each other's change.
    let lock_file = beside(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_file);
    let lock = lock.with_context(|| format!("cannot open {}", lock_file.display()))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", lock_file.display()))?;
    let (text, accounts) = if file.exists() { read(file)? } else { (String::new(), Accounts::default()) };
    let edited = edit(&text, &|name| accounts.users().any(|user| user == name))?;
    parse(file, &edited)?;
    let part = beside(".new");
    let write = || -> io::Result<()> {
        let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        if let Ok(old) = fs::metadata(file) {
            // Root changes it, the server's user reads it.
            fchown(&made, Some(old.uid()), Some(old.gid()))?;
        }
        made.write_all(edited.as_bytes())?;
        made.sync_all()?;
        fs::rename(&part, file)?;
        match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// Shortest password of a new user or for a user, in characters (NIST SP 800-63B §5.1.1.1). Shorter ones are guessed from
/// outside, whatever is done about guesses.
const PASSWORD_CHARACTERS_MIN: usize = 8;

fn is_long_enough(password: &str) -> anyhow::Result<()> {
    if password.chars().count() < PASSWORD_CHARACTERS_MIN {
        bail!("the password is too short: a password has {PASSWORD_CHARACTERS_MIN} characters at least");
    }
    Ok(())
}

// The password, from the terminal without showing it, or from a pipe; never from the command line, which everybody on
// the machine can see.
pub(super) fn password(is_new: bool) -> anyhow::Result<Vec<u8>> {
    let input = io::stdin();
    if !input.is_terminal() {
        return first_line(&mut input.lock());
    }
    let shown = tcgetattr(&input).context("cannot hide the password")?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSAFLUSH, &hidden).context("cannot hide the password")?;
    let ask = |words: &str| {
        eprint!("{words}: ");
        let answer = first_line(&mut input.lock());
        eprintln!();
        answer
    };
    let asked = ask("password").and_then(|first| {
        if is_new && ask("once more")? != first {
            bail!("these are two different passwords");
        }
        Ok(first)
    });
    tcsetattr(&input, SetArg::TCSAFLUSH, &shown).context("cannot show what is typed again")?;
    asked
}

fn first_line(input: &mut impl io::BufRead) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::Read::take(input, 4_096).read_until(b'\n', &mut line).context("cannot read the password")?;
    while line.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        line.pop();
    }
    if line.is_empty() {
        bail!("there is no password");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_measured_in_characters_and_too_short_a_one_is_refused() {
        for good in ["12345678", "p\u{e4}\u{df}w\u{f6}rter"] {
            assert!(is_long_enough(good).is_ok(), "{good}");
        }
        for short in ["1234567", "\u{e4}\u{f6}\u{fc}\u{df}"] {
            let error = is_long_enough(short).expect_err("too short").to_string();
            assert_eq!(error, "the password is too short: a password has 8 characters at least");
        }
    }
}

//! The real server as a child process.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::http::{self, Metrics};
use crate::maildir::Maildir;
use crate::settings::{DOMAIN, Settings};
use crate::wait::{self, PATIENCE};

/// A running server with a home of its own, ended with the value.
#[derive(Debug)]
pub struct TestServer {
    home: TempDir,
    settings: Settings,
    child: Option<Child>,
}

impl TestServer {
    /// Starts the usual server and waits until it is ready.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Settings::usual())
    }

    /// Starts a server with those settings and waits until it is ready.
    pub fn start_with(settings: Settings) -> io::Result<Self> {
        let mut server = Self::prepare(settings)?;
        server.launch()?;
        Ok(server)
    }

    /// Writes home and configuration, but starts nothing: for sinks that are registered before.
    pub fn prepare(settings: Settings) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("basin-test-").tempdir()?;
        let server = Self { home, settings, child: None };
        server.write_config(&server.settings.text(server.home()))?;
        Ok(server)
    }

    /// Starts the server again (or for the first time) over the same home, and waits until it is ready.
    pub fn launch(&mut self) -> io::Result<()> {
        self.launch_without_waiting()?;
        self.wait_ready()
    }

    /// Starts the process and returns at once; for runs that kill it while it still recovers.
    pub fn launch_without_waiting(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.command(&["serve"]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `/health` says that the server takes mail; an error with its log where it ended before.
    pub fn wait_ready(&mut self) -> io::Result<()> {
        let admin = self.settings.admin;
        let child = self.child.as_mut().ok_or_else(|| io::Error::other("no server was started"))?;
        let outcome = wait::until(PATIENCE, || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(status));
            }
            matches!(http::get(admin, "/health"), Ok((200, _))).then_some(Ok(()))
        });
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => Err(io::Error::other(format!("the server ended with {status}:\n{}", self.log()))),
            None => Err(io::Error::other(format!("the server does not get ready:\n{}", self.log()))),
        }
    }

    /// Address of the listener.
    pub fn smtp(&self) -> SocketAddr {
        self.settings.smtp
    }

    /// Address of the admin port.
    pub fn admin(&self) -> SocketAddr {
        self.settings.admin
    }

    /// Directory that holds everything of this server.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Path of the configuration.
    pub fn config_path(&self) -> PathBuf {
        self.home().join("basin.toml")
    }

    /// Puts another text into the place of the configuration.
    pub fn write_config(&self, text: &str) -> io::Result<()> {
        fs::write(self.config_path(), text)
    }

    /// What the server has logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Process id of the running server; 0 where none runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// A client that has said EHLO.
    pub fn client(&self) -> io::Result<Client> {
        Client::greeted(self.smtp())
    }

    /// The metrics now.
    pub fn metrics(&self) -> io::Result<Metrics> {
        Metrics::fetch(self.admin())
    }

    /// A mailbox of the test domain.
    pub fn maildir(&self, mailbox: &str) -> Maildir {
        Maildir::at(self.home().join("mail").join(DOMAIN).join(mailbox))
    }

    /// The program with this server's configuration, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.config_path());
        command
    }

    /// Runs the program with this server's configuration to its end.
    pub fn basin(&self, arguments: &[&str]) -> io::Result<Output> {
        self.command(arguments).stdin(Stdio::null()).output()
    }

    /// The same; what it printed, or an error with what it complained about.
    pub fn basin_ok(&self, arguments: &[&str]) -> io::Result<String> {
        let output = self.basin(arguments)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(out.into_owned());
        }
        Err(io::Error::other(format!("basin {}: {}\n{out}{err}", arguments.join(" "), output.status)))
    }

    /// Registers a component under a name, bound to an event (with its rule behind a colon) and with more flags.
    pub fn sink_add(&self, component: &Path, name: &str, event: &str, more: &[&str]) -> io::Result<String> {
        let file = component.display().to_string();
        let mut arguments = vec!["sink", "add", &file, "--name", name, "--event", event];
        arguments.extend_from_slice(more);
        self.basin_ok(&arguments)
    }

    /// Ends the server without any warning, as `kill -9` does.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no server runs"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks the server to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_end(PATIENCE)
    }

    /// Waits for the end of the server.
    pub fn wait_end(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let child = self.child.as_mut().ok_or_else(|| io::Error::other("no server runs"))?;
        let status = wait::until(limit, || child.try_wait().ok().flatten());
        let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the server does not end"))?;
        self.child = None;
        Ok(status)
    }

    fn log_path(&self) -> PathBuf {
        self.home().join("log")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot end the test server: {error}");
        }
    }
}

/// Top of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The binary under test: `BASIN_BIN`, else the one beside the running program (so that a release build of the
/// benchmark never measures a debug build of the server), else what `cargo build` made.
pub fn binary() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("basin")));
    from_environment("BASIN_BIN")
        .or(beside.filter(|path| path.is_file()))
        .unwrap_or_else(|| target().join("debug/basin"))
}

/// A component built for the tests, of the samples or of the hostile set.
///
/// The Makefile builds them below `target/guests`; `BASIN_WASM` names another folder.
pub fn guest(name: &str) -> PathBuf {
    let folder = from_environment("BASIN_WASM").unwrap_or_else(|| target().join("guests/wasm32-wasip2/release"));
    folder.join(format!("{}.wasm", name.replace('-', "_")))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    from_environment("CARGO_TARGET_DIR").unwrap_or_else(|| tree().join("target"))
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

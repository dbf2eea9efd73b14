//! `basin serve --demo DIR`: a server to try things out on, and what to type next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::config::Config;

/// The configuration of the demonstration: everything below its directory, loopback alone.
const CONFIG: &str = r#"# A server to try things out on; made by `basin serve --demo`. Change it as you like, it is not written again.
host-name = "mx.basin.example"
postmaster = "alice@basin.example"

[spool]
directory = "spool"

[registry]
directory = "registry"

[maildir]
directory = "mail"

[admin]
address = "127.0.0.1:9525"

[[listener]]
name = "inbound"
address = "127.0.0.1:2525"

[[domain]]
name = "basin.example"
mailboxes = ["alice", "bob"]

# Mail for other domains is refused, so nothing leaves this machine while you try things out. To relay for
# programs on this machine, put "127.0.0.1" here; docs/tutorial.md goes on from there.
[relay]
clients = []

[aliases]
"info@basin.example" = ["alice@basin.example", "bob@basin.example"]
"#;

/// A sample sink, and how it is registered.
struct Sample {
    file: &'static str,
    arguments: &'static [&'static str],
}

const SAMPLES: &[Sample] = &[
    Sample {
        file: "stamp_header.wasm",
        arguments: &["--name", "stamp", "--event", "on-end-of-data", "--grant", "edit-headers"],
    },
    Sample {
        file: "block_attachment.wasm",
        arguments: &[
            "--name",
            "block",
            "--event",
            "on-end-of-data",
            "--grant",
            "read-headers",
            "--grant",
            "read-body",
            "--grant",
            "reply",
        ],
    },
    Sample {
        file: "welcome.wasm",
        arguments: &["--name", "welcome", "--event", "on-inbound-command:verb=EHLO|XWELCOME", "--grant", "reply"],
    },
];

/// Makes what is missing in the directory and reads its configuration.
///
/// `BASIN_SAMPLES` names the folder of the built sample sinks, as `make run` sets it; without it the server
/// starts without sinks.
///
/// # Errors
/// The directory cannot be written, or what is in it cannot be used.
pub fn prepare(directory: &Path) -> anyhow::Result<Config> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join("basin.toml");
    let is_new = !file.exists();
    if is_new {
        fs::write(&file, CONFIG).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let config = Config::read(&file)?;
    let samples = std::env::var_os("BASIN_SAMPLES").map(PathBuf::from);
    let has_registry = config.registry.join("registry.toml").exists();
    let added = match samples {
        Some(samples) if !has_registry => add_samples(&file, &samples)?,
        Some(_) | None => Vec::new(),
    };
    print!("{}", instructions(&config, &file, &added));
    Ok(config)
}

// By the command that a person would use, so that the demonstration shows what works.
fn add_samples(config: &Path, samples: &Path) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let mut added = Vec::new();
    for sample in SAMPLES {
        let component = samples.join(sample.file);
        if !component.is_file() {
            bail!("there is no {}; `make guests` builds the sample sinks", component.display());
        }
        let mut command = Command::new(&program);
        command.args(["sink", "add"]).arg(&component).args(sample.arguments).arg("--config").arg(config);
        let output = command.output().context("cannot run basin sink add")?;
        if !output.status.success() {
            bail!("cannot register {}: {}", sample.file, String::from_utf8_lossy(&output.stderr).trim());
        }
        added.push(sample.file.to_owned());
    }
    Ok(added)
}

fn instructions(config: &Config, file: &Path, added: &[String]) -> String {
    let address = config.listeners.first().map(|listener| listener.address.to_string()).unwrap_or_default();
    let file = file.display();
    // Nobody has installed anything yet, so the program goes by the path that it was started by.
    let program = std::env::args().next().unwrap_or_else(|| "basin".to_owned());
    let mut text = format!(
        "\nBasin takes mail for alice and bob at basin.example on {address}. In another terminal:\n\n  \
         {program} send --server {address} --from you@client.example --to alice@basin.example -v\n  \
         sleep 1; cat {}/basin.example/alice/new/*\n  \
         {program} sink list --config {file}\n  \
         {program} queue list --config {file}\n",
        config.maildir.display()
    );
    if let Some(admin) = config.admin {
        text.push_str(&format!("  curl http://{admin}/health http://{admin}/metrics\n"));
    }
    if !added.is_empty() {
        text.push_str(&format!(
            "\nRegistered: {}. The mail carries the stamp's header, EHLO shows the keyword of welcome, an .exe is refused.\n",
            added.join(", ")
        ));
    }
    text + "\nCtrl-C stops the server.\n\n"
}

//! A folder to run `basin` in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Components that are right and no sinks.
const COMPONENTS: &[(&str, &str)] = &[
    ("newer.wasm", "(component (import \"basin:sink/log@0.2.0\" (instance)))"),
    ("no-event.wasm", "(component)"),
    ("command.wasm", "(component (instance $run) (export \"wasi:cli/run@0.2.0\" (instance $run)))"),
    ("foreign.wasm", "(component (import \"acme:db/store@1.0.0\" (instance)))"),
];

/// A folder with a configuration, a registry that has a sink named "taken", and files that are no sinks.
pub(crate) fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    let config = format!(
        "host-name = \"basin.example\"\npostmaster = \"post@basin.example\"\n\
         [spool]\ndirectory = \"{0}/spool\"\n[registry]\ndirectory = \"{0}/registry\"\n\
         [maildir]\ndirectory = \"{0}/mail\"\n[[listener]]\nname = \"inbound\"\naddress = \"127.0.0.1:2525\"\n\
         [[domain]]\nname = \"basin.example\"\nmailboxes = [\"post\"]\n",
        root.display()
    );
    let write = |name: &str, octets: &[u8]| fs::write(root.join(name), octets).expect("the folder is there");
    write("basin.toml", config.as_bytes());
    fs::create_dir(root.join("registry")).expect("the folder is new");
    let digest = "0".repeat(64);
    let registry = format!("version = 1\n[[sink]]\nname = \"taken\"\ndigest = \"{digest}\"\nenabled = false\n");
    write("registry/registry.toml", registry.as_bytes());
    fs::create_dir(root.join("folder.wasm")).expect("the folder is new");
    write("empty.wasm", b"");
    write("text.wasm", b"hello\n");
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("precompiled.wasm", b"\x7fELF and more");
    for (name, text) in COMPONENTS {
        write(name, &wat::parse_str(text).expect("the fixture is right"));
    }
    fs::copy(guest("stamp_header"), root.join("stamp.wasm")).expect("`make guests` built the samples");
    dir
}

pub(crate) fn guest(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests/wasm32-wasip2/release");
    let folder = std::env::var_os("BASIN_WASM").map_or(built, PathBuf::from);
    folder.join(format!("{name}.wasm"))
}

pub(crate) fn basin(dir: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basin"))
        .args(arguments)
        .env("BASIN_CONFIG", dir.path().join("basin.toml"))
        .current_dir(dir.path())
        .output()
        .expect("basin runs")
}

/// Runs a command that must succeed and returns what it printed.
pub(crate) fn printed(dir: &TempDir, arguments: &[&str]) -> String {
    let output = basin(dir, arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "basin {arguments:?} failed: {stdout}{stderr}");
    stdout.into_owned()
}

/// Runs a command that must fail with 1 and returns its message.
pub(crate) fn complaint(dir: &TempDir, arguments: &[&str]) -> String {
    let output = basin(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "basin {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// Runs a command that prints JSON.
pub(crate) fn json(dir: &TempDir, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&printed(dir, arguments)).expect("it prints JSON")
}

//! What `basin sink add` refuses, and what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::page;

/// A folder with a configuration, a registry that has a sink named "taken", and files that are no sinks.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    let config = format!(
        "host-name = \"basin.example\"\npostmaster = \"post@basin.example\"\n\
         [spool]\ndirectory = \"{0}/spool\"\n[registry]\ndirectory = \"{0}/registry\"\n\
         [maildir]\ndirectory = \"{0}/mail\"\n[[listener]]\nname = \"smtp\"\naddress = \"127.0.0.1:2525\"\n\
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
    fs::copy(guest("stamp_header"), root.join("stamp.wasm")).expect("`make guests` built the samples");
    dir
}

fn guest(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests/wasm32-wasip2/release");
    let folder = std::env::var_os("BASIN_WASM").map_or(built, PathBuf::from);
    folder.join(format!("{name}.wasm"))
}

fn basin(dir: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basin"))
        .args(arguments)
        .env("BASIN_CONFIG", dir.path().join("basin.toml"))
        .current_dir(dir.path())
        .output()
        .expect("basin runs")
}

/// What is wrong, the arguments behind `basin sink add`, and the complaint.
const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "a file that is not there",
        &["none.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot read the component none.wasm: No such file or directory (os error 2)",
    ),
    (
        "a directory",
        &["folder.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot read the component folder.wasm: it is a directory; name the .wasm file in it",
    ),
    (
        "an event that the component does not export",
        &["stamp.wasm", "--name", "a", "--event", "on-connect"],
        "basin: the component does not export on-connect, so it cannot be bound to it; it exports on-end-of-data; \
         implement the event and build again, or bind it to one that is there",
    ),
    (
        "an unknown event",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-date"],
        "basin: --event on-end-of-date: there is no event \"on-end-of-date\", did you mean \"on-end-of-data\"?; `basin \
         sink inspect --events` lists them",
    ),
    (
        "an event that this version does not raise",
        &["stamp.wasm", "--name", "a", "--event", "on-route"],
        "basin: --event on-route: on-route is in the contract and not raised by basin 0.1.0, so the sink would never be \
         called; raised are on-connect, on-inbound-command, on-end-of-data, on-reject, on-disconnect, on-submission",
    ),
    (
        "an unknown rule field",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data:recipient=x"],
        "basin: --event on-end-of-data:recipient=x: there is no rule field \"recipient\", did you mean \
         \"rcpt to\"?; on-end-of-data knows ehlo, mail from, rcpt to, client, size>, header NAME, listener, origin",
    ),
    (
        "a rule field that the event cannot know",
        &["stamp.wasm", "--name", "a", "--event", "on-connect:rcpt to=x"],
        "basin: --event on-connect:rcpt to=x: on-connect cannot know \"rcpt to\"; it knows client, listener",
    ),
    (
        "an unknown grant",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--grant", "edit-everything"],
        "basin: there is no grant \"edit-everything\"; known are read-envelope, read-headers, read-body, edit-headers, \
         edit-body, edit-envelope, break-signatures, reply, accept-recipients, end-chain, discard",
    ),
    (
        "a grant of a later version",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--grant", "http=example.org"],
        "basin: the grant \"http=example.org\" is part of the contract and not given by this version of basin",
    ),
    (
        "a setting without value",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--set", "field"],
        "basin: --set: \"field\" is no setting; write key=value, as in --set field=X-Stamp",
    ),
    (
        "a bad name",
        &["stamp.wasm", "--name", "My Sink", "--event", "on-end-of-data"],
        "basin: --name: \"My Sink\" is no name for a sink; write 1 to 64 characters out of a-z 0-9 -, beginning with a \
         letter",
    ),
    (
        "a name that is taken",
        &["stamp.wasm", "--name", "taken", "--event", "on-end-of-data"],
        "basin: there is a sink \"taken\" already; choose another name, or `basin sink remove taken` first (`basin sink \
         bind taken` adds bindings to it)",
    ),
    (
        "an unknown listener",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--listener", "smpt"],
        "basin: --listener smpt: basin.toml has no such listener, did you mean \"smtp\"?; it has smtp",
    ),
    (
        "a failure policy that the event has not",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--on-failure", "fail"],
        "basin: on-end-of-data has no failure policy \"fail\"; it has defer, refuse, skip, hold (the first is the \
         default)",
    ),
    (
        "a priority out of range",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--priority", "99999"],
        "basin: priority 99999 is out of range; write 0 (first) to 32767 (last)",
    ),
    (
        "a deadline without unit",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--deadline", "250"],
        "basin: --deadline: \"250\" is no duration; write a whole number and ms, s, m or h, as in \"250ms\"",
    ),
    (
        "an expiry that is no moment",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--expires", "tomorrow"],
        "basin: \"tomorrow\" is no moment; write date, time and offset, as in 2030-01-31T12:00:00Z",
    ),
];

#[test]
fn what_cannot_work_is_refused_with_advice_and_the_registry_stays() {
    let dir = folder();
    let registry = dir.path().join("registry/registry.toml");
    let before = fs::read_to_string(&registry).expect("it is there");
    let root = format!("{}/", dir.path().display());
    for (what, arguments, wanted) in REFUSED {
        let arguments: Vec<&str> = ["sink", "add"].into_iter().chain(arguments.iter().copied()).collect();
        let output = basin(&dir, &arguments);
        let found = String::from_utf8_lossy(&output.stderr).replace(&root, "");
        assert_eq!((found.trim_end(), output.status.code()), (*wanted, Some(1)), "{what}");
        assert_eq!(fs::read_to_string(&registry).expect("it is there"), before, "{what}");
    }
}

#[test]
fn the_page_on_errors_has_every_refusal() {
    page::compare("sink add", REFUSED.iter().map(|(what, _, complaint)| (*what, *complaint)));
}

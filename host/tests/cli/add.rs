//! What `basin sink add` refuses, and what it says.

use std::fs;

use crate::folder::{basin, folder};
use crate::page;

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
        "an empty file",
        &["empty.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use empty.wasm as a sink: the file is empty; build the sink again (cargo build --release --target \
         wasm32-wasip2)",
    ),
    (
        "a text",
        &["text.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use text.wasm as a sink: this is not WebAssembly but a text file; give the .wasm file that the \
         build made",
    ),
    (
        "a core module",
        &["module.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use module.wasm as a sink: this is a WebAssembly core module, a sink is a component; build with \
         --target wasm32-wasip2, or turn the module into a component with `wasm-tools component new`",
    ),
    (
        "machine code",
        &["precompiled.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use precompiled.wasm as a sink: this is precompiled machine code, which is never accepted because \
         it would run outside the sandbox; give the component it was compiled from",
    ),
    (
        "a component for a newer contract",
        &["newer.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use newer.wasm as a sink: the component is built for basin:sink@0.2.0, this server has \
         basin:sink@0.1.0; it needs a newer basin",
    ),
    (
        "a component without events",
        &["no-event.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use no-event.wasm as a sink: the component exports no event of basin:sink@0.1.0, so it would \
         never be called; it exports nothing; `basin sink new` makes one that does",
    ),
    (
        "a command",
        &["command.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use command.wasm as a sink: the component is a command (it exports wasi:cli/run), a sink is a \
         library that answers events; build it as a cdylib and export an event of basin:sink",
    ),
    (
        "a component that wants a foreign interface",
        &["foreign.wasm", "--name", "a", "--event", "on-connect"],
        "basin: cannot use foreign.wasm as a sink: the component imports what this server does not have: \
         acme:db/store@1.0.0; build it without them",
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
        "a timer without a schedule",
        &["stamp.wasm", "--name", "a", "--event", "on-timer"],
        "basin: --schedule: on-timer needs a schedule: minute, hour, day of month, month and day of week in UTC, as in \
         \"*/5 * * * *\", or a word as @hourly",
    ),
    (
        "an unknown rule field",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data:recipient=x"],
        "basin: --event on-end-of-data:recipient=x: there is no rule field \"recipient\", did you mean \
         \"rcpt to\"?; on-end-of-data knows ehlo, mail from, rcpt to, client, user, tls, size>, header NAME, listener, origin",
    ),
    (
        "a rule field that the event cannot know",
        &["stamp.wasm", "--name", "a", "--event", "on-connect:rcpt to=x"],
        "basin: --event on-connect:rcpt to=x: on-connect cannot know \"rcpt to\"; it knows client, tls, listener",
    ),
    (
        "an unknown grant",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--grant", "edit-everything"],
        "basin: there is no grant \"edit-everything\"; known are read-envelope, read-headers, read-body, edit-headers, \
         edit-body, edit-envelope, break-signatures, reply, accept-recipients, end-chain, discard, \
         authenticate, state, dns, message-auth, route, submit, outbound, clock, random, http=, dir=, env=",
    ),
    (
        "a grant of a directory that says not which",
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--grant", "dir=mail::/mail"],
        "basin: \"dir=mail::/mail\" names no directory; write dir=HOSTDIR::GUESTDIR to read it or dir=HOSTDIR::GUESTDIR:rw, \
         both from the root, without \".\", \"..\" and a slash at the end",
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
        &["stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--listener", "inbond"],
        "basin: --listener inbond: basin.toml has no such listener, did you mean \"inbound\"?; it has inbound",
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

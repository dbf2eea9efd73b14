//! A broken registry file, and what `basin` says of it.

use std::path::Path;

use basin::registry::RegistryFile;

use crate::page;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is wrong, the file, and the complaint.
const BROKEN: &[(&str, &str, &str)] = &[
    ("no version", "", "registry.toml:1: the version is missing; begin the file with version = 1"),
    (
        "a version from the future",
        "# hello\nversion = 2\nnovelty = true",
        "registry.toml:2: the version is 2, and this basin reads version 1; use the basin that wrote the file, or \
         write version = 1 if a slip of the pen did",
    ),
    ("no TOML", "version = 1\n[[sink]\n", "registry.toml:2: this is no TOML: unclosed array table, expected `]`"),
    (
        "an unknown key of the file",
        "version = 1\nsinks = 3",
        "registry.toml:2: the registry has no key \"sinks\", did you mean \"sink\"? (keys: version, sink, binding)",
    ),
    (
        "an unknown key of a sink",
        "version = 1\n[[sink]]\nname = \"a\"\ndigst = \"x\"\n",
        "registry.toml:4: sink has no key \"digst\", did you mean \"digest\"? (keys: name, digest, source, grants, \
         limits, config, secrets, enabled, since, former, asked)",
    ),
    (
        "an unknown key of a binding",
        "version = 1\n[[binding]]\nsink = \"a\"\non_failure = \"skip\"\n",
        "registry.toml:4: binding has no key \"on_failure\", did you mean \"on-failure\"? (keys: name, sink, event, \
         rule, priority, listener, mode, instance, on-failure, max-firings, expires, schedule, enabled)",
    ),
    (
        "a sink without name",
        "version = 1\n[[sink]]\n",
        "registry.toml:2: sink: name is missing; add a line name = \"...\"",
    ),
    (
        "a sink with a bad name",
        "version = 1\n[[sink]]\nname = \"No Name\"\n",
        "registry.toml:3: sink: \"No Name\" is no name for a sink; write 1 to 64 characters out of a-z 0-9 -, \
         beginning with a letter",
    ),
    (
        "a bad digest",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"../../etc/passwd\"\n",
        "registry.toml:4: sink \"a\": digest is no SHA-256, 64 digits out of 0-9 a-f; `basin sink add` writes it",
    ),
    (
        "a bad grant",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\ngrants = [\"edit-header\"]\n",
        "registry.toml:5: sink \"a\": there is no grant \"edit-header\", did you mean \"edit-headers\"?; known are \
         read-envelope, read-headers, read-body, edit-headers, edit-body, edit-envelope, break-signatures, reply, \
         accept-recipients, end-chain, discard, \
         authenticate, state, dns, message-auth, route, submit, outbound, clock, random, http=, dir=, env=",
    ),
    (
        "a configuration that is no text",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[sink.config]\nmax = 3\n",
        "registry.toml:6: sink \"a\": config.max is integer; put it in quotes",
    ),
    (
        "memory without unit",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\nlimits = { memory = \"64MB\" }\n",
        "registry.toml:5: limits of sink \"a\": \"64MB\" is no size; write a whole number and B, KiB, MiB or GiB, \
         as in \"64MiB\"",
    ),
    (
        "a deadline over the maximum",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\nlimits = { deadline = \"2h\" }\n",
        "registry.toml:5: limits of sink \"a\": deadline 2h is out of range; write 1ms to 60s",
    ),
    (
        "two sinks of one name",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n",
        "registry.toml:5: a second sink with the name \"a\"; rename one",
    ),
    (
        "a binding of nobody",
        "version = 1\n[[sink]]\nname = \"stamp\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"stmp\"\n\
         event = \"on-connect\"\n",
        "registry.toml:6: binding \"stmp\": there is no sink \"stmp\" in this file, did you mean \"stamp\"?",
    ),
    (
        "an unknown event",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-conect\"\n",
        "registry.toml:7: binding \"a\": there is no event \"on-conect\", did you mean \"on-connect\"?; `basin sink \
         inspect --events` lists them",
    ),
    (
        "a timer without a schedule",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-timer\"\n",
        "registry.toml:5: binding \"a\": on-timer needs a schedule: minute, hour, day of month, month and day of week in \
         UTC, as in \"*/5 * * * *\", or a word as @hourly",
    ),
    (
        "a schedule that is none",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-timer\"\n\
         schedule = \"0 0 30 2 *\"\n",
        "registry.toml:8: binding \"a\": the schedule \"0 0 30 2 *\" is never due: none of its months has such a day",
    ),
    (
        "a schedule at another event",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         schedule = \"@daily\"\n",
        "registry.toml:8: binding \"a\": on-connect has no schedule; on-timer has one",
    ),
    (
        "a priority out of range",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         priority = 40000\n",
        "registry.toml:8: binding \"a\": priority 40000 is out of range; write 0 (first) to 32767 (last)",
    ),
    (
        "a priority in quotes",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         priority = \"1\"\n",
        "registry.toml:8: binding \"a\": priority is string; write a whole number without quotes",
    ),
    (
        "a failure policy that the event has not",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         on-failure = \"hold\"\n",
        "registry.toml:8: binding \"a\": on-connect has no failure policy \"hold\"; it has defer, refuse, skip (the \
         first is the default)",
    ),
    (
        "an expiry without offset",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         expires = 2030-01-31\n",
        "registry.toml:8: binding \"a\": expires is datetime; write a date and time with offset and without quotes, \
         as in 2030-01-31T12:00:00Z",
    ),
    (
        "an unknown rule field",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\n\
         event = \"on-end-of-data\"\nrule = \"rcptto=x\"\n",
        "registry.toml:8: binding \"a\": there is no rule field \"rcptto\", did you mean \"rcpt to\"?; \
         on-end-of-data knows ehlo, mail from, rcpt to, client, user, tls, size>, header NAME, listener, origin",
    ),
];

fn complaint(text: &str) -> Option<String> {
    let text = text.replace("DIGEST", DIGEST);
    RegistryFile::parse(&text, Path::new("registry.toml")).err().map(|error| error.to_string())
}

#[test]
fn a_broken_file_says_where_what_and_what_to_do() {
    for (what, text, wanted) in BROKEN {
        assert_eq!(complaint(text).as_deref(), Some(*wanted), "{what}");
    }
}

#[test]
fn the_page_on_errors_has_every_complaint() {
    page::compare("registry", BROKEN.iter().map(|(what, _, complaint)| (*what, *complaint)));
}

use super::*;
use basin_core::limits;

const MINIMAL: &str = "host-name = \"mx.example.org\"\npostmaster = \"alice@example.org\"\n\
    [[listener]]\nname = \"inbound\"\naddress = \"127.0.0.1:2525\"\n\
    [[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let file = Path::new("basin.toml");
    Config::parse(file, text)
        .map_err(|errors| errors.problems.iter().map(|problem| problem.at(file)).collect::<Vec<_>>())
}

#[test]
fn a_minimal_file_has_defaults_for_the_rest() {
    let config = parse(MINIMAL).expect("valid");
    assert_eq!(config.listeners[0].message_bytes_max, limits::MESSAGE_BYTES_DEFAULT);
    assert_eq!(config.spool, Path::new("/var/lib/basin/spool"));
    assert_eq!(config.admin, Some("127.0.0.1:9525".parse().expect("an address")));
    assert_eq!(config.warnings, []);
}

#[test]
fn defaults_of_the_reference_are_the_defaults_of_the_code() {
    let mut written = MINIMAL.to_owned();
    let mut tables: Vec<&str> = Vec::new();
    for key in crate::config::reference::KEYS {
        let Some(default) = key.default else { continue };
        if matches!(key.table, "sender" | "domain" | "source" | "route" | "credentials" | "dkim") {
            continue;
        }
        if key.table == "listener" {
            written = written.replace("[[domain]]", &format!("{} = {default}\n[[domain]]", key.name));
            continue;
        }
        if !tables.contains(&key.table) {
            tables.push(key.table);
            written.push_str(&format!("[{}]\n", key.table));
        }
        written.push_str(&format!("{} = {default}\n", key.name));
    }
    let (written, minimal) = (parse(&written).expect("valid"), parse(MINIMAL).expect("valid"));
    assert_eq!(format!("{written:?}"), format!("{minimal:?}"));
}

#[test]
fn relative_paths_start_at_the_file() {
    let text = format!("{MINIMAL}[spool]\ndirectory = \"spool\"\n");
    let config = Config::parse(Path::new("/etc/basin/basin.toml"), &text).expect("valid");
    assert_eq!(config.spool, Path::new("/etc/basin/spool"));
}

#[test]
fn every_mistake_names_line_and_key_and_says_what_to_do() {
    for (text, expected) in [
        ("host-nam = \"x\"", "basin.toml:1: host-nam: there is no such key; did you mean \"host-name\"?"),
        (
            "max-recipients = 5",
            "basin.toml:1: max-recipients: there is no such key; did you mean \"listener.max-recipients\"?",
        ),
        ("\n[spol]\ndirectory = \"x\"", "basin.toml:2: spol: there is no such key; did you mean \"spool\"?"),
        (
            "host-name = \"a b\"",
            "basin.toml:1: host-name: \"a b\" is no domain name; write one such as \"mail.example.org\"",
        ),
        ("host-name = 5", "basin.toml:1: host-name: invalid type: integer `5`, expected a string"),
        ("host-name = ", "basin.toml:1: string values must be quoted, expected literal string"),
        (
            "[admin]\naddress = \"x\"",
            "basin.toml:2: admin.address: expected IP:PORT such as \"127.0.0.1:9525\", or \"off\", found \"x\"",
        ),
        (
            "[limits]\ndrain-time = \"30\"",
            "basin.toml:2: limits.drain-time: invalid value: string \"30\", expected a time with its unit, such as \"30s\" (units: ms, s, m, h, d)",
        ),
        (
            "[limits]\nsink-calls = 0",
            "basin.toml:2: limits.sink-calls: expected 1 to 8000: each call takes 6 of the kernel's 65,530 memory maps",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "basin.toml:2: log.level: expected error, warn, info, debug or trace, found \"loud\"",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"25\"",
            "basin.toml:3: listener[0].address: expected IP:PORT such as \"0.0.0.0:25\" or \"[::]:25\", found \"25\"",
        ),
        (
            "[[listener]]\nmax-message-size = \"1KiB\"",
            "basin.toml:2: listener[0].max-message-size: RFC 5321 §4.5.3.1.7 requires \"64KiB\" at least",
        ),
        (
            "[[domain]]\nname = \"example.org\"\ncatch-all = \"bob\"",
            "basin.toml:3: domain[0].catch-all: this is none of the domain's mailboxes; add it to `mailboxes`",
        ),
        (
            "[aliases]\n\"a@b.example\" = \"c d@e\"",
            "basin.toml:2: aliases.a@b.example: \"c d@e\" is no address: the address has a character that is not allowed",
        ),
        (
            "[[domain]]\nname = \"example.org\"\nmailboxes = [\n\"../x\"]",
            "basin.toml:4: domain[0].mailboxes[0]: \"../x\" is no local part of a mailbox: a mailbox has letters, digits, \".\", \"_\", \"+\" and \"-\", the first a letter or digit; an alias can give it any other address",
        ),
        (
            "",
            "basin.toml: listener: there is no listener; add [[listener]] with name = \"inbound\" and address = \"[::]:25\"",
        ),
    ] {
        let problems = parse(text).expect_err("wrong");
        assert!(problems.iter().any(|problem| problem == expected), "{text:?} gave {problems:#?}, expected {expected}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "host-nam = \"x\"\n[[listener]]\naddress = \"25\"\n[[domain]]\nname = \"a b\"";
    assert!(parse(text).expect_err("wrong").len() >= 4);
}

#[test]
fn a_value_of_the_wrong_kind_hides_no_other_mistake() {
    let text = "host-name = 5\n[[listener]]\nname = \"in\"\naddress = 25\nmax-recipients = \"many\"\ngreet-delay = \"soon\"\n\
                relay-clients = [\"10.0.0.0/8\",\n  7]\n[[domain]]\nname = \"a b\"\n[log]\nlevel = \"loud\"\n[limits]\nsink-calls = -1\n";
    let problems = parse(text).expect_err("wrong");
    let keys = [
        "1: host-name",
        "4: listener[0].address",
        "5: listener[0].max-recipients",
        "6: listener[0].greet-delay",
        "8: listener[0].relay-clients[1]",
        "10: domain[0].name",
        "12: log.level",
        "14: limits.sink-calls",
    ];
    let found: Vec<String> = problems
        .iter()
        .filter_map(|text| {
            Some(text.split(": ").take(2).collect::<Vec<_>>().join(": ").strip_prefix("basin.toml:")?.to_owned())
        })
        .collect();
    for key in keys {
        assert_eq!(found.iter().filter(|found| *found == key).count(), 1, "{key} in {problems:#?}");
    }
    assert_eq!(found.len(), keys.len(), "nothing follows from what is only mistaken: {problems:#?}");
}

#[test]
fn every_address_that_leads_nowhere_is_told() {
    let text = format!(
        "{MINIMAL}[aliases]\n\"x@example.org\" = \"y@example.org\"\n\"z@far.example\" = \"alice@example.org\"\n"
    );
    let problems = parse(&text).expect_err("wrong").join("\n");
    assert!(problems.contains("alias x@example.org") && problems.contains("z@far.example is not at"), "{problems}");
}

#[test]
fn two_listeners_that_one_socket_would_serve_are_refused() {
    let with = |first: &str, second: &str| {
        let text = MINIMAL.replace("127.0.0.1:2525", first);
        parse(&format!("{text}[[listener]]\nname = \"b\"\naddress = \"{second}\"\n")).err().unwrap_or_default().concat()
    };
    for (first, second) in [
        ("0.0.0.0:25", "127.0.0.1:25"),
        ("127.0.0.1:25", "0.0.0.0:25"),
        ("[::]:25", "127.0.0.1:25"),
        ("[::1]:25", "[::]:25"),
        ("[::]:25", "0.0.0.0:25"),
    ] {
        assert!(with(first, second).contains("which takes in this address"), "{first} {second}");
    }
    for (first, second) in [
        ("0.0.0.0:25", "[::1]:25"),
        ("127.0.0.1:25", "127.0.0.2:25"),
        ("0.0.0.0:25", "127.0.0.1:26"),
        ("0.0.0.0:0", "0.0.0.0:0"),
    ] {
        assert_eq!(with(first, second), "", "{first} {second}");
    }
}

#[test]
fn a_submission_listener_without_logins_is_refused() {
    let text = MINIMAL.replace("[[domain]]", "kind = \"submission\"\nauth = false\n[[domain]]");
    let problems = parse(&text).expect_err("nobody could send");
    assert!(problems.concat().contains("listener[0].auth: nobody could send"), "{problems:?}");
}

#[test]
fn a_mailbox_may_have_letters_of_any_script_and_is_one_however_they_are_written() {
    let names =
        "[\"alice\", \"J\u{f6}rg\", \"\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}\"]\ncatch-all = \"Jo\u{308}rg\"";
    let text =
        MINIMAL.replace("[\"alice\"]", names) + "[aliases]\n\"\u{f6}l@example.org\" = \"j\u{f6}rg@example.org\"\n";
    let directory = parse(&text).expect("valid").directory;
    let mailbox = |text: &str| directory.expand(&Address::parse_utf8(text).expect("valid"))[0].1.clone();
    for address in ["JO\u{308}RG@example.org", "\u{f6}l@example.org", "anybody@example.org"] {
        assert_eq!(mailbox(address), "j\u{f6}rg@example.org", "{address}");
    }
    for bad in ["a\u{202e}b", "\u{f6} x", "\u{200b}a", "../\u{f6}"] {
        let text = MINIMAL.replace(
            "[\"alice\"]",
            &format!("[\"alice\", {bad:?}]").replace("\\u{202e}", "\\u202e").replace("\\u{200b}", "\\u200b"),
        );
        assert!(parse(&text).expect_err(bad).concat().contains("is no local part of a mailbox"), "{bad:?}");
    }
    let twice = MINIMAL.replace("[\"alice\"]", "[\"alice\", \"j\u{f6}rg\", \"jo\u{308}rg\"]");
    assert!(parse(&twice).expect_err("one mailbox").concat().contains("two entries"));
}

#[test]
fn a_file_that_is_missing_says_where_a_sample_is() {
    let error = Config::read(Path::new("/nonexistent/basin.toml")).expect_err("missing");
    assert!(error.to_string().contains("packaging/basin.toml is a sample"), "{error}");
}

#[test]
fn doubtful_settings_are_warnings() {
    let text = MINIMAL
        .replace("address = \"127.0.0.1:2525\"", "address = \"127.0.0.1:2525\"\ncommand-timeout = \"10s\"")
        + "[admin]\naddress = \"0.0.0.0:9525\"\n";
    let config = parse(&text).expect("valid");
    let keys: Vec<&str> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["listener[0].command-timeout", "admin.address"]);
}

#[test]
fn tables_that_do_not_fit_together_are_refused() {
    let text = format!("{MINIMAL}[aliases]\n\"x@example.org\" = \"y@elsewhere.example\"\n");
    let problems = parse(&text).expect_err("wrong");
    assert_eq!(
        problems,
        ["basin.toml:10: aliases.x@example.org: alias x@example.org: y@elsewhere.example leads to no mailbox of this \
             server; a sink at on-categorize can forward elsewhere"]
    );
}

#[test]
fn what_the_file_means_can_be_looked_up() {
    let text = MINIMAL.replace("[\"alice\"]", "[\"alice\", \"Bob\"]\ncatch-all = \"alice\"");
    let directory = parse(&text).expect("valid").directory;
    let mailbox = |text: &str| directory.expand(&Address::parse(text).expect("valid"))[0].1.clone();
    assert_eq!(mailbox("bob@example.org"), "bob@example.org");
    assert_eq!(mailbox("anybody@example.org"), "alice@example.org");
    assert_eq!(mailbox("postmaster"), "alice@example.org");
}

#[test]
fn what_a_listener_demands_is_checked_at_the_start() {
    for (keys, expected) in [
        ("domains = [\"other.example\"]", "domains[0]: there is no [[domain]] with the name \"other.example\""),
        ("domains = []", "domains: the list is empty; leave the key out for all domains"),
        ("auth = \"always\"", "auth: expected true, false or \"required\", found \"always\""),
        (
            "max-messages-per-session = 0",
            "max-messages-per-session: 0 would let nobody in; leave the key out for the default",
        ),
        (
            "max-messages-per-session = 1000000",
            "max-messages-per-session: RFC 9422 §3 has six digits for it: 999999 at most",
        ),
        ("max-hold = \"400d\"", "max-hold: expected \"1s\" to \"365d\""),
        (
            "min-deliver-by = \"11575d\"",
            "min-deliver-by: RFC 2852 §3 has nine digits of seconds for it: \"11574d\" at most",
        ),
        (
            "min-data-rate = \"1MiB\"",
            "min-data-rate: more than \"16KiB\" in a second would cut off clients that are only far away",
        ),
        ("max-idle-commands = 0", "max-idle-commands: 0 would let nobody in; leave the key out for the default"),
    ] {
        let problems = parse(&MINIMAL.replace("[[domain]]", &format!("{keys}\n[[domain]]"))).expect_err(keys);
        assert!(problems.contains(&format!("basin.toml:6: listener[0].{expected}")), "{problems:?}");
    }
    let twice = format!("{MINIMAL}[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:2525\"\n");
    let problems = parse(&twice).expect_err("one address twice");
    assert_eq!(problems, ["basin.toml:11: listener[1].address: the listener \"inbound\" has this address already"]);
    let senders = "[[sender]]\nuser = \"ann\"\naddresses = [\"ann\", \"@\"]\n[[sender]]\nuser = \"ann\"\n[[sender]]\n";
    let problems = parse(&format!("{MINIMAL}{senders}")).expect_err("nobody sends so");
    let at = |line, text: &str| format!("basin.toml:{line}: {text}");
    let form = "expected \"ann@example.org\", or \"@example.org\" for all of a domain, found";
    let expected = [
        at(11, &format!("sender[0].addresses[0]: {form} \"ann\"")),
        at(11, &format!("sender[0].addresses[1]: {form} \"@\"")),
        at(13, "sender[1].user: a second row for the user \"ann\"; write all addresses in one"),
        at(14, "sender[2].user: expected the name that the user logs in with"),
    ];
    assert_eq!(problems, expected);
}

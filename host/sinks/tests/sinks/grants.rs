//! Nothing is granted that is not named: each grant alone opens what it names, and without it the door is shut.

use basin_core::event::{EventKind, FailureKind, Grant, Grants};

use crate::stage::{Call, probe};

/// Reading without the grant ends the call and names it; with all others it does too.
fn reading_needs(grant: Grant, make: impl Fn() -> Call) {
    let denied = make().all_grants_but(grant).run();
    assert_eq!(denied.failed().kind, FailureKind::Denied, "{:?}", denied.failed());
    let detail = &denied.failed().detail;
    assert!(detail.contains(&format!("--grant {grant}")), "{detail}");
    assert_eq!(denied.report.usage.denied, 1);
    assert!(denied.lines().is_empty(), "nothing was answered in its place: {:?}", denied.lines());
}

/// Changing without the grant answers `denied`, and the call goes on.
fn changing_needs(grant: Grant, make: impl Fn() -> Call) {
    let denied = make().all_grants_but(grant).run();
    denied.answered();
    let line = denied.lines().last().copied().unwrap_or_default().to_owned();
    assert!(line.contains("denied") && line.contains(grant.name()), "{line}");
    assert!(denied.report.usage.denied >= 1);
}

#[test]
fn each_function_that_reads_needs_its_grant_and_no_other() {
    use Grant::{ReadBody, ReadEnvelope, ReadHeaders};
    let table: [(&[Grant], &[&str]); 5] = [
        (
            &[ReadEnvelope],
            &["sender", "recipient-count", "recipients", "matched", "parameter|BODY", "rcpt|0", "rcpt-property|0|x"],
        ),
        (&[ReadHeaders], &["header|Subject", "headers", "raw-header", "addresses|To", "protection", "subject", "from"]),
        (&[ReadBody], &["read-body|0|10", "text-body", "html-body", "parts", "part|0", "part-text|0", "part-range|0"]),
        (&[ReadHeaders, ReadBody], &["read|0|10", "part-header|0|Subject"]),
        (&[], &["message", "property|x", "property-names", "binding", "response", "session", "config|a"]),
    ];
    for (grants, scripts) in table {
        for script in scripts {
            let make = || probe(script);
            make().grants(grants).run().answered();
            grants.iter().for_each(|grant| reading_needs(*grant, make));
        }
    }
}

#[test]
fn sizes_need_any_reading_grant() {
    for grant in [Grant::ReadEnvelope, Grant::ReadHeaders, Grant::ReadBody] {
        probe("size").grants(&[grant]).run().answered();
    }
    assert_eq!(probe("size").grants(&[Grant::EditBody]).run().failed().kind, FailureKind::Denied);
}

#[test]
fn each_function_that_changes_needs_its_grant() {
    for script in ["set-sender|x@a.example", "add-recipient|x@a.example", "set-parameter|RET|HDRS", "set-priority|1"] {
        changing_needs(Grant::EditEnvelope, || probe(script));
    }
    for script in ["rcpt-set-address|0|x@a.example", "rcpt-set-notify|0|NEVER", "rcpt-set-route|0|a.example"] {
        changing_needs(Grant::EditEnvelope, || probe(script));
    }
    for script in ["set-deliver-after|1800000060", "rcpt-remove|0"] {
        changing_needs(Grant::EditEnvelope, || probe(script));
    }
    for script in ["add-header|X|y", "set-header|X|y", "insert-header|0|X|y", "edit-header-at|1|y"] {
        changing_needs(Grant::EditHeaders, || probe(script));
    }
    for script in ["remove-header-at|1", "remove-header|Subject", "replace-header-block|A: b~"] {
        changing_needs(Grant::EditHeaders, || probe(script));
    }
    changing_needs(Grant::EditBody, || probe("replace-body|x"));
    for script in ["append-response|x", "set-response|250 - x", "delay-response|1"] {
        changing_needs(Grant::Reply, || probe(script));
    }
    changing_needs(Grant::Reply, || probe("set-banner|hello").at(EventKind::OnConnect));
    changing_needs(Grant::EditEnvelope, || probe("set-path|x@a.example").command("RCPT TO:<b@basin.example>"));
    changing_needs(Grant::EditEnvelope, || probe("set-command-parameter|RET|HDRS").command("MAIL FROM:<a@b.example>"));
}

#[test]
fn paths_need_the_grant_and_other_verbs_do_not() {
    for script in ["path", "line", "argument", "command-parameter|SIZE"] {
        reading_needs(Grant::ReadEnvelope, || probe(script).command("MAIL FROM:<a@client.example>"));
        probe(script).command("XHELLO world").run().answered();
    }
    let outcome = probe("keyword\nargument\nline").command("XHELLO world").run();
    assert_eq!(outcome.lines(), ["keyword: \"XHELLO\"", "argument: \"world\"", "line: \"XHELLO world\""]);
}

#[test]
fn secrets_of_auth_are_left_out() {
    let auth = || probe("argument\nline").command("AUTH PLAIN AGEAc2VjcmV0");
    let outcome = auth().all_grants_but(Grant::Authenticate).run();
    assert_eq!(outcome.lines(), ["argument: \"PLAIN\"", "line: \"AUTH PLAIN\""]);
    let outcome = auth().grants(&[Grant::Authenticate]).run();
    assert_eq!(outcome.lines(), ["argument: \"PLAIN AGEAc2VjcmV0\"", "line: \"AUTH PLAIN AGEAc2VjcmV0\""]);
}

#[test]
fn the_world_outside_is_out_of_reach() {
    let outcome = probe("files\nconnect\ntime").all_grants_but(Grant::Clock).run();
    assert_eq!(outcome.lines(), ["files: (false, 0, 0)", "connect: false", "time: Some(1800000000)"]);
}

#[test]
fn randomness_repeats_with_the_message_and_the_sink() {
    let one = probe("random").run();
    assert_eq!(one.lines(), probe("random").run().lines());
    let mut other = crate::stage::plain();
    other.id = basin_core::mail::MessageId::new(crate::stage::NOW, 8);
    assert_ne!(one.lines(), probe("random").message(other).run().lines());
}

#[test]
fn a_call_that_may_change_nothing_answers_read_only_to_every_edit() {
    let edits = "set-sender|x@a.example\nadd-recipient|x@a.example\nset-parameter|RET|HDRS\nset-priority|1\nrcpt-remove|0\n\
                 rcpt-set-property|0|k|v\nset-property|k|v\nremove-property|k\nadd-header|X|y\nremove-header|Subject\n\
                 replace-header-block|A: b~\nreplace-body|x\nset-deliver-after|1800000060\nappend-response|x\n\
                 set-response|250 - x\ndelay-response|1\nset-session-property|k|v\nfork";
    let outcome = probe(edits).all_grants().read_only().run();
    for line in outcome.lines() {
        assert!(line.contains("read-only"), "{line}");
    }
    assert_eq!(outcome.lines().len(), edits.lines().count());
    let (left, before) = (outcome.edited(), crate::stage::plain());
    assert_eq!(
        (&left.envelope, &left.header, &left.properties),
        (&before.envelope, &before.header, &before.properties)
    );
    let outcome = probe("set-session-property|k|v").all_grants().at(EventKind::OnDisconnect).run();
    assert_eq!(outcome.lines(), ["set-session-property: read-only"], "a notice changes nothing either");
}

#[test]
fn the_reading_grants_of_a_first_binding_are_enough_to_read() {
    let reading: Vec<Grant> = Grants::reading(EventKind::OnEndOfData).iter().collect();
    probe("sender\nrecipients\nsubject\nparts\nread|0|100").grants(&reading).run().answered();
}

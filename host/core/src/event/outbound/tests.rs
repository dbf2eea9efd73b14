use super::*;

fn mail(offered: &[&str]) -> OutCommand {
    OutCommand::new("MAIL FROM:<a@b.example> SIZE=9", offered.iter().map(|line| (*line).to_owned()).collect())
}

#[test]
fn a_line_keeps_its_verb_and_carries_nothing_that_ends_it() {
    let mut command = mail(&[]);
    for (line, why) in [
        ("RCPT TO:<a@b.example>", OutCommandError::Verb),
        (" MAIL FROM:<a@b.example>", OutCommandError::Verb),
        ("", OutCommandError::Verb),
        ("MAIL FROM:<>\r\nDATA", OutCommandError::Control),
        ("MAIL FROM:<>\0", OutCommandError::Control),
        ("MAIL\tFROM:<>", OutCommandError::Control),
        ("MAIL FROM:<>\u{85}", OutCommandError::Control),
    ] {
        assert_eq!(command.set_line(line), Err(why), "{line:?}");
    }
    let longest = format!("MAIL {}", "x".repeat(OUT_LINE_MAX - 5));
    assert_eq!(command.set_line(&format!("{longest}x")), Err(OutCommandError::Long));
    assert_eq!(command.line(), command.native_line());
    assert_eq!(command.set_line(&longest), Ok(()));
    assert_eq!(command.set_line("mail from:<>"), Ok(()));
    assert_eq!((command.line(), command.keyword().as_str()), ("mail from:<>", "MAIL"));
}

const OUT_LINE_MAX: usize = crate::limits::OUT_LINE_BYTES_MAX;

#[test]
fn what_a_line_promises_about_content_stays() {
    let mut chunk = OutCommand::new("BDAT 5 LAST", Arc::from([]));
    assert_eq!(chunk.set_line("BDAT 6 LAST"), Err(OutCommandError::Chunk));
    assert_eq!(chunk.set_line("BDAT 5 LAST"), Ok(()));
    let mut bound = OutCommand::new("MAIL FROM:<> REQUIRETLS", Arc::from([]));
    assert_eq!(bound.set_line("MAIL FROM:<>"), Err(OutCommandError::Kept));
    assert_eq!(bound.set_line("MAIL FROM:<a@b.example> requiretls"), Ok(()));
    let native = "MAIL FROM:<\"a> b\"@c.example> BODY=8BITMIME SMTPUTF8 SIZE=9";
    let mut mail = OutCommand::new(native, ["DSN", "SMTPUTF8"].map(str::to_owned).into());
    for line in ["MAIL FROM:<> SMTPUTF8", "MAIL FROM:<> BODY=7BIT SMTPUTF8", "MAIL FROM:<\"SMTPUTF8 BODY=8BITMIME\"@x>"]
    {
        assert_eq!(mail.set_line(line), Err(OutCommandError::Kept), "{line:?}");
    }
    assert_eq!(mail.set_line("MAIL FROM:<> BODY=8BITMIME SMTPUTF8 SIZE=7 RET=HDRS"), Ok(()));
    assert_eq!(mail.set_line("MAIL FROM:<\u{e9}@x.example> SMTPUTF8 BODY=8bitmime"), Ok(()));
}

#[test]
fn a_line_has_no_parameter_and_no_letter_that_the_server_does_not_take() {
    let mut mail = mail(&["DSN"]);
    for line in ["MAIL FROM:<> HOLDFOR=9", "MAIL FROM:<> NOTIFY=NEVER", "MAIL FROM:<\u{e9}@x.example>"] {
        assert_eq!(mail.set_line(line), Err(OutCommandError::NotOffered), "{line:?}");
    }
    assert_eq!(mail.set_line("MAIL FROM:<> SIZE=1 ENVID=x"), Ok(()));
}

#[test]
fn a_parameter_is_one_that_the_server_offers_and_is_not_there() {
    let offered = ["SIZE 9", "8bitmime", "DSN", "XOWN a b", "DELIVERBY"];
    for (parameter, expected) in [
        ("RET=HDRS", Ok(())),
        ("by=5;N", Ok(())),
        ("BODY=8BITMIME", Ok(())),
        ("XOWN", Ok(())),
        ("BODY=binarymime", Err(OutCommandError::NotOffered)),
        ("NOTIFY=NEVER", Err(OutCommandError::NotOffered)),
        ("SMTPUTF8", Err(OutCommandError::NotOffered)),
        ("size=5", Err(OutCommandError::Parameter)),
        ("XOWN=", Err(OutCommandError::Parameter)),
        ("XOWN=a b", Err(OutCommandError::Parameter)),
        ("XOWN=a\r\nDATA", Err(OutCommandError::Parameter)),
        ("=x", Err(OutCommandError::Parameter)),
        ("", Err(OutCommandError::Parameter)),
    ] {
        assert_eq!(mail(&offered).append_parameter(parameter), expected, "{parameter:?}");
    }
    let mut rcpt = OutCommand::new("RCPT TO:<a@b.example>", Arc::from(["DSN".to_owned()]));
    assert_eq!(rcpt.append_parameter("NOTIFY=NEVER"), Ok(()));
    assert_eq!(rcpt.line(), "RCPT TO:<a@b.example> NOTIFY=NEVER");
    let mut data = OutCommand::new("DATA", Arc::from(["XOWN".to_owned()]));
    assert_eq!(data.append_parameter("XOWN"), Err(OutCommandError::NoParameters));
}

#[test]
fn a_verb_of_a_sinks_own_is_none_of_the_standard() {
    for line in ["XHELLO", "x-own a=b", "MAILING list", "X1 \u{e9}"] {
        assert!(is_own_line(line), "{line:?}");
    }
    for line in
        ["", " XHELLO", "MAIL FROM:<>", "mail", "rSeT", "DATA ", "X\r\nRSET", "X\tY", "-X", "X:Y", "XCLIENT ADDR=1"]
    {
        assert!(!is_own_line(line), "{line:?}");
    }
}

#[test]
fn no_line_of_a_blob_begins_with_a_command() {
    for (octets, verb) in [
        (&b"MAIL FROM:<>"[..], "MAIL"),
        (b"abc\r\nrcpt to:<>", "RCPT"),
        (b"abc\nDATA\n", "DATA"),
        (b"abc\r \tquit", "QUIT"),
        (b"abc\0RSET", "RSET"),
        (b"\r\n\r\nBDAT 5", "BDAT"),
        (b"xown again\r\nmore\r\nmore\r\n", "XOWN"),
        (b"in the middle of the last: rset\r\n", "RSET"),
        (b"in the middle of the last with an end: NOOP\r\nrest", "NOOP"),
        (b"noRSET\r\n \r\n", "RSET"),
    ] {
        assert_eq!(smuggled_verb(octets, &["XOWN"]), Some(verb), "{octets:?}");
    }
    for octets in [
        &b""[..],
        b"mailing",
        b"some data\r\nother\r\ntext\r\n",
        b"\"data\": 1",
        b"to RSET it\r\ntwo\r\nlines\r\n",
        b"\x00\xff\r\n.\r\n",
    ] {
        assert_eq!(smuggled_verb(octets, &["XOWN"]), None, "{octets:?}");
    }
}

fn sent(code: u16, rounds: u32) -> OutFacts {
    let sent = SentFirst { verb: "XOWN".into(), reply: Reply::new(code, None, "x"), rounds };
    OutFacts { first: [("a".to_owned(), sent)].into(), ..OutFacts::default() }
}

#[test]
fn octets_follow_a_3xx_of_the_same_binding_and_nothing_else_does() {
    let blob = Verdict::SendBlob(b"octets".to_vec());
    let line = Verdict::SendFirst("XOWN".into());
    assert_eq!(sent(354, 1).objection(&blob, "a"), None);
    for (facts, verdict, by) in [
        (sent(354, 1), &blob, "b"),
        (sent(250, 1), &blob, "a"),
        (OutFacts::default(), &blob, "a"),
        (sent(354, 1), &line, "a"),
        (sent(354, OUT_ROUNDS_MAX), &blob, "a"),
        (sent(250, OUT_ROUNDS_MAX), &line, "a"),
        (sent(354, 1), &Verdict::SendBlob(Vec::new()), "a"),
        (sent(354, 1), &Verdict::SendBlob(b"RSET\r\n".to_vec()), "a"),
        (sent(354, 1), &Verdict::SendBlob(b"xown\r\n".to_vec()), "a"),
        (OutFacts { extensions: vec!["XTWO 2".into()], ..sent(354, 1) }, &Verdict::SendBlob(b"XTWO\r\n".to_vec()), "a"),
        (sent(250, 1), &Verdict::SendFirst("RSET".into()), "a"),
    ] {
        assert!(facts.objection(verdict, by).is_some(), "{verdict:?} of {by} after {facts:?}");
    }
    assert_eq!(sent(250, 7).objection(&line, "a"), None);
    assert_eq!(sent(550, OUT_ROUNDS_MAX).objection(&line, "b"), None, "each sink has rounds of its own");
}

fn response(keyword: &str, lines: &[&str], code: u16) -> ResponseFacts {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    let reply = Reply::multi_line(code, None, lines);
    ResponseFacts { keyword: keyword.into(), line: keyword.into(), reply, is_pipelined: false, is_last: false }
}

#[test]
fn a_reply_is_judged_otherwise_where_the_dialogue_stays_true() {
    let treat = |keyword: &str, code, as_code| {
        let other = Verdict::TreatAs(Reply::new(as_code, None, "x"));
        response(keyword, &["y"], code).objection(&other, 0).is_none()
    };
    for (keyword, code, as_code) in [
        ("RCPT", 501, 451),
        ("RCPT", 250, 550),
        ("MAIL", 550, 250),
        (".", 250, 451),
        (".", 554, 451),
        ("DATA", 503, 451),
        ("XOWN", 500, 250),
        ("EHLO", 250, 450),
        ("", 554, 421 + 29),
    ] {
        assert!(treat(keyword, code, as_code), "{keyword} {code} as {as_code}");
    }
    for (keyword, code, as_code) in [
        (".", 451, 250),
        (".", 250, 250),
        ("BDAT", 552, 250),
        ("RCPT", 550, 250),
        ("RSET", 500, 250),
        ("DATA", 354, 550),
        ("DATA", 503, 354),
        ("XOWN", 354, 250),
        ("XOWN", 250, 354),
        ("STARTTLS", 454, 220),
        ("STARTTLS", 220, 454),
        ("AUTH", 535, 235),
        ("MAIL", 250, 421),
        ("MAIL", 421, 451),
    ] {
        assert!(!treat(keyword, code, as_code), "{keyword} {code} as {as_code}");
    }
}

#[test]
fn a_sink_takes_extensions_away_and_invents_none() {
    let of = |lines: &[&str]| {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Verdict::TreatAs(Reply::multi_line(250, None, lines))
    };
    let said = response("EHLO", &["mx", "SIZE 9", "CHUNKING"], 250);
    assert_eq!(said.objection(&of(&["any", "SIZE 9"]), 0), None);
    assert!(said.objection(&of(&["mx", "SIZE 9", "DSN"]), 0).is_some());
    assert!(said.objection(&of(&["mx", "SIZE 90"]), 0).is_some());
}

#[test]
fn a_state_is_changed_to_where_the_dialogue_can_go_and_not_for_ever() {
    use OutState::{Data, MessageStart, PerRecipient, SessionEnd, SessionStart};
    for (keyword, code, states) in [
        ("", 220, &[SessionStart, SessionEnd][..]),
        ("EHLO", 500, &[SessionStart, SessionEnd]),
        ("STARTTLS", 220, &[]),
        ("AUTH", 235, &[]),
        ("MAIL", 250, &[SessionStart, MessageStart, PerRecipient, SessionEnd]),
        ("MAIL", 550, &[SessionStart, MessageStart, SessionEnd]),
        ("RCPT", 550, &[SessionStart, MessageStart, PerRecipient, Data, SessionEnd]),
        ("DATA", 354, &[]),
        ("DATA", 451, &[SessionStart, MessageStart, Data, SessionEnd]),
        (".", 250, &[SessionStart, MessageStart, SessionEnd]),
        ("XOWN", 354, &[]),
        ("MAIL", 421, &[]),
        ("QUIT", 221, &[]),
    ] {
        let reply = response(keyword, &["x"], code);
        let leads: Vec<_> = OutState::ALL.iter().copied().filter(|state| reply.leads_to(*state)).collect();
        assert_eq!(leads, states, "{keyword} {code}");
    }
    let change = Verdict::ChangeState(MessageStart);
    assert_eq!(response("MAIL", &["x"], 250).objection(&change, OUT_STATE_CHANGES - 1), None);
    assert!(response("MAIL", &["x"], 250).objection(&change, OUT_STATE_CHANGES).is_some());
}

const OUT_STATE_CHANGES: u32 = crate::limits::OUT_STATE_CHANGES_MAX;

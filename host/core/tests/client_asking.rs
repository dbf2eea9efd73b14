//! The client whose sinks are asked: every verdict, in every state, with pipelining and without.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says where the client and its sinks disagree")]

#[path = "client_asking/ends.rs"]
mod ends;
#[path = "client_properties/message.rs"]
#[allow(dead_code, reason = "shared with another test, which needs all of it")]
mod message;
#[path = "client_asking/model.rs"]
mod model;
#[path = "client_asking/play.rs"]
mod play;
#[path = "client_asking/server.rs"]
mod server;

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, OutState, Verdict};
use basin_core::limits::OUT_THINKING_MAX;
use basin_core::reply::Reply;
use basin_core::smtp::client::{self, ClientPolicy, ClientStep, Hearing, Why};
use basin_core::time::Timestamp;

use play::Play;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const OFFERS: &str = "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n";
use EventKind::{OnBeforeData, OnMessageStart, OnPerRecipient, OnServerResponse, OnSessionEnd, OnSessionStart};

fn reply(code: u16) -> Reply {
    Reply::new(code, None, "says a filter")
}

const MAIL: &str = "MAIL FROM:<a@basin.example>|";
const R0: &str = "RCPT TO:<r0@far.example> ORCPT=r0@far.example|";
const R1: &str = "RCPT TO:<r1@far.example> ORCPT=r1@far.example|";

// Without the parameters, which are not what these tests are about.
fn bare(said: &str) -> String {
    said.replace(" ORCPT=r0@far.example", "").replace(" ORCPT=r1@far.example", "")
}

#[test]
fn a_group_is_asked_about_whole_and_leaves_whole() {
    let mut play = Play::ready(&[OnMessageStart, OnPerRecipient], &[], OFFERS);
    play.transact(2);
    for event in [OnMessageStart, OnPerRecipient, OnPerRecipient] {
        assert_eq!((play.topic().0, play.said().as_str()), (event, ""));
        play.answer(Verdict::Next);
    }
    assert_eq!(bare(&play.said()), bare(&format!("{MAIL}{R0}{R1}DATA|")));
    play.hear("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n");
    play.hear("250 taken\r\n");
    assert_eq!(play.results(), ["1 550", "0 taken 250"]);
    assert!(play.is_idle());
}

#[test]
fn without_pipelining_each_command_is_asked_about_and_leaves_alone() {
    let mut play = Play::ready(&[OnMessageStart, OnPerRecipient], &[], "250 mx\r\n");
    play.transact(2);
    for (answer, line) in [("250 ok\r\n", MAIL), ("250 ok\r\n", R0), ("250 ok\r\n", R1)] {
        play.answer(Verdict::Next);
        assert_eq!(bare(&play.said()), bare(line));
        play.hear(answer);
    }
    assert_eq!(play.said(), "DATA|");
}

#[test]
fn whom_the_server_took_is_known_before_data() {
    for (offers, go_ahead) in [(OFFERS, "DATA|"), ("250 mx\r\n", "DATA|")] {
        let mut play = Play::ready(&[OnBeforeData], &[], offers);
        play.transact(1);
        assert!(!play.is_asked());
        play.hear("250 ok\r\n");
        if !play.is_asked() {
            play.hear("250 ok\r\n");
        }
        assert_eq!(play.topic(), (OnBeforeData, "DATA".into()));
        assert!(!play.said().contains("DATA"));
        play.answer(Verdict::Next);
        assert_eq!(play.said(), go_ahead);
    }
}

#[test]
fn a_reply_that_is_judged_ends_the_group_behind_its_verb() {
    let mut play = Play::ready(&[OnServerResponse], &["RCPT"], OFFERS);
    play.transact(2);
    assert_eq!(bare(&play.said()), bare(&format!("{MAIL}{R0}{R1}")));
    play.hear("250 ok\r\n250 ok\r\n550 no\r\n");
    for (verb, is_pipelined) in [("MAIL", true), ("RCPT", true), ("RCPT", false)] {
        let Some(ClientStep::Ask(_, question)) = &play.step else { panic!("{:?}", play.step) };
        let response = question.occasion.response.clone().unwrap();
        assert_eq!((response.keyword.as_str(), response.is_pipelined), (verb, is_pipelined));
        assert!(response.line.starts_with(verb), "{response:?}");
        assert_eq!(question.occasion.recipient.is_some(), verb == "RCPT");
        play.answer(Verdict::Next);
    }
    assert_eq!(play.said(), "DATA|");
}

#[test]
fn a_line_is_changed_and_a_parameter_added_where_the_server_offers_it() {
    let mut play = Play::ready(&[OnMessageStart, OnSessionEnd], &[], OFFERS);
    play.transact(1);
    play.answer_with(Verdict::Next, |overlay| {
        let command = overlay.out_command.as_mut().unwrap();
        command.set_line("MAIL FROM:<b@basin.example>").unwrap();
        command.append_parameter("RET=HDRS").unwrap();
        assert!(command.append_parameter("BODY=8BITMIME").is_err());
    });
    assert!(play.said().starts_with("MAIL FROM:<b@basin.example> RET=HDRS|RCPT"));
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    play.hear("250 taken\r\n");
    assert_eq!(play.results(), ["0 taken 250"]);
}

#[test]
fn a_line_of_a_sinks_own_goes_alone_and_the_event_is_raised_again() {
    for offers in [OFFERS, "250 mx\r\n"] {
        let mut play = Play::ready(&[OnPerRecipient], &[], offers);
        play.transact(1);
        if !play.is_asked() {
            assert_eq!(play.said(), MAIL);
            play.hear("250 ok\r\n");
        }
        play.answer(Verdict::SendFirst("XOWN r0".into()));
        if play.said() == MAIL {
            play.hear("250 ok\r\n");
            assert_eq!(play.said(), "XOWN r0|");
        }
        play.hear("299 own\r\n");
        let (_, question) = play.asking();
        let facts = question.occasion.outbound.clone().unwrap();
        assert_eq!(facts.previous_reply("a").map(Reply::code), Some(299));
        assert_eq!((facts.previous_reply("b"), question.occasion.raised), (None, 1));
    }
}

#[test]
fn octets_follow_a_3xx_and_anything_else_there_closes_the_connection() {
    let begun = || {
        let mut play = Play::new(&[OnSessionStart], &[]);
        play.hear("220 mx\r\n");
        play.answer(Verdict::SendFirst("XOWN".into()));
        assert_eq!(play.said(), "XOWN|");
        play.hear("354 go on\r\n");
        let Some(ClientStep::Ask(_, question)) = &play.step else { panic!("{:?}", play.step) };
        assert_eq!(question.only.as_deref(), Some("a"), "nobody else has a word in between");
        play
    };
    let mut play = begun();
    play.answer(Verdict::SendBlob(b"octets".to_vec()));
    assert_eq!(play.said(), "octets");
    play.hear("250 ok\r\n");
    for _ in 0..2 {
        assert_eq!(play.said(), "NOOP|");
        play.hear("250 in step\r\n");
    }
    play.answer(Verdict::Next);
    assert_eq!(play.said(), "EHLO me.example|");
    for verdict in [
        Verdict::Next,
        Verdict::SkipRemaining,
        Verdict::SendFirst("XOWN".into()),
        Verdict::SendBlob(b"x\r\nMAIL FROM:<>\r\n".to_vec()),
        Verdict::DropSession(reply(451)),
    ] {
        let mut play = begun();
        play.answer(verdict.clone());
        assert_eq!((play.closed().why, play.said().as_str()), (Why::Dropped, ""), "{verdict:?}");
    }
}

#[test]
fn who_takes_fewer_octets_than_were_sent_hears_nothing_more() {
    // What it answered to the octets, and what to the first and the second NOOP.
    for (answers, why) in [
        (["250 ok\r\n", "500 what\r\n", ""], Why::Dropped),
        (["250 ok\r\n", "250 a line of it\r\n", "500 what\r\n"], Why::Dropped),
        (["250 ok\r\n500 what\r\n", "", ""], Why::Violation),
        (["250 ok\r\n", "250 a line of it\r\n500 what\r\n", ""], Why::Violation),
        (["500 ok\r\n", "421 bye\r\n", ""], Why::ServiceClosing),
    ] {
        let mut play = Play::ready(&[OnPerRecipient], &[], OFFERS);
        play.transact(1);
        play.answer(Verdict::SendFirst("XOWN".into()));
        play.hear("250 ok\r\n");
        play.hear("354 go on\r\n");
        play.answer(Verdict::SendBlob(b"some\r\nlines\r\n".to_vec()));
        for answer in answers.into_iter().filter(|answer| !answer.is_empty()) {
            play.hear(answer);
        }
        assert_eq!(play.closed().why, why, "{answers:?}");
        assert!(!play.said().contains("RCPT"));
        assert!(play.closed().unsent.is_some(), "it is tried again");
    }
}

#[test]
fn a_sink_sends_no_command_of_the_standard_and_not_for_ever() {
    for line in ["RSET", "mail from:<>", "XOWN\r\nRSET", ""] {
        let mut play = Play::new(&[OnSessionStart], &[]);
        play.hear("220 mx\r\n");
        play.answer(Verdict::SendFirst(line.into()));
        assert_eq!((play.closed().why, play.said().as_str()), (Why::Dropped, ""), "{line:?}");
    }
    let mut play = Play::new(&[OnSessionStart], &[]);
    play.hear("220 mx\r\n");
    for _ in 0..8 {
        play.answer(Verdict::SendFirst("XOWN".into()));
        play.hear("250 ok\r\n");
    }
    play.answer(Verdict::SendFirst("XOWN".into()));
    assert_eq!(play.closed().why, Why::Dropped);
}

#[test]
fn who_is_skipped_is_not_asked_for_and_nothing_leaves_for_nobody() {
    let mut play = Play::ready(&[OnPerRecipient], &[], OFFERS);
    play.transact(2);
    play.answer(Verdict::SkipRecipient(reply(450)));
    play.answer(Verdict::Next);
    assert_eq!(bare(&play.said()), bare(&format!("{MAIL}{R1}DATA|")));
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    play.hear("250 taken\r\n");
    assert_eq!(play.results(), ["0 450", "1 taken 250"]);
    assert_eq!(play.by_sinks(), ["0 a"]);
    play.said();
    play.transact(2);
    play.answer(Verdict::SkipRecipient(reply(550)));
    play.answer(Verdict::SkipRecipient(reply(551)));
    assert_eq!((play.said().as_str(), play.is_idle()), ("", true));
    assert_eq!(play.results().get(2..).unwrap(), ["0 550", "1 551"]);
}

#[test]
fn a_message_that_is_skipped_leaves_no_open_transaction_behind() {
    let mut play = Play::ready(&[OnMessageStart, OnBeforeData], &[], OFFERS);
    play.transact(1);
    play.answer(Verdict::SkipMessage(reply(550)));
    assert_eq!((play.said().as_str(), play.is_idle()), ("", true));
    play.transact(1);
    play.answer(Verdict::Next);
    play.said();
    play.hear("250 ok\r\n250 ok\r\n");
    play.answer(Verdict::SkipMessage(reply(450)));
    assert_eq!((play.said().as_str(), play.is_idle()), ("", true));
    assert_eq!(
        (play.results(), play.by_sinks()),
        (vec!["0 550".into(), "0 450".into()], vec!["0 a".into(), "0 a".into()])
    );
    play.transact(1);
    play.answer(Verdict::Next);
    assert!(play.said().starts_with(&format!("RSET|{MAIL}")));
}

#[test]
fn bdat_is_asked_about_and_its_line_stays() {
    let hearing = Hearing { events: [OnBeforeData].into_iter().collect(), ..Hearing::default() };
    let mut play = Play::new(&[], &[]);
    let policy = ClientPolicy { chunking: client::Chunking::Preferred, ..ClientPolicy::new("me.example") };
    let policy = ClientPolicy { hearing: Some(Arc::new(hearing)), ..policy };
    play.step = Some(client::start(Arc::new(policy), None, NOW));
    play.hear("220 mx\r\n");
    play.hear("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
    play.transact(1);
    play.said();
    play.hear("250 ok\r\n250 ok\r\n");
    assert_eq!(play.topic(), (OnBeforeData, "BDAT 20 LAST".into()));
    play.answer_with(Verdict::Next, |overlay| {
        assert!(overlay.out_command.as_mut().unwrap().set_line("BDAT 2 LAST").is_err());
    });
    assert_eq!(play.said(), "BDAT 20 LAST|Subject: x||text|");
    play.hear("250 taken\r\n");
    assert_eq!(play.results(), ["0 taken 250"]);
}

// A message to two, whose replies to RCPT are judged.
fn at_rcpt(replies: &str) -> Play {
    let mut play = Play::ready(&[OnServerResponse], &["RCPT"], OFFERS);
    play.transact(2);
    play.said();
    play.hear(replies);
    assert_eq!(play.topic().1, "MAIL");
    play.answer(Verdict::Next);
    play
}

#[test]
fn a_refusal_is_judged_otherwise() {
    let mut play = at_rcpt("250 ok\r\n501 what\r\n250 ok\r\n");
    play.answer(Verdict::TreatAs(reply(451)));
    play.answer(Verdict::Next);
    assert_eq!(play.said(), "DATA|");
    play.hear("354 go\r\n");
    play.answer(Verdict::Next);
    play.hear("250 taken\r\n");
    play.answer(Verdict::Next);
    assert_eq!(play.results(), ["0 451", "1 taken 250"]);
    assert_eq!(play.by_sinks(), ["0 a, not 501"]);
}

#[test]
fn who_was_taken_and_must_not_be_gets_no_content() {
    let mut play = at_rcpt("250 ok\r\n250 ok\r\n250 ok\r\n");
    play.answer(Verdict::TreatAs(reply(550)));
    play.answer(Verdict::Next);
    assert_eq!(play.results(), ["0 550"]);
    assert_eq!(bare(&play.said()), bare(&format!("RSET|{MAIL}{R1}")), "the other one in a transaction of its own");
}

#[test]
fn nobody_counts_as_taken_by_the_word_of_a_sink() {
    let at_end = |said: &str| {
        let mut play = Play::ready(&[OnServerResponse], &["MAIL", "RCPT", "DATA", "."], OFFERS);
        play.transact(1);
        for line in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            play.hear(line);
            play.answer(Verdict::Next);
        }
        play.hear(said);
        assert_eq!(play.topic().1, ".");
        play
    };
    let mut play = at_end("451 later\r\n");
    play.answer(Verdict::TreatAs(reply(250)));
    assert_eq!((play.results(), play.closed().why), (vec!["0 451".to_owned()], Why::Dropped));
    let mut play = at_end("250 taken\r\n");
    play.answer(Verdict::TreatAs(reply(452)));
    assert_eq!((play.results(), play.by_sinks()), (vec!["0 452".into()], vec!["0 a, not 250".into()]));
    assert!(play.sent[0].may_be_delivered, "the server took it all the same");
    let mut play = at_end("250 taken\r\n");
    play.answer(Verdict::DropSession(reply(451)));
    assert_eq!((play.results(), play.closed().why), (vec!["0 taken 250".to_owned()], Why::Dropped));
    let mut play = at_end("554 no\r\n");
    play.answer(Verdict::DropSession(reply(451)));
    assert_eq!(play.results(), ["0 451"], "it is tried again");
    let mut play = at_end("250 taken\r\n");
    play.answer(Verdict::ChangeState(OutState::SessionEnd));
    assert_eq!((play.results(), play.said().contains("QUIT|")), (vec!["0 taken 250".to_owned()], true));
}

#[test]
fn a_session_begins_again_with_the_message_in_hand() {
    let mut play = Play::ready(&[OnServerResponse], &["MAIL"], OFFERS);
    play.transact(1);
    play.said();
    play.hear("503 EHLO first\r\n");
    play.answer(Verdict::ChangeState(OutState::SessionStart));
    assert_eq!(play.said(), "EHLO me.example|");
    play.hear(OFFERS);
    play.answer(Verdict::Next);
    assert_eq!((play.said().as_str(), play.results().len()), (MAIL, 0));
    play.hear("503 again\r\n");
    play.answer(Verdict::ChangeState(OutState::SessionStart));
    play.hear("421 no\r\n");
    play.answer(Verdict::Next);
    assert_eq!(play.closed().unsent.as_ref().map(|unsent| unsent.recipients.len()), Some(1), "nothing is lost");
}

#[test]
fn replies_to_what_was_left_behind_answer_nothing_else() {
    let mut play = at_rcpt("250 ok\r\n250 ok\r\n");
    play.answer(Verdict::ChangeState(OutState::MessageStart));
    assert!(!play.is_idle(), "a reply is to come");
    play.hear("550 of the second\r\n");
    assert_eq!((play.results(), play.is_idle()), (vec!["0 451".to_owned(), "1 451".to_owned()], true));
    play.transact(1);
    assert!(play.said().starts_with("RSET|MAIL"), "the old transaction is open");
    // DATA was on its way, too, and the server waits for content: nothing else can be said to it.
    let mut play = Play::ready(&[OnServerResponse], &[], OFFERS);
    play.transact(1);
    play.hear("250 ok\r\n");
    play.answer(Verdict::ChangeState(OutState::SessionEnd));
    play.said();
    play.hear("250 ok\r\n354 go\r\n");
    assert_eq!((play.results(), play.closed().why), (vec!["0 451".to_owned()], Why::Dropped));
    assert_eq!(play.said(), "");
}

#[test]
fn data_comes_sooner_and_the_others_go_in_another_transaction() {
    let mut play = Play::ready(&[OnServerResponse], &["MAIL", "RCPT"], "250 mx\r\n");
    play.transact(2);
    play.hear("250 ok\r\n");
    play.answer(Verdict::Next);
    play.hear("250 ok\r\n");
    play.said();
    play.answer(Verdict::ChangeState(OutState::Data));
    assert_eq!(play.said(), "DATA|");
    play.hear("354 go\r\n");
    play.answer(Verdict::Next);
    play.said();
    play.hear("250 taken\r\n");
    play.answer(Verdict::Next);
    assert_eq!((play.results(), play.said().as_str()), (vec!["0 taken 250".to_owned()], MAIL));
}

#[test]
fn a_change_of_state_ends_somewhere() {
    let mut play = Play::new(&[OnServerResponse], &[]);
    for _ in 0..8 {
        play.hear("220 mx\r\n");
        play.answer(Verdict::ChangeState(OutState::SessionStart));
    }
    play.hear(OFFERS);
    play.answer(Verdict::ChangeState(OutState::SessionStart));
    assert_eq!(play.closed().why, Why::Dropped);
}

#[test]
fn a_session_ends_with_what_sinks_have_to_say() {
    let mut play = Play::ready(&[OnSessionEnd], &[], OFFERS);
    play.quit();
    play.answer(Verdict::SendFirst("XBYE".into()));
    play.hear("250 ok\r\n");
    play.answer(Verdict::Next);
    assert_eq!(play.said(), "XBYE|QUIT|");
    play.hear("221 bye\r\n");
    assert_eq!(play.closed().why, Why::Quit);
}

#[test]
fn what_comes_while_sinks_think_answers_nothing_that_they_say() {
    let mut play = Play::ready(&[OnMessageStart], &[], OFFERS);
    play.transact(1);
    let (mut asking, question) = play.asking();
    asking.feed(b"250 early\r\n");
    let decision =
        Decision { verdict: Verdict::Next, by: None, overlay: question.overlay, failures: Vec::new(), is_heard: true };
    let step = asking.decided(decision, NOW, &mut play.wire);
    play.settle(step);
    assert_eq!(play.closed().why, Why::Violation);
    assert_eq!(play.closed().unsent.as_ref().map(|unsent| unsent.recipients.len()), Some(1));
}

#[test]
fn sinks_think_no_longer_than_servers_wait_whatever_they_are_asked() {
    let mut play = Play::ready(&[OnMessageStart, OnPerRecipient], &[], OFFERS);
    play.transact(2);
    let (asking, question) = play.asking();
    assert_eq!(asking.patience(NOW), OUT_THINKING_MAX);
    let later = NOW.plus(OUT_THINKING_MAX / 2);
    let decision =
        Decision { verdict: Verdict::Next, by: None, overlay: question.overlay, failures: Vec::new(), is_heard: true };
    play.step = Some(asking.decided(decision, later, &mut play.wire));
    let (asking, _) = play.asking();
    assert_eq!(asking.patience(later), OUT_THINKING_MAX / 2, "the server has waited since");
    let step = asking.timed_out(later, &mut play.wire);
    play.settle(step);
    assert_eq!((play.closed().why, play.said().as_str()), (Why::Dropped, ""));
    assert!(play.closed().unsent.is_some());
}

#[test]
fn replies_of_tls_and_login_are_shown_and_not_judged() {
    let mut play = Play::new(&[OnServerResponse], &[]);
    play.hear("220 mx\r\n");
    play.answer(Verdict::Next);
    play.hear("250-mx\r\n250 STARTTLS\r\n");
    // A sink cannot take STARTTLS away either.
    play.answer(Verdict::TreatAs(Reply::new(250, None, "mx")));
    assert!(play.said().ends_with("STARTTLS|"));
    play.hear("454 not now\r\n");
    assert_eq!(play.topic().1, "STARTTLS");
    play.answer(Verdict::TreatAs(Reply::new(220, None, "go")));
    assert_eq!(play.closed().why, Why::Dropped);
}

//! How a dialogue ends, and what sinks know before the content leaves.

use basin_core::event::{
    Decision,
    EventKind::{OnBeforeData, OnPerRecipient, OnServerResponse, OnSessionEnd, OnSessionStart},
    Failure, FailureKind, OutState, Verdict,
};
use basin_core::reply::Reply;
use basin_core::smtp::client::{ClientStep, Why};

use crate::play::Play;
use crate::{NOW, OFFERS, reply};

#[test]
fn whatever_a_session_comes_to_sinks_hear_of_its_quit() {
    let ends = [
        ("554 no\r\n", "", Why::Refused),
        ("220 mx\r\n", "554 no\r\n", Why::Refused),
        ("220 mx\r\n", "250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=1\r\n", Why::LimitReached),
    ];
    for (greeting, answer, why) in ends {
        let mut play = Play::new(&[OnSessionEnd], &[]);
        play.hear(greeting);
        if !answer.is_empty() {
            play.hear(answer);
        }
        if why == Why::LimitReached {
            play.transact(1);
            play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
            play.hear("250 taken\r\n");
        } else if answer == "554 no\r\n" {
            // Whoever does not know EHLO may know HELO.
            play.hear("554 no\r\n");
        }
        play.said();
        assert_eq!(play.topic(), (OnSessionEnd, "QUIT".into()), "{greeting:?}");
        play.answer(Verdict::SendFirst("XBYE".into()));
        play.hear("250 bye\r\n");
        play.answer(Verdict::Next);
        assert_eq!((play.said().as_str(), play.closed().why), ("XBYE|QUIT|", why));
    }
    let mut play = Play::new(&[OnSessionEnd], &[]);
    play.hear("554 no\r\n");
    play.answer(Verdict::DropSession(reply(451)));
    assert_eq!((play.said().as_str(), play.closed().why), ("", Why::Refused), "what it came to stays what it is");
}

#[test]
fn last_words_get_no_reply_that_belongs_to_something_else() {
    let mut play = Play::ready(&[OnSessionEnd], &[], OFFERS);
    play.transact(1);
    play.said();
    // The replies to RCPT and DATA are still to come, so nobody is asked.
    play.hear("530 log in\r\n");
    assert_eq!((play.said().as_str(), play.closed().why), ("QUIT|", Why::Login));
    assert!(play.closed().unsent.is_some());
    let mut play = Play::ready(&[OnSessionEnd], &[], "250 mx\r\n");
    play.transact(1);
    play.said();
    play.hear("530 log in\r\n");
    assert_eq!(play.topic(), (OnSessionEnd, "QUIT".into()));
    play.answer(Verdict::Next);
    assert_eq!((play.said().as_str(), play.closed().why), ("QUIT|", Why::Login));
    assert!(play.closed().unsent.is_some(), "nothing is lost");
}

#[test]
fn a_refusal_that_comes_while_content_leaves_is_judged() {
    let refused = || {
        let mut play = Play::ready(&[OnServerResponse], &["DATA"], "250 mx\r\n");
        play.transact(2);
        for line in ["250 ok\r\n", "250 ok\r\n", "550 no\r\n"] {
            play.hear(line);
            play.answer(Verdict::Next);
        }
        let Some(ClientStep::Read(reading)) = play.step.take() else { panic!("{:?}", play.step) };
        let step = reading.feed(b"354 go\r\n", NOW, &mut play.wire);
        let ClientStep::Ask(asking, question) = step else { panic!("{step:?}") };
        let decision = Decision {
            verdict: Verdict::Next,
            by: None,
            overlay: question.overlay,
            failures: Vec::new(),
            is_heard: true,
        };
        let ClientStep::Send(sending) = asking.decided(decision, NOW, &mut play.wire) else { panic!("no content") };
        play.step = Some(sending.feed(b"552 too much\r\n", NOW));
        let Some(ClientStep::Ask(_, question)) = &play.step else { panic!("{:?}", play.step) };
        let response = question.occasion.response.clone().unwrap();
        assert_eq!((response.keyword.as_str(), response.reply.code(), response.is_last), (".", 552, true));
        play
    };
    let mut play = refused();
    play.answer(Verdict::Next);
    assert_eq!((play.results(), play.closed().why), (vec!["1 550".to_owned(), "0 552".to_owned()], Why::Refused));
    let mut play = refused();
    play.answer(Verdict::TreatAs(reply(452)));
    assert_eq!((play.results(), play.closed().why), (vec!["1 550".to_owned(), "0 452".to_owned()], Why::Refused));
    for verdict in [Verdict::TreatAs(reply(250)), Verdict::ChangeState(OutState::MessageStart)] {
        let mut play = refused();
        play.answer(verdict);
        assert_eq!(play.closed().why, Why::Dropped);
        assert_eq!((play.results(), play.closed().unsent.is_some()), (vec!["1 550".to_owned()], true));
    }
}

#[test]
fn the_message_shows_whom_the_server_took_before_data() {
    let mut play = Play::ready(&[OnBeforeData], &[], OFFERS);
    play.transact(2);
    play.said();
    play.hear("250 ok\r\n550 no\r\n250 ok\r\n");
    let (_, question) = play.asking();
    let message = question.overlay.message.as_ref().unwrap();
    let ids: Vec<_> = message.envelope.recipients.iter().map(|one| one.id).collect();
    assert_eq!(ids, [1]);
}

#[test]
fn a_session_that_is_dropped_is_the_word_of_the_sink_that_dropped_it() {
    let by = |play: &Play| play.closed().by.as_ref().map(|by| (by.to_string(), by.said.as_ref().map(Reply::code)));
    let drop = || Verdict::DropSession(reply(451));
    // Before a command, with the message in hand and without.
    let mut play = Play::new(&[OnSessionStart], &[]);
    play.hear("220 mx\r\n");
    play.answer(drop());
    assert_eq!(by(&play), Some(("sink a at on-session-start".into(), None)));
    let mut play = Play::ready(&[OnPerRecipient], &[], OFFERS);
    play.transact(2);
    play.answer(Verdict::SkipRecipient(reply(550)));
    play.answer(drop());
    assert_eq!((play.by_sinks(), play.closed().unsent.is_some()), (vec!["0 a".to_owned()], true));
    assert_eq!(by(&play), Some(("sink a at on-per-recipient".into(), None)));
    // A reply that lets things go on is not what the sink speaks of, a refusal is.
    for (said, judged) in [("220 mx\r\n", None), ("554 no mail\r\n", Some(554))] {
        let mut play = Play::new(&[OnServerResponse], &[]);
        play.hear(said);
        play.answer(drop());
        assert_eq!(by(&play), Some(("sink a at on-server-response".into(), judged)), "{said}");
    }
    // One that fails, one whose verdict cannot be carried out, and nobody knows which was too slow.
    let failure = Failure {
        kind: FailureKind::Trap,
        detail: String::new(),
        backtrace: Vec::new(),
        stderr: String::new(),
        fuel: 0,
    };
    for (name, failures, words) in [
        (Some("a"), vec![("a".to_owned(), failure)], "sink a at on-session-start, which failed: trap"),
        (None, Vec::new(), "a sink of this server at on-session-start"),
    ] {
        let mut play = Play::new(&[OnSessionStart], &[]);
        play.hear("220 mx\r\n");
        let (asking, question) = play.asking();
        let by_name = name.map(Into::into);
        let decision = Decision { verdict: drop(), by: by_name, overlay: question.overlay, failures, is_heard: true };
        let step = asking.decided(decision, NOW, &mut play.wire);
        play.settle(step);
        assert_eq!(by(&play), Some((words.into(), None)));
    }
    let mut play = Play::new(&[OnSessionStart], &[]);
    play.hear("220 mx\r\n");
    play.answer(Verdict::SendFirst("RSET".into()));
    assert_eq!(by(&play), Some(("sink a at on-session-start".into(), None)));
    // What the server ends by itself is nobody else's word.
    let mut play = Play::new(&[OnSessionStart], &[]);
    play.hear("220 mx\r\n");
    play.answer(Verdict::Next);
    play.hear("421 bye\r\n");
    assert_eq!((play.closed().why, by(&play)), (Why::ServiceClosing, None));
}

#[test]
fn who_has_no_reply_when_a_sink_drops_the_session_is_left_by_the_sink() {
    let at_end = |said: &str| {
        let mut play = Play::ready(&[OnServerResponse], &["MAIL", "RCPT", "DATA", "."], OFFERS);
        play.transact(1);
        for line in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            play.hear(line);
            play.answer(Verdict::Next);
        }
        play.hear(said);
        play.answer(Verdict::DropSession(reply(451)));
        play
    };
    assert_eq!(at_end("554 no\r\n").by_sinks(), ["0 a, not 554"]);
    // Nobody knows whether it took the message.
    let play = at_end("354 more\r\n");
    assert_eq!((play.results(), play.by_sinks()), (vec!["0 451".to_owned()], vec!["0 a".to_owned()]));
}

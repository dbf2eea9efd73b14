use super::*;
use basin_sink::testing;

const LETTER: &str = "From: Ann <ann@client.example>\r\nTo: B <b@basin.example>\r\nSubject: =?utf-8?Q?gr=C3=BC?=\r\n\
    Message-ID: <2@client.example>\r\nReferences: <1@client.example>\r\n\r\nhow are you?\r\n";

fn letter(eml: &str) -> testing::Message {
    let mut message = testing::Message::from_eml(eml);
    message.set_sender("ann@client.example").set_config("text.b@basin.example", "I am away.\nWrite to c.");
    message
}

fn with_field(field: &str) -> testing::Message {
    letter(&format!("{field}\r\n{LETTER}"))
}

fn is_answered(message: &mut testing::Message) -> bool {
    let before = message.submitted().len();
    assert_eq!(message.post_categorize::<AutoReply>(), MessageVerdict::Next);
    message.submitted().len() > before
}

#[test]
fn a_letter_is_answered_to_its_return_path_from_the_null_path() {
    let mut message = letter(LETTER);
    assert!(is_answered(&mut message));
    let answer = message.submitted().remove(0);
    assert_eq!((answer.sender(), answer.recipients()), ("", vec!["ann@client.example"]));
    for (name, value) in [
        ("From", "<b@basin.example>"),
        ("To", "<ann@client.example>"),
        ("Subject", "Auto: =?utf-8?Q?gr=C3=BC?="),
        ("Auto-Submitted", "auto-replied"),
        ("In-Reply-To", "<2@client.example>"),
        ("References", "<1@client.example> <2@client.example>"),
    ] {
        assert_eq!(answer.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(answer.body(), b"I am away.\r\nWrite to c.\r\n");
    assert_eq!(message.content(), LETTER.as_bytes(), "the letter itself stays as it is");
}

#[test]
fn a_sender_is_answered_once_until_the_time_is_over() {
    let mut message = letter(LETTER);
    assert!(is_answered(&mut message));
    message.advance(Duration::from_secs(6 * 24 * 60 * 60));
    let mut second = message.clone();
    // Another event: the test server numbers messages and not events.
    second.set_state(&key_of("b@basin.example", "ann@client.example"), "an earlier event");
    assert!(!is_answered(&mut second));
    assert_eq!(second.counter("not_again"), 1);
    second.set_sender("other@client.example");
    assert!(is_answered(&mut second), "each sender for itself");
    message.advance(Duration::from_secs(2 * 24 * 60 * 60));
    assert!(is_answered(&mut message));
}

#[test]
fn a_repetition_of_the_event_gives_the_same_answer_again() {
    let mut message = letter(LETTER);
    assert!(is_answered(&mut message));
    message.set_raised(1);
    assert!(is_answered(&mut message), "after a crash it may be that the first one never left");
    assert_eq!(message.state_keys().len(), 1);
}

#[test]
fn machines_and_lists_get_no_answer() {
    for field in [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated; x=y",
        "Precedence: Bulk",
        "Precedence: list",
        "List-Id: <l.example>",
        "List-Unsubscribe: <mailto:l@x.example>",
        "X-Auto-Response-Suppress: All",
        "X-Loop: b@basin.example",
        "Content-Type: multipart/report; boundary=x",
    ] {
        let mut message = with_field(field);
        assert!(!is_answered(&mut message), "{field}");
        assert_eq!((message.counter("not_answered"), message.state_keys().len()), (1, 0));
    }
    assert!(is_answered(&mut with_field("Auto-Submitted: no")));
}

#[test]
fn programs_and_the_null_path_get_no_answer() {
    for sender in ["", "MAILER-DAEMON@x.example", "owner-l@x.example", "l-request@x.example", "No-Reply@x.example"] {
        let mut message = letter(LETTER);
        message.set_sender(sender);
        assert!(!is_answered(&mut message), "{sender}");
    }
    let mut message = letter(LETTER);
    message.set_sender("prequest@x.example");
    assert!(is_answered(&mut message));
}

#[test]
fn who_is_not_named_in_the_letter_does_not_answer_it() {
    let elsewhere = LETTER.replace("To: B <b@basin.example>", "To: all@basin.example");
    assert!(!is_answered(&mut letter(&elsewhere)));
    let mut message = letter(&elsewhere);
    message.set_config("also.B@basin.example", "team@basin.example, All@basin.example");
    assert!(is_answered(&mut message), "it is written to under that name, too");
    let mut message = letter(&LETTER.replace("To: B <b@basin.example>", "Cc: x@y.example, B@Basin.example"));
    assert!(is_answered(&mut message));
    let mut message = letter(LETTER);
    message.set_sender("B@basin.example");
    assert!(!is_answered(&mut message), "from the same person");
}

#[test]
fn nobody_else_is_spoken_for() {
    let mut message = letter(LETTER);
    message.set_recipients(&["c@basin.example"]);
    assert!(!is_answered(&mut message));
    message.set_config("text.c@basin.example", "  ");
    assert!(!is_answered(&mut message));
}

#[test]
fn text_beyond_ascii_and_a_subject_of_ones_own_are_encoded() {
    let mut message = letter(LETTER);
    message.set_config("text.b@basin.example", "Bin im Grünen").set_config("subject.b@basin.example", "Grüße");
    assert!(is_answered(&mut message));
    let answer = message.submitted().remove(0);
    assert_eq!(answer.header("Subject").as_deref(), Some("=?utf-8?B?R3LDvMOfZQ==?="));
    assert_eq!(answer.header("Content-Transfer-Encoding").as_deref(), Some("base64"));
    assert_eq!(answer.body(), b"QmluIGltIEdyw7xuZW4NCg==\r\n");
}

#[test]
fn what_is_taken_over_from_the_letter_cannot_carry_more_than_it_is() {
    let many = (0..40).map(|number| format!("<{number}@x.example> ")).collect::<String>();
    let eml = format!("References: {many}<bad id>\r\nSubject: {}\r\n{LETTER}", "long ".repeat(200));
    let mut message = letter(&eml);
    assert!(is_answered(&mut message));
    let answer = message.submitted().remove(0);
    let references = answer.header("References").unwrap_or_default();
    assert!(references.split(' ').count() == 10 && references.ends_with("<39@x.example> <2@client.example>"));
    assert_eq!(answer.header("Subject").as_deref(), Some("Auto: your message"));
    let mut message = letter("To: b@basin.example\r\n\r\n");
    assert!(is_answered(&mut message));
    assert_eq!(message.submitted().remove(0).header("In-Reply-To"), None);
}

use super::*;
use basin_sink::testing;

const TABLE: &str = "gone@basin.example reject left us in May; moving@basin.example defer\n\
    # people of the house\n\
    staff@basin.example only @basin.example, boss@client.example\n\
    intern@basin.example users; old@basin.example to new@basin.example\n\
    partner@away.example accept; @closed.example reject";

fn asked(recipient: &str) -> (CommandVerdict, testing::Message) {
    asked_by("a@client.example", recipient)
}

fn asked_by(sender: &str, recipient: &str) -> (CommandVerdict, testing::Message) {
    let mut message = testing::Message::from_eml("");
    message.set_sender(sender).set_config("table", TABLE).set_response(Reply::new(250, "ok"));
    let verdict = message.command::<RecipientCheck>(&format!("RCPT TO:<{recipient}>"));
    (verdict, message)
}

#[test]
fn an_address_that_is_not_in_the_table_is_not_touched() {
    for address in ["b@basin.example", "", "postmaster", "\"gone@basin.example\"@other.example"] {
        assert_eq!(asked(address).0, CommandVerdict::Next, "{address}");
    }
}

#[test]
fn an_address_is_refused_for_good_or_for_now_with_the_text_of_the_table() {
    assert_eq!(asked("Gone@Basin.example").0, refuse(550, "5.7.1", "left us in May"));
    assert_eq!(asked("moving@basin.example").0, refuse(450, "4.2.1", "this address takes no mail just now"));
    assert_eq!(asked("any@closed.example").0, refuse(550, "5.7.1", "this address takes no mail"));
    assert_eq!(asked("any@sub.closed.example").0, CommandVerdict::Next);
}

#[test]
fn some_addresses_are_for_some_senders_only() {
    let members = refuse(550, "5.7.2", "this address takes mail of its members only");
    assert_eq!(asked_by("a@client.example", "staff@basin.example").0, members);
    assert_eq!(asked_by("", "staff@basin.example").0, members);
    assert_eq!(asked_by("Boss@Client.example", "staff@basin.example").0, CommandVerdict::Next);
    assert_eq!(asked_by("ann@basin.example", "staff@basin.example").0, CommandVerdict::Next);
}

#[test]
fn some_addresses_are_for_users_only() {
    let users = refuse(530, "5.7.0", "this address takes mail of authenticated users only");
    let (verdict, mut message) = asked("intern@basin.example");
    assert_eq!(verdict, users);
    message.set_auth("ann", "PLAIN");
    assert_eq!(message.command::<RecipientCheck>("RCPT TO:<intern@basin.example>"), CommandVerdict::Next);
}

#[test]
fn an_address_can_stand_for_another() {
    let (verdict, message) = asked("old@basin.example");
    assert_eq!((verdict, message.command_path()), (CommandVerdict::Next, Some("new@basin.example")));
}

#[test]
fn what_the_server_would_refuse_is_accepted() {
    let (verdict, mut message) = asked("partner@away.example");
    assert_eq!(verdict, CommandVerdict::Next, "the server takes it anyway");
    message.set_response(Reply::new(550, "relaying denied"));
    assert_eq!(message.command::<RecipientCheck>("RCPT TO:<partner@away.example>"), CommandVerdict::Accept);
    assert_eq!(message.counter("accepted_against_policy"), 1);
}

#[test]
fn a_mistyped_table_is_a_failure_and_not_the_absence_of_a_rule() {
    for table in [
        "gone@basin.example rejct",
        "basin.example reject",
        "a@b.example to",
        "a@b.example only",
        "a@b.example users now",
    ] {
        let mut message = testing::Message::from_eml("");
        message.set_config("table", table);
        assert!(message.try_command::<RecipientCheck>("RCPT TO:<b@basin.example>").is_err(), "{table}");
    }
}

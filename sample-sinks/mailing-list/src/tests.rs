use super::*;
use basin_sink::testing;

const LIST: &str = "team@basin.example";
const SECRET: &str = "a secret of some length";

fn to(address: &str, eml: &str) -> testing::Message {
    let mut message = testing::Message::from_eml(eml.replace('\n', "\r\n"));
    message
        .set_sender("ann@client.example")
        .set_recipients(&[address])
        .set_config("secret", SECRET)
        .set_config("lists", LIST)
        .set_config("members.team@basin.example", "ann@client.example, Bob@away.example")
        .set_config("owner.team@basin.example", "boss@basin.example");
    message
}

fn post(eml: &str) -> (Resolution, testing::Message) {
    let mut message = to("Team@Basin.example", eml);
    (message.categorize::<MailingList>("Team@Basin.example"), message)
}

fn everybody() -> Resolution {
    Resolution::Expand(vec!["ann@client.example".to_owned(), "Bob@away.example".to_owned()])
}

fn nobody() -> Resolution {
    Resolution::Expand(Vec::new())
}

/// Asks `team-request`, and returns subject and text of the answer.
fn request(message: &mut testing::Message, subject: &str) -> Option<(String, String)> {
    let (sender, state) = (message.sender().to_owned(), message.clone());
    let mut asked = to("team-request@basin.example", &format!("Message-ID: <1@x.example>\nSubject: {subject}\n\n\n"));
    asked.set_sender(&sender);
    // Each request is an event of its own, long after the one before.
    for key in state.state_keys().into_iter().filter(|key| !key.starts_with("asked")) {
        asked.set_state(key, state.state(key).unwrap_or_default());
    }
    assert_eq!(asked.categorize::<MailingList>("team-request@basin.example"), nobody());
    let answer = asked.submitted().pop();
    *message = asked;
    let answer = answer?;
    assert_eq!((answer.sender(), answer.recipients()), ("", vec![sender.as_str()]));
    assert_eq!(answer.header("Auto-Submitted").as_deref(), Some("auto-replied"));
    assert_eq!(answer.header("In-Reply-To").as_deref(), Some("<1@x.example>"));
    Some((answer.header("Subject")?, String::from_utf8_lossy(answer.body()).into_owned()))
}

/// Says of all recipients that they came out of the list, as an expansion does.
struct Through;

impl OnPostCategorize for Through {
    fn on_post_categorize(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        for mut recipient in message.recipients().filter(|recipient| !recipient.address().starts_with("direct")) {
            recipient.set_property("list", LIST)?;
        }
        Ok(MessageVerdict::Next)
    }
}

fn sent_out(recipients: &[&str]) -> testing::Message {
    let mut message = to(LIST, "List-Id: <other.example>\nSubject: hi\n\nhello\n");
    message.set_recipients(recipients);
    assert_eq!(message.post_categorize::<Through>(), MessageVerdict::Next);
    assert_eq!(message.post_categorize::<MailingList>(), MessageVerdict::Next);
    message
}

#[test]
fn the_server_takes_the_addresses_of_a_list_and_no_others() {
    for (address, verdict) in [
        (LIST, CommandVerdict::Accept),
        ("TEAM-request@basin.example", CommandVerdict::Accept),
        ("team-owner@basin.example", CommandVerdict::Accept),
        ("team-bounces@basin.example", CommandVerdict::Accept),
        ("team-bounces+0123456789abcdef@basin.example", CommandVerdict::Next),
        ("team-other@basin.example", CommandVerdict::Next),
        ("team@away.example", CommandVerdict::Next),
        ("tea@basin.example", CommandVerdict::Next),
    ] {
        let mut message = to(LIST, "");
        message.set_response(Reply::new(550, "no such user"));
        assert_eq!(message.command::<MailingList>(&format!("RCPT TO:<{address}>")), verdict, "{address}");
    }
}

#[test]
fn members_come_in_the_place_of_the_list() {
    let (resolution, message) = post("Subject: hi\n\nhello\n");
    assert_eq!(resolution, everybody());
    assert_eq!(message.counter("posts"), 1);
    let mut other = to("user@basin.example", "");
    assert_eq!(other.categorize::<MailingList>("user@basin.example"), Resolution::Next);
    let mut owner = to("team-owner@basin.example", "");
    let expected = Resolution::Expand(vec!["boss@basin.example".to_owned()]);
    assert_eq!(owner.categorize::<MailingList>("team-owner@basin.example"), expected);
}

#[test]
fn strangers_are_refused_where_only_members_write() {
    let mut message = to(LIST, "\nhi\n");
    message.set_sender("eve@client.example");
    let refused = refuse(550, "5.7.2", "only members write to this list");
    assert_eq!(message.categorize::<MailingList>(LIST), refused);
    message.set_config("posting.team@basin.example", "anyone");
    assert_eq!(message.categorize::<MailingList>(LIST), everybody());
}

#[test]
fn what_a_program_sent_and_what_the_list_sent_before_goes_to_nobody() {
    for eml in
        ["Auto-Submitted: auto-replied\n\n", "List-Id: Team <team.basin.example>\n\n", "X-Loop: Team@basin.example\n\n"]
    {
        assert_eq!(post(eml).0, nobody(), "{eml}");
    }
    let mut message = to(LIST, "\n");
    message.set_sender("");
    assert_eq!(message.categorize::<MailingList>(LIST), nobody());
    assert_eq!(message.counter("dropped"), 1);
    assert_eq!(post("Auto-Submitted: no\nList-Id: <other.basin.example>\n\n").0, everybody());
}

#[test]
fn each_member_gets_the_fields_and_a_return_path_of_its_own() {
    let message = sent_out(&["a@x.example", "b@x.example", "c@x.example"]);
    let mut seen = vec![(message.sender().to_owned(), message.recipients().concat())];
    assert_eq!(message.headers("List-Id"), ["<team.basin.example>"]);
    assert_eq!(message.header("X-Loop").as_deref(), Some(LIST));
    for fork in message.forks() {
        seen.push((fork.sender().to_owned(), fork.recipients().concat()));
        assert_eq!(fork.header("List-Id").as_deref(), Some("<team.basin.example>"));
        let unsubscribe = fork.header("List-Unsubscribe");
        assert_eq!(unsubscribe.as_deref(), Some("<mailto:team-request@basin.example?subject=unsubscribe>"));
    }
    let mut people: Vec<_> = seen.iter().map(|(_, person)| person.as_str()).collect();
    people.sort_unstable();
    assert_eq!(people, ["a@x.example", "b@x.example", "c@x.example"], "nobody is lost or doubled");
    let mut paths: Vec<_> = seen.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 3);
    assert!(
        paths.iter().all(|path| path.starts_with("team-bounces+") && path.ends_with("@basin.example")),
        "{paths:?}"
    );
}

#[test]
fn who_was_written_to_directly_gets_the_letter_as_it_was() {
    let message = sent_out(&["a@x.example", "direct@x.example", "b@x.example"]);
    assert_eq!((message.sender(), message.recipients()), ("ann@client.example", vec!["direct@x.example"]));
    assert_eq!(message.header("List-Id").as_deref(), Some("<other.example>"));
    assert_eq!(message.forks().len(), 2);
    assert!(message.forks().iter().all(|fork| fork.header("List-Id").as_deref() == Some("<team.basin.example>")));
}

#[test]
fn people_join_and_leave_with_an_address_that_they_can_read() {
    let mut message = to(LIST, "");
    message.set_sender("new@client.example");
    let (confirm, _) = request(&mut message, "Subscribe").expect("an answer");
    assert!(confirm.starts_with("confirm "), "{confirm}");
    let (refused, _) = request(&mut message, "confirm 0123456789abcdef").expect("an answer");
    assert!(refused.ends_with("not done"), "{refused}");
    let (welcome, _) = request(&mut message, &format!("Re: {confirm}")).expect("an answer");
    assert_eq!(welcome, "Welcome to team@basin.example");
    message.set_recipients(&[LIST]);
    let mut all = vec!["ann@client.example".to_owned(), "Bob@away.example".to_owned(), "new@client.example".to_owned()];
    assert_eq!(message.categorize::<MailingList>(LIST), Resolution::Expand(all.clone()));

    let (other, _) = request(&mut message, "unsubscribe").expect("an answer");
    assert_ne!(other, confirm, "one proof is good for one thing");
    request(&mut message, &format!("AW: {other}")).expect("an answer");
    all.pop();
    message.set_recipients(&[LIST]).set_sender("ann@client.example");
    assert_eq!(message.categorize::<MailingList>(LIST), Resolution::Expand(all));
    // Whom the operator named can leave, too.
    let (confirm, _) = request(&mut message, "unsubscribe").expect("an answer");
    request(&mut message, &confirm).expect("an answer");
    message.set_recipients(&[LIST]).set_sender("Bob@away.example");
    assert_eq!(message.categorize::<MailingList>(LIST), Resolution::Expand(vec!["Bob@away.example".to_owned()]));
}

#[test]
fn an_address_that_was_just_answered_is_not_answered_again() {
    let mut message = to("team-request@basin.example", "Subject: help\n\n");
    assert_eq!(message.categorize::<MailingList>("team-request@basin.example"), nobody());
    assert_eq!(message.submitted().len(), 1);
    // The same event once more is a repetition after a crash, whose answer may never have left.
    assert_eq!(message.categorize::<MailingList>("team-request@basin.example"), nobody());
    assert_eq!(message.submitted().len(), 2);
    let asked = message.state_keys().first().map(|key| (*key).to_owned()).expect("it is remembered");
    message.set_state(&asked, "another event");
    assert_eq!(message.categorize::<MailingList>("team-request@basin.example"), nobody());
    assert_eq!(message.submitted().len(), 2);
}

#[test]
fn programs_and_lists_are_not_answered_and_a_closed_list_says_so() {
    for (sender, eml) in
        [("", "\n"), ("ann@x.example", "Auto-Submitted: auto-replied\n\n"), ("team-owner@basin.example", "\n")]
    {
        let mut message = to("team-request@basin.example", eml);
        message.set_sender(sender);
        assert_eq!(message.categorize::<MailingList>("team-request@basin.example"), nobody());
        assert!(message.submitted().is_empty(), "{sender}");
    }
    let mut message = to("team-request@basin.example", "\nsubscribe\n");
    message.set_config("subscription.team@basin.example", "closed");
    assert_eq!(message.categorize::<MailingList>("team-request@basin.example"), nobody());
    assert_eq!(message.submitted()[0].header("Subject").as_deref(), Some("team@basin.example is closed"));
}

const REPORT: &str = "Content-Type: multipart/report; report-type=delivery-status; boundary=r\n\n--r\n\nsorry\n--r\n\
    Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: rfc822; x@x\nAction: failed\n\
    Status: 5.1.1\n\n--r--\n";

#[test]
fn bounces_are_counted_and_suspend_a_member_at_the_limit() {
    let return_path = {
        let out = sent_out(&["Bob@away.example"]);
        out.sender().to_owned()
    };
    let mut message = to(&return_path, REPORT);
    message.set_sender("").set_config("bounce-limit", "1");
    assert_eq!(message.categorize::<MailingList>(&return_path), nobody());
    assert_eq!((message.counter("bounces"), message.counter("suspended")), (1, 1));
    let told = message.submitted().remove(0);
    assert_eq!((told.sender(), told.recipients()), ("", vec!["boss@basin.example"]));
    assert!(String::from_utf8_lossy(told.body()).contains("Bob@away.example"));
    message.set_recipients(&[LIST]).set_sender("ann@client.example");
    let rest = Resolution::Expand(vec!["ann@client.example".to_owned()]);
    let mut letter = to(LIST, "\nhi\n");
    for key in message.state_keys() {
        letter.set_state(key, message.state(key).unwrap_or_default());
    }
    assert_eq!(letter.categorize::<MailingList>(LIST), rest);
}

#[test]
fn the_same_report_counts_once_and_what_is_no_failure_not_at_all() {
    let return_path = sent_out(&["Bob@away.example"]).sender().to_owned();
    let mut message = to(&return_path, REPORT);
    message.set_sender("").set_config("bounce-limit", "2");
    for _ in 0..3 {
        assert_eq!(message.categorize::<MailingList>(&return_path), nobody());
    }
    assert_eq!(message.counter("suspended"), 0, "a repetition is not a second bounce");
    for (sender, eml) in [
        ("", REPORT.replace("failed", "delayed")),
        ("", "Auto-Submitted: auto-replied\n\nI am away\n".to_owned()),
        ("eve@client.example", REPORT.to_owned()),
    ] {
        let mut message = to(&return_path, &eml);
        message.set_sender(sender).set_config("bounce-limit", "1");
        assert_eq!(message.categorize::<MailingList>(&return_path), nobody());
        assert_eq!(message.counter("bounces"), 0, "{eml}");
    }
}

#[test]
fn settings_that_cannot_be_meant_are_a_failure() {
    for (key, value) in [
        ("secret", "short"),
        ("lists", "team"),
        ("posting.team@basin.example", "member"),
        ("subscription.team@basin.example", "yes"),
    ] {
        let mut message = to(LIST, "");
        message.set_config(key, value);
        assert!(message.try_categorize::<MailingList>(LIST).is_err(), "{key}");
    }
}

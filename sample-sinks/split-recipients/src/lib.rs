//! One message for each recipient, with a field of its own that names it.
//!
//! It shows `fork`: the message and its forks are written in one step with the stage that they have reached, so that a
//! crash at any moment leaves either the message as it was or all of the new ones, and nobody is lost or doubled.

use basin_sink::prelude::*;

/// Field that names the recipient where the configuration has no `header`.
const FIELD: &str = "X-Envelope-To";

/// The sink.
#[derive(Debug)]
pub struct SplitRecipients;

impl OnSubmission for SplitRecipients {
    fn on_submission(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        split(message)
    }
}

impl OnPostCategorize for SplitRecipients {
    fn on_post_categorize(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        split(message)
    }
}

fn split(message: &mut Message) -> Result<MessageVerdict> {
    let field = config::get_or("header", FIELD);
    // Those that a rule with `rcpt to` did not select stay together.
    let mut chosen: Vec<Recipient> = message.matched_recipients().collect();
    let stays = if chosen.len() == message.recipient_count() as usize { chosen.pop() } else { None };
    for recipient in chosen {
        let mut fork = message.fork(&[recipient.id()])?;
        fork.headers_mut().set(&field, &recipient.address())?;
        metrics::count("split");
    }
    // A fork is a copy of what the message is at that moment, so the last one gets its field when all others have left.
    if let Some(last) = stays {
        message.headers_mut().set(&field, &last.address())?;
    }
    Ok(MessageVerdict::Next)
}

basin_sink::export!(SplitRecipients: OnSubmission, OnPostCategorize);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    fn message(recipients: &[&str]) -> testing::Message {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        message.set_recipients(recipients);
        message
    }

    /// Everybody who gets a message, with what its field says.
    fn copies(message: &testing::Message) -> Vec<(Vec<String>, String)> {
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        let mut all = vec![(owned(message.recipients()), message.header(FIELD).unwrap_or_default())];
        all.extend(message.forks().iter().map(|f| (owned(f.recipients()), f.header(FIELD).unwrap_or_default())));
        all.sort();
        all
    }

    #[test]
    fn each_recipient_gets_one_message_that_names_it_alone() {
        let people = ["a@basin.example", "b@basin.example", "c@away.example"];
        let mut message = message(&people);
        assert_eq!(message.post_categorize::<SplitRecipients>(), MessageVerdict::Next);
        let expected = people.map(|person| (vec![person.to_owned()], person.to_owned()));
        assert_eq!(copies(&message), expected);
        assert!(message.forks().iter().all(|fork| fork.body() == b"body\r\n" && fork.sender() == "a@client.example"));
        assert_eq!(message.counter("split"), 2);
    }

    #[test]
    fn a_message_for_one_is_not_split_and_a_second_time_changes_nothing() {
        let mut message = message(&["b@basin.example"]);
        for _ in 0..2 {
            assert_eq!(message.submission::<SplitRecipients>(), MessageVerdict::Next);
            assert_eq!(message.headers(FIELD), ["b@basin.example"]);
            assert!(message.forks().is_empty());
        }
    }

    #[test]
    fn what_a_sender_wrote_into_the_field_is_replaced() {
        let mut message = testing::Message::from_eml("X-Envelope-To: boss@basin.example\r\n\r\n");
        message.set_recipients(&["b@basin.example", "c@basin.example"]);
        assert_eq!(message.submission::<SplitRecipients>(), MessageVerdict::Next);
        assert_eq!(message.headers(FIELD), ["c@basin.example"]);
        assert_eq!(
            message.forks().iter().filter_map(|fork| fork.header(FIELD)).collect::<Vec<_>>(),
            ["b@basin.example"]
        );
    }

    #[test]
    fn the_operator_names_the_field() {
        let mut message = message(&["b@basin.example"]);
        message.set_config("header", "X-For");
        assert_eq!(message.submission::<SplitRecipients>(), MessageVerdict::Next);
        assert_eq!(message.header("X-For").as_deref(), Some("b@basin.example"));
    }
}

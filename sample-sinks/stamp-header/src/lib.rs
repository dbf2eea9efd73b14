//! Adds a header field to every message before it is accepted.
//!
//! The smallest sink that changes something: one event, one edit, two configuration keys.

use basin_sink::prelude::*;

/// Name of the field where the configuration has no `name`.
const FIELD_NAME: &str = "X-Basin-Sink";

/// The sink.
#[derive(Debug)]
pub struct StampHeader;

impl OnEndOfData for StampHeader {
    fn on_end_of_data(session: &Session, message: &mut Message, call: &Call) -> Result<DataVerdict> {
        let name = config::get_or("name", FIELD_NAME);
        let value =
            config::get("value").unwrap_or_else(|| format!("{} (on-end-of-data, {})", call.sink(), session.listener()));
        // After the others: a field in front of the Received lines would look as if a later server had written
        // it (RFC 5321 §4.4).
        message.headers_mut().append(&name, &value)?;
        log::debug!("stamped {} with {name}", message.id());
        Ok(DataVerdict::Next)
    }
}

basin_sink::export!(StampHeader: OnEndOfData);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    fn message() -> testing::Message {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        message.set_listener("submission").set_sink("stamp-header");
        message
    }

    #[test]
    fn the_field_names_the_sink_and_the_listener() {
        let mut message = message();
        assert_eq!(message.end_of_data::<StampHeader>(), DataVerdict::Next);
        assert_eq!(message.header("X-Basin-Sink").as_deref(), Some("stamp-header (on-end-of-data, submission)"));
    }

    #[test]
    fn the_operator_chooses_name_and_text() {
        let mut message = message();
        message.set_config("name", "X-Seen-By").set_config("value", "mx1");
        assert_eq!(message.end_of_data::<StampHeader>(), DataVerdict::Next);
        assert_eq!(message.header("X-Seen-By").as_deref(), Some("mx1"));
        assert_eq!(message.header("X-Basin-Sink"), None);
    }

    #[test]
    fn the_rest_of_the_message_stays_as_it_was() {
        let mut message = message();
        assert_eq!(message.end_of_data::<StampHeader>(), DataVerdict::Next);
        assert_eq!(message.header("Subject").as_deref(), Some("hi"));
        assert_eq!(message.body(), b"body\r\n");
    }

    #[test]
    fn a_name_that_is_no_header_name_is_a_failure_and_not_a_wrong_message() {
        let mut message = message();
        message.set_config("name", "two words");
        assert!(message.try_end_of_data::<StampHeader>().is_err());
    }
}

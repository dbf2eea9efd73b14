//! {{name}}: says what this sink is for.

use basin_sink::prelude::*;

/// The sink. Each event that it answers is a trait; `export!` below names them.
pub struct Sink;

impl OnEndOfData for Sink {
    fn on_end_of_data(_session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        // `basin sink set {{name}} forbidden=lottery` changes the word without a new build.
        let forbidden = config::get_or("forbidden", "lottery").to_lowercase();
        let subject = message.subject().unwrap_or_default();
        if subject.to_lowercase().contains(&forbidden) {
            log::info!("refused {}", message.id());
            return Ok(refuse(550, "5.7.1", "not wanted here"));
        }
        message.headers_mut().append("X-Checked-By", "{{name}}")?;
        Ok(DataVerdict::Next)
    }
}

basin_sink::export!(Sink: OnEndOfData);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    #[test]
    fn an_ordinary_message_passes_with_a_mark() {
        let mut message = testing::Message::from_eml("Subject: hello\r\n\r\nHow are you?\r\n");
        assert_eq!(message.end_of_data::<Sink>(), DataVerdict::Next);
        assert_eq!(message.header("X-Checked-By").as_deref(), Some("{{name}}"));
    }

    #[test]
    fn a_forbidden_subject_is_refused() {
        let mut message = testing::Message::from_eml("Subject: LOTTERY winner\r\n\r\n");
        assert_eq!(message.end_of_data::<Sink>(), refuse(550, "5.7.1", "not wanted here"));
    }
}

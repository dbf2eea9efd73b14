//! What kind of message something is, by its header and by what this server knows of it.

use core::fmt;

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::{Message, Origin};

/// What kind of message something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageClass {
    /// Somebody wrote it, or nothing says otherwise.
    Normal,
    /// Says what became of a message (RFC 3464 §2).
    DeliveryReport,
    /// This server's own report that something failed. What others report stands in their bodies alone.
    FailureReport,
    /// A machine wrote it (RFC 3834 §5).
    AutoReply,
}

impl fmt::Display for MessageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::DeliveryReport => "delivery-report",
            Self::FailureReport => "failure-report",
            Self::AutoReply => "auto-reply",
        })
    }
}

impl Message {
    /// What kind of message this is. Of others' messages it is what their header says, so forged as easily.
    pub fn class(&self) -> MessageClass {
        match self.class_by_origin() {
            MessageClass::Normal if self.is_report() => MessageClass::DeliveryReport,
            MessageClass::Normal if self.is_automatic() => MessageClass::AutoReply,
            class @ (MessageClass::Normal
            | MessageClass::DeliveryReport
            | MessageClass::FailureReport
            | MessageClass::AutoReply) => class,
        }
    }

    /// As [`Message::class`], without a look at the header.
    pub fn class_by_origin(&self) -> MessageClass {
        match self.arrival.origin {
            Origin::Notification if self.arrival.vouched.is_failure_report => MessageClass::FailureReport,
            Origin::Notification => MessageClass::DeliveryReport,
            Origin::Smtp | Origin::Pickup | Origin::Sink(_) => MessageClass::Normal,
        }
    }

    // RFC 6522 §3, RFC 3464 §2.
    fn is_report(&self) -> bool {
        let Some(field) = self.header.first("Content-Type") else { return false };
        // The parser wants the line end.
        let line = field.value() + "\n";
        let HeaderValue::ContentType(kind) = MessageStream::new(line.as_bytes()).parse_content_type() else {
            return false;
        };
        let is_word = |word: Option<&str>, wanted: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        is_word(Some(kind.ctype()), "multipart")
            && is_word(kind.subtype(), "report")
            && is_word(kind.attribute("report-type"), "delivery-status")
    }

    // RFC 3834 §5: whatever it says but "no" was not written by a person for this occasion.
    fn is_automatic(&self) -> bool {
        self.header.first("Auto-Submitted").is_some_and(|field| {
            let value = field.value();
            let word = value.split([';', '(']).next().unwrap_or_default().trim();
            !word.is_empty() && !word.eq_ignore_ascii_case("no")
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mail::{Arrival, Envelope, HeaderBlock, MessageId, Vouched};
    use crate::time::Timestamp;

    fn class(origin: Origin, is_failure_report: bool, header: &str) -> String {
        let arrival = Arrival {
            origin,
            at: Timestamp::default(),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: 0,
            vouched: Vouched { is_failure_report, ..Vouched::default() },
        };
        let mut message = Message::new(MessageId::parse("m1").expect("is one"), arrival, Envelope::new(None));
        message.header = HeaderBlock::parse(&Bytes::from(header.to_owned())).expect("is one").into();
        message.class().to_string()
    }

    #[test]
    fn what_a_machine_wrote_is_told_from_what_a_person_wrote() {
        for (header, expected) in [
            ("Subject: a\r\n", "normal"),
            ("Auto-Submitted: no\r\n", "normal"),
            ("Auto-Submitted: NO; x=y\r\n", "normal"),
            ("Auto-Submitted: no (a comment)\r\n", "normal"),
            ("Auto-Submitted: \r\n", "normal"),
            ("Auto-Submitted: auto-replied\r\n", "auto-reply"),
            ("Auto-Submitted: Auto-Generated; x=y\r\n", "auto-reply"),
        ] {
            assert_eq!(class(Origin::Smtp, false, header), expected, "{header:?}");
        }
    }

    #[test]
    fn reports_of_others_are_known_by_their_media_type() {
        for (header, expected) in [
            ("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n", "delivery-report"),
            ("Content-Type: Multipart/Report;\r\n\tReport-Type=\"Delivery-Status\"; boundary=b\r\n", "delivery-report"),
            ("Content-Type: multipart/report; report-type=disposition-notification\r\n", "normal"),
            ("Content-Type: multipart/mixed; report-type=delivery-status\r\n", "normal"),
            ("Content-Type: ;;;\r\n", "normal"),
            (
                "Auto-Submitted: auto-replied\r\nContent-Type: multipart/report; report-type=delivery-status\r\n",
                "delivery-report",
            ),
        ] {
            assert_eq!(class(Origin::Smtp, false, header), expected, "{header:?}");
        }
    }

    #[test]
    fn of_its_own_reports_the_server_knows_which_tell_a_failure() {
        assert_eq!(class(Origin::Notification, true, "Subject: a\r\n"), "failure-report");
        assert_eq!(class(Origin::Notification, false, "Subject: a\r\n"), "delivery-report");
        // Nobody else can say so of a message of his.
        assert_eq!(class(Origin::Smtp, true, "Subject: a\r\n"), "normal");
    }
}

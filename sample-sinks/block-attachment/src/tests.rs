use super::*;
use basin_sink::testing;

/// A message with one attachment of that name and content, in quoted-printable.
fn with_attachment(name: &str, content: &[u8]) -> testing::Message {
    let encoded: String = content.iter().map(|octet| format!("={octet:02X}=\r\n")).collect();
    testing::Message::from_eml(format!(
        "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nsee the file\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: quoted-printable\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{encoded}\r\n--b--\r\n"
    ))
}

fn refused(name: &str, why: &str) -> DataVerdict {
    refuse(550, "5.7.1", &format!("attachment {name}: {why}"))
}

#[test]
fn an_innocent_attachment_passes() {
    assert_eq!(with_attachment("notes.txt", b"hello").end_of_data::<BlockAttachment>(), DataVerdict::Next);
}

#[test]
fn a_message_without_attachments_passes() {
    let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nMZ is how programs begin\r\n");
    assert_eq!(message.end_of_data::<BlockAttachment>(), DataVerdict::Next);
}

#[test]
fn a_forbidden_extension_is_refused_with_the_name() {
    for name in ["invoice.exe", "invoice.pdf.EXE", "invoice.exe. ."] {
        let verdict = with_attachment(name, b"x").end_of_data::<BlockAttachment>();
        assert_eq!(verdict, refused(name, "files of this type are not accepted"), "{name}");
    }
}

#[test]
fn the_operator_chooses_the_extensions() {
    let mut message = with_attachment("invoice.exe", b"x");
    message.set_config("extensions", ".zip, iso");
    assert_eq!(message.end_of_data::<BlockAttachment>(), DataVerdict::Next);
    let mut message = with_attachment("disk.iso", b"x");
    message.set_config("extensions", ".zip, iso");
    assert_eq!(message.end_of_data::<BlockAttachment>(), refused("disk.iso", "files of this type are not accepted"));
}

#[test]
fn a_program_under_another_name_is_refused() {
    let mut windows = vec![0; 0x84];
    windows[..2].copy_from_slice(b"MZ");
    windows[0x3c] = 0x80;
    windows[0x80..].copy_from_slice(b"PE\0\0");
    for program in [windows.as_slice(), b"\x7fELF\x02"] {
        let verdict = with_attachment("holiday.jpg", program).end_of_data::<BlockAttachment>();
        assert_eq!(verdict, refused("holiday.jpg", "it is a program under another name"));
    }
}

#[test]
fn a_size_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut message = with_attachment("notes.txt", &[b'x'; 65]);
    message.set_config("max-size", "64B");
    assert_eq!(message.end_of_data::<BlockAttachment>(), refused("notes.txt", "it is too large"));
    let mut message = with_attachment("notes.txt", &[b'x'; 64]);
    message.set_config("max-size", "64B");
    assert_eq!(message.end_of_data::<BlockAttachment>(), DataVerdict::Next);
}

#[test]
fn a_mistyped_limit_is_a_failure_and_not_the_absence_of_a_limit() {
    let mut message = with_attachment("notes.txt", b"x");
    message.set_config("max-size", "ten");
    assert!(message.try_end_of_data::<BlockAttachment>().is_err());
}

#[test]
fn a_name_cannot_write_into_the_reply() {
    assert_eq!(shown("a\r\n250 ok\u{202e}exe.txt"), "a??250 ok?exe.txt");
    assert_eq!(shown(&"x".repeat(500)).len(), SHOWN_CHARACTERS_MAX);
}

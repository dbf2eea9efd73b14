//! What a sink can do to a message, against the server in memory.

use basin_sink::prelude::*;
use basin_sink::testing;
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom, Write as _};

/// Runs some code as the sink of an event that allows all edits.
macro_rules! submit {
    ($message:ident, |$inner:ident| $body:block) => {{
        struct Sink;
        impl OnSubmission for Sink {
            fn on_submission($inner: &mut Message, _call: &Call) -> Result<MessageVerdict> {
                $body
                Ok(MessageVerdict::Next)
            }
        }
        $message.try_submission::<Sink>()
    }};
}

fn message() -> testing::Message {
    testing::Message::from_eml("Received: one\nSubject: hi\n there\nX-A: 1\nx-a: 2\n\nbody\n")
}

#[test]
fn fields_are_unfolded_counted_and_changed_in_place() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        assert_eq!(message.header("subject").as_deref(), Some("hi there"));
        assert_eq!(message.headers().all("X-A"), ["1", "2"]);
        assert_eq!(message.headers().iter().len(), 4);
        let mut headers = message.headers_mut();
        headers.prepend("X-First", "f")?;
        headers.set("X-A", "3")?;
        headers.insert(1, "X-Second", "s")?;
        assert_eq!(headers.remove("Received")?, 1);
        assert_eq!(headers.remove("Received")?, 0);
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    assert_eq!(t.header_block(), b"X-First: f\r\nX-Second: s\r\nSubject: hi\r\n there\r\nX-A: 3\r\n");
    assert_eq!(t.body(), b"body\r\n");
}

#[test]
fn a_value_cannot_bring_a_second_field() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        for value in ["a\r\nBcc: x", "a\nb", "a\0b"] {
            assert!(matches!(message.headers_mut().append("X-B", value), Err(Error::Invalid(_))));
        }
        assert!(matches!(message.headers_mut().append("X B", "v"), Err(Error::Invalid(_))));
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    assert_eq!(t.content(), message().content());
}

#[test]
fn a_call_that_fails_leaves_nothing_but_its_log() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        message.headers_mut().append("X-B", "v")?;
        message.set_sender("")?;
        log::warn!("about to fail");
        if message.sender().is_empty() {
            return Err(Failure::new("on purpose"));
        }
    });
    assert_eq!(verdict.map_err(|failure| failure.to_string()), Err("on purpose".to_owned()));
    assert_eq!(t.content(), message().content());
    assert_eq!(t.sender(), "a@client.example");
    assert_eq!(t.log(), [(log::Level::Warn, "about to fail".to_owned())]);
}

#[test]
fn a_large_body_is_read_in_chunks_by_lines_and_from_anywhere() {
    let mut body = "0123456789abcde\r\n".repeat(10_000);
    body.push_str("end");
    let mut t = testing::Message::from_eml(format!("Subject: hi\r\n\r\n{body}"));
    let verdict = submit!(t, |message| {
        let mut whole = Vec::new();
        assert_eq!(message.body().read_to_end(&mut whole)?, 170_003);
        assert_eq!(message.body().lines().count(), 10_001);
        let mut reader = message.body();
        let mut last = String::new();
        reader.seek(SeekFrom::End(-3))?;
        reader.read_to_string(&mut last)?;
        assert_eq!(last, "end");
        assert!(reader.seek(SeekFrom::Current(-1_000_000)).is_err());
        assert_eq!(message.content().size(), message.size());
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
}

#[test]
fn a_new_body_takes_the_place_of_the_old_one() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        let mut body = message.new_body()?;
        std::io::copy(&mut message.body(), &mut body)?;
        body.write_all(b"-- \r\nchecked\r\n")?;
        message.replace_body(body)?;
        assert_eq!(message.body_size(), 20);
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    assert_eq!(t.body(), b"body\r\n-- \r\nchecked\r\n");
}

#[test]
fn recipients_are_added_once_removed_and_failed_one_by_one() {
    let mut t = message();
    t.set_recipients(&["b@basin.example", "c@basin.example", "d@basin.example"]);
    let verdict = submit!(t, |message| {
        assert_eq!(message.add_recipient("b@basin.example").err(), Some(Error::Duplicate));
        assert!(matches!(message.add_recipient("nobody").err(), Some(Error::Invalid(_))));
        message.add_recipient("e@basin.example")?.set_notify(&["NEVER"])?;
        for mut recipient in message.recipients() {
            match recipient.address().as_str() {
                "b@basin.example" => recipient.remove()?,
                "c@basin.example" => recipient.fail(&Reply::new(550, "no").status("5.1.1"))?,
                "d@basin.example" => recipient.set_address("f@other.example")?,
                _ => assert_eq!(recipient.notify(), ["NEVER"]),
            }
        }
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    assert_eq!(t.recipients(), ["c@basin.example", "f@other.example", "e@basin.example"]);
    assert_eq!(t.outcome("c@basin.example"), Some("failed"));
    assert_eq!(t.recipient_reply("c@basin.example").map(|reply| reply.code), Some(550));
}

#[test]
fn a_fork_takes_its_recipients_and_a_copy_of_the_rest() {
    let mut t = message();
    t.set_recipients(&["b@basin.example", "c@basin.example"]);
    let verdict = submit!(t, |message| {
        let first = message.recipient(0).ok_or(Error::NotFound)?.id();
        let mut fork = message.fork(&[first])?;
        fork.headers_mut().append("X-Fork", "yes")?;
        assert!(message.fork(&[]).is_err());
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    assert_eq!(t.recipients(), ["c@basin.example"]);
    assert_eq!(t.header("X-Fork"), None);
    let [fork] = &t.forks()[..] else { panic!("one fork") };
    assert_eq!(fork.recipients(), ["b@basin.example"]);
    assert_eq!(fork.header("X-Fork").as_deref(), Some("yes"));
}

#[test]
fn a_new_message_waits_until_the_call_has_succeeded() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        let mut copy = NewMessage::copy_of(message, "", &["archive@basin.example"])?;
        copy.header("X-Copy", "1")?;
        copy.submit()?;
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
    let [copy] = &t.submitted()[..] else { panic!("one message") };
    assert_eq!((copy.sender(), copy.body()), ("", &b"body\r\n"[..]));
    assert_eq!(copy.header("X-Copy").as_deref(), Some("1"));
}

#[test]
fn parts_are_decoded() {
    let mut t = testing::Message::from_eml(
        "From: Ann <ann@client.example>\nSubject: =?utf-8?q?h=C3=A9?=\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=b\n\n\
         --b\nContent-Type: multipart/alternative; boundary=c\n\n\
         --c\nContent-Type: text/plain\n\nplain\n--c\nContent-Type: text/html\n\n<p>html</p>\n--c--\n\
         --b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\"a.pdf\"\n\
         Content-Transfer-Encoding: base64\n\naGVsbG8=\n--b--\n",
    );
    let verdict = submit!(t, |message| {
        assert_eq!(message.subject().as_deref(), Some("hé"));
        assert_eq!(message.from_address().as_deref(), Some("ann@client.example"));
        let seen: Vec<_> =
            message.parts().map(|part| (part.path(), part.content_type(), part.is_attachment())).collect();
        assert_eq!(
            seen,
            [
                ("1.1".to_owned(), "text/plain".to_owned(), false),
                ("1.2".to_owned(), "text/html".to_owned(), false),
                ("2".to_owned(), "application/pdf".to_owned(), true),
            ]
        );
        assert_eq!(message.text_body().as_deref().map(str::trim), Some("plain"));
        assert_eq!(message.html_body().as_deref().map(str::trim), Some("<p>html</p>"));
        let file = message.part(2).ok_or(Error::NotFound)?;
        let mut content = String::new();
        file.reader().read_to_string(&mut content)?;
        assert_eq!((file.file_name().as_deref(), content.as_str(), file.size()), (Some("a.pdf"), "hello", 5));
        let (start, length) = file.raw_range();
        let mut raw = vec![0; usize::try_from(length)?];
        let mut whole = message.content();
        whole.seek(SeekFrom::Start(start))?;
        whole.read_exact(&mut raw)?;
        assert_eq!(String::from_utf8_lossy(&raw).trim(), "aGVsbG8=");
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
}

#[test]
fn a_message_without_mime_has_one_part() {
    let mut t = message();
    let verdict = submit!(t, |message| {
        let parts: Vec<_> = message.parts().collect();
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].path().as_str(), parts[0].content_type().as_str()), ("1", "text/plain"));
    });
    assert_eq!(verdict, Ok(MessageVerdict::Next));
}

//! The log as a whole: what is noted is found again, whatever the disk does.

use std::fs;
use std::path::Path;

use basin_core::mail::MessageId;
use basin_core::time::Timestamp;

use super::search::{Log, Wanted};
use super::*;
use crate::journal::files::{Files, list};

fn options(directory: &Path) -> JournalOptions {
    JournalOptions { directory: directory.into(), days_max: 30, total_bytes_max: 1 << 30, free_bytes_min: 0 }
}

fn id(number: u64) -> MessageId {
    MessageId::new(crate::clock::now(), number)
}

fn received<'a>(sender: &'a str, recipients: &[&'a str], message_id: &'a str) -> Step<'a> {
    Step::Received {
        origin: "smtp".into(),
        session: Some("s1".into()),
        listener: "mx".into(),
        client: None,
        helo: None,
        sender: sender.into(),
        recipients: recipients.iter().map(|one| (*one).into()).collect(),
        size: 7,
        message_id: Some(message_id.into()),
        parent: None,
    }
}

fn delivered(recipient: &str) -> Step<'_> {
    Step::Delivered { recipient: recipient.into(), to: "mailbox".into(), reply: None }
}

fn words(story: &search::Story) -> Vec<&'static str> {
    story.lines.iter().map(|line| line.step.word()).collect()
}

#[test]
fn every_kind_of_step_is_read_back_as_it_was_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    let id = id(1);
    let steps = [
        received("a@x.example", &["b@y.example"], "<1@x.example>"),
        Step::Refused { reply: "550 5.7.1 no".into() },
        Step::Sink {
            sink: "spam".into(),
            binding: "spam-1".into(),
            event: "on-submission".into(),
            verdict: "failed".into(),
            failure: Some("trap".into()),
            fuel: 12,
            micros: 34,
            queued_micros: 0,
            memory: 65_536,
            session: None,
        },
        Step::Submitted,
        Step::Enqueued { destination: "y.example".into(), recipients: vec!["b@y.example".into()] },
        Step::Attempt {
            destination: "y.example".into(),
            host: "mx.y.example".into(),
            address: Some("192.0.2.1:25".into()),
            tls: Some("TLSv1.3, DANE".into()),
            reply: "250 2.0.0 ok".into(),
            by: None,
            micros: 9,
        },
        delivered("b@y.example"),
        Step::Deferred {
            recipient: "b".into(),
            reply: "451 x".into(),
            by: None,
            until: "2026-01-01T00:00:00Z".into(),
            attempts: 2,
        },
        Step::Failed {
            recipient: "b".into(),
            reply: "550 \"quoted\" \\ and \u{fc}".into(),
            by: Some(By { sink: "s".into(), said: Some("501 x".into()) }),
        },
        Step::Notified { of: Notified::Delayed, child: "c".into(), recipients: vec![] },
        Step::Held { reason: "odd".into() },
        Step::Bad { reason: "odd".into() },
        Step::Operator { did: Operation::Rerouted, by: None, detail: Some("backup".into()) },
        Step::Removed { end: None },
    ];
    steps.iter().for_each(|step| tracking.note(&id, step));
    tracking.flush();
    let stories = Log::new(directory.path()).stories(&[(None, id.to_string())]).expect("readable");
    let found: Vec<Step<'_>> = stories[id.as_str()].lines.iter().map(|line| line.step.clone()).collect();
    assert_eq!(found, steps);
    for line in &stories[id.as_str()].lines {
        assert!(parse_time(&show_time(line.at)) == Some(line.at) && line.at.nanoseconds % 1_000 == 0);
    }
}

#[test]
fn messages_are_found_by_sender_recipient_message_id_and_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    let ids = [id(1), id(2), id(3)];
    tracking.note(&ids[0], &received("Ann@X.example", &["b@y.example", "c@z.example"], "<one@x.example>"));
    tracking.note(&ids[1], &received("", &["ann@x.example"], "<two@x.example>"));
    tracking.note(&ids[2], &received("dan@w.example", &["list@y.example"], "<three@x.example>"));
    // A sink gave it another recipient.
    tracking.note(&ids[2], &delivered("erin@v.example"));
    tracking.close();
    let log = Log::new(directory.path());
    let find = |wanted: Wanted| -> Vec<usize> {
        let (found, is_more) = log.find(&wanted, 10).expect("readable");
        assert!(!is_more);
        found.iter().map(|(_, found)| ids.iter().position(|id| id.as_str() == found).expect("one of them")).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(find(Wanted { sender: some("ann@x.example"), ..Wanted::default() }), [0]);
    assert_eq!(find(Wanted { sender: some("<>"), ..Wanted::default() }), [1]);
    assert_eq!(find(Wanted { recipient: some("@Y.example"), ..Wanted::default() }), [0, 2]);
    assert_eq!(find(Wanted { recipient: some("erin@v.example"), ..Wanted::default() }), [2]);
    assert_eq!(find(Wanted { message_id: some("two@x.example"), ..Wanted::default() }), [1]);
    assert_eq!(find(Wanted { sender: some("@x.example"), recipient: some("c@z.example"), ..Wanted::default() }), [0]);
    let later = crate::clock::now().plus(core::time::Duration::from_secs(60));
    assert_eq!(find(Wanted { since: Some(later), ..Wanted::default() }), [] as [usize; 0]);
    assert_eq!(find(Wanted { until: Some(later), ..Wanted::default() }), [0, 1, 2]);
    let (found, is_more) = log.find(&Wanted::default(), 2).expect("readable");
    assert!(is_more && found.len() == 2);
}

#[test]
fn a_file_that_cannot_be_written_loses_lines_says_how_many_and_never_blocks() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    let id = id(1);
    tracking.note(&id, &Step::Submitted);
    tracking.flush();
    // From here on the file of the day is a link, which is not followed.
    let file = list(directory.path()).expect("readable").remove(0);
    fs::remove_file(&file.path).expect("removed");
    tracking.close();
    std::os::unix::fs::symlink("/dev/full", &file.path).expect("linked");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    (0..3).for_each(|_| tracking.note(&id, &Step::Submitted));
    tracking.flush();
    assert_eq!(tracking.lost(), 3);
    fs::remove_file(&file.path).expect("removed");
    tracking.note(&id, &Step::Removed { end: None });
    tracking.close();
    let text = fs::read_to_string(&file.path).expect("readable");
    let lines: Vec<Line<'_>> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert!(matches!(&lines[0].step, Step::Lost { lines: 3, why } if why.contains("symbolic links")), "{text}");
    assert_eq!((lines[1].step.clone(), lines.len()), (Step::Removed { end: None }, 2));
}

#[test]
fn the_limit_of_all_files_is_kept_and_the_oldest_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let limit = 80_000;
    let mut files = Files::open(JournalOptions { total_bytes_max: limit, ..options(directory.path()) }).expect("opens");
    let line = [[b'x'; 999].as_slice(), b"\n"].concat();
    for number in 0..300 {
        // Three days.
        let now = Timestamp::from_seconds(1_800_000_000 + number / 100 * 86_400);
        files.append(&line, now).expect("written");
        let total: u64 = list(directory.path()).expect("readable").iter().map(|file| file.len).sum();
        assert!(total <= limit, "{total} octets after line {number}");
    }
    let left = list(directory.path()).expect("readable");
    let last_day = left.last().expect("some").day;
    assert!(left.len() > 4 && left.iter().all(|file| file.day == last_day), "{left:?}");
    let days = JournalOptions { days_max: 1, ..options(directory.path()) };
    Files::open(days).expect("opens").append(&line, Timestamp::from_seconds(1_800_500_000)).expect("written");
    assert_eq!(list(directory.path()).expect("readable").len(), 1, "what is older than a day is gone");
}

#[test]
fn nothing_is_written_into_the_reserve_of_the_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(JournalOptions { free_bytes_min: u64::MAX, ..options(directory.path()) });
    let tracking = tracking.expect("starts");
    tracking.note(&id(1), &Step::Submitted);
    tracking.flush();
    assert_eq!(tracking.lost(), 1);
    assert!(list(directory.path()).expect("readable").is_empty());
}

#[test]
fn half_a_line_of_a_power_cut_spoils_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    let id = id(1);
    tracking.note(&id, &Step::Submitted);
    tracking.close();
    let path = list(directory.path()).expect("readable").remove(0).path;
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, [&whole[..], b"{\"at\":\"2026-", &[0; 100]].concat()).expect("written");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    tracking.note(&id, &Step::Removed { end: None });
    tracking.close();
    let stories = Log::new(directory.path()).stories(&[(None, id.to_string())]).expect("readable");
    assert_eq!(words(&stories[id.as_str()]), ["submitted", "removed"]);
}

#[test]
fn lines_across_the_borders_of_chunks_are_found_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let tracking = Tracking::start(options(directory.path())).expect("starts");
    let wanted = id(1);
    let noise = "n".repeat(70_000);
    let other = id(2);
    for _ in 0..60 {
        tracking.note(&other, &Step::Held { reason: noise.as_str().into() });
        tracking.note(&wanted, &delivered(wanted.as_str()));
        tracking.flush();
    }
    tracking.close();
    let ids = [(None, wanted.to_string()), (None, "not-there".to_owned())];
    let stories = Log::new(directory.path()).stories(&ids).expect("readable");
    assert_eq!(stories[wanted.as_str()].lines.len(), 60);
    assert!(stories["not-there"].lines.is_empty());
}

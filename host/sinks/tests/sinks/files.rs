//! Files, variables, time and random numbers: nothing without the grant, and with it what was granted and no more.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use basin_core::event::{BudgetOverride, FailureKind, Grant, InstanceMode};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::stage::{Call, ENGINE, probe};
use crate::web::{Web, say};

/// A folder with a granted directory in it, and something beside that.
struct Ground {
    root: PathBuf,
    _folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        fs::create_dir(root.join("granted")).expect("made");
        fs::write(root.join("granted/letter"), "hello").expect("written");
        fs::write(root.join("secret"), "not for sinks").expect("written");
        Self { root, _folder: folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn grant(&self, mode: &str) -> Grant {
        format!("dir={}/granted::/d{mode}", self.root.display()).parse().expect("a grant")
    }

    fn reads(&self, script: &str) -> Call {
        probe(script).grants(&[self.grant("")])
    }

    fn writes(&self, script: &str) -> Call {
        probe(script).grants(&[self.grant(":rw")])
    }

    fn pipe(&self, name: &str) {
        mknodat(CWD, self.at(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    }
}

/// What bounds the call is fuel: on a machine full of other tests its time would be over first.
fn patient(fuel: u64) -> BudgetOverride {
    BudgetOverride { fuel: Some(fuel), deadline_ms: Some(60_000), ..BudgetOverride::default() }
}

#[test]
fn without_the_grant_there_are_no_files() {
    let ground = Ground::new();
    let letter = ground.at("granted/letter");
    let script =
        format!("raw-dirs\nfile-read|/d/letter\nfile-read|{0}\nfile-write|{0}|x\nfile-list|/|9", letter.display());
    let outcome = probe(&script).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(lines[0], "raw-dirs: 0");
    assert!(lines[1..].iter().all(|line| line.contains("failed")), "{lines:?}");
    assert_eq!(fs::read_to_string(letter).expect("it is there"), "hello");
}

#[test]
fn a_directory_is_granted_to_be_read_and_no_more() {
    let ground = Ground::new();
    let attempts = "file-write|/d/letter|x\nfile-append|/d/letter|x\nfile-write|/d/new|x\nfile-make|/d/new\n\
                    file-remove|/d/letter\nfile-rename|/d/letter|/d/b\nfile-link|/d/letter|/d/b\nraw-symlink|letter|b\n\
                    raw-create|new\nraw-make|new";
    let outcome = ground.reads(&format!("file-read|/d/letter\nfile-list|/d|9\n{attempts}")).run();
    let lines = outcome.lines();
    assert_eq!(lines[..2], ["file-read: ok \"hello\"", "file-list: ok 1"]);
    assert!(lines[2..].iter().all(|line| line.contains("failed")), "{lines:?}");
    assert_eq!(lines.len(), 2 + attempts.lines().count());
    assert!(outcome.report.usage.denied >= 10, "the operator is told: {}", outcome.report.usage.denied);
    let names: Vec<_> = fs::read_dir(ground.at("granted")).expect("it is there").collect();
    assert_eq!((names.len(), fs::read(ground.at("granted/letter")).expect("it is there")), (1, b"hello".to_vec()));
}

#[test]
fn what_is_written_is_there_whole_and_for_the_server_alone() {
    let ground = Ground::new();
    let script = "file-make|/d/day\nfile-durable|/d/day/mail|text\nfile-append|/d/letter|, world\n\
                  file-link|/d/letter|/d/copy\nfile-rename|/d/copy|/d/day/copy\nfile-sizes|/d/day/copy\n\
                  file-read|/d/day/copy\nfile-remove|/d/letter";
    let outcome = ground.writes(script).run();
    let lines = outcome.lines();
    assert!(lines.iter().all(|line| line.contains("ok")), "{lines:?}");
    assert_eq!(lines[6], "file-read: ok \"hello, world\"");
    let mail = ground.at("granted/day/mail.done");
    assert_eq!(fs::read_to_string(&mail).expect("it is there"), "text");
    let mode = |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(mail), mode(ground.at("granted/day"))), (0o600, 0o700));
    assert!(!ground.at("granted/letter").exists());
}

#[test]
fn no_way_leads_out_of_the_directory() {
    let ground = Ground::new();
    symlink(ground.at("secret"), ground.at("granted/absolute")).expect("made");
    symlink("../secret", ground.at("granted/relative")).expect("made");
    symlink("..", ground.at("granted/up")).expect("made");
    fs::create_dir(ground.at("granted/in")).expect("made");
    let ways = ["absolute", "relative", "up/secret", "../secret", "in/../../secret", "/etc/passwd", "./../secret"];
    for way in ways {
        let script = format!(
            "raw-open|{way}\nraw-create|{way}\nraw-stat|{way}\nraw-link|{way}|taken\nraw-rename|letter|{way}x/y"
        );
        let outcome = ground.writes(&script).run();
        // A link to a link is one, and leads no further than the first.
        let harmless = |line: &&&str| line.starts_with("raw-link: ok") && ["absolute", "relative"].contains(&way);
        let open: Vec<_> = outcome.lines().into_iter().filter(|line| line.contains("ok")).collect();
        assert!(open.iter().all(|line| harmless(&line)), "{way}: {open:?}");
        fs::remove_file(ground.at("granted/taken")).ok();
    }
    let outcome = ground.writes("raw-symlink|../secret|mine\nraw-symlink|letter|mine\nraw-rename|letter|../out").run();
    assert!(outcome.lines().iter().all(|line| line.contains("failed")), "{:?}", outcome.lines());
    assert_eq!(fs::read_to_string(ground.at("secret")).expect("it is there"), "not for sinks");
    assert!(!ground.at("out").exists());
}

#[test]
fn a_pipe_in_the_directory_holds_nobody() {
    let ground = Ground::new();
    ground.pipe("granted/pipe");
    symlink("pipe", ground.at("granted/way")).expect("made");
    let started = Instant::now();
    let script = "file-read|/d/pipe\nfile-write|/d/pipe|x\nraw-open|way\nfile-append|/d/way|x\nfile-read|/d/letter";
    let outcome = ground.writes(script).run();
    let lines = outcome.lines();
    assert!(lines[..4].iter().all(|line| line.contains("failed")), "{lines:?}");
    assert_eq!(lines[4], "file-read: ok \"hello\"");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_call_cannot_fill_the_disk() {
    let ground = Ground::new();
    let script = "file-write|/d/big|x\nfile-grow|/d/big|66000000\nfile-fill|/d/more|4000000\nfile-grow|/d/big|1000000000000\n\
                  file-read|/d/letter";
    let outcome = ground.writes(script).budget(patient(1_000_000_000)).run();
    outcome.answered();
    let lines = outcome.lines();
    // The C library of guests makes EIO of whatever a stream says; the code of a descriptor's function it passes on.
    assert_eq!(lines[2], "file-fill: failed Uncategorized after 1048576", "the room of the call is used up");
    assert_eq!(lines[3], "file-grow: failed QuotaExceeded");
    assert_eq!(lines[4], "file-read: ok \"hello\"", "the call goes on");
    let octets = fs::metadata(ground.at("granted/more")).expect("it is there").len();
    assert!((100_000..4_000_000).contains(&octets), "{octets}");
    let again = ground.writes("file-fill|/d/more|100000").run();
    assert_eq!(again.lines(), ["file-fill: ok 100000"], "the next call has an allowance of its own");
}

#[test]
fn a_call_cannot_make_a_million_files() {
    let ground = Ground::new();
    let outcome = ground.writes("file-many|/d|1500\nfile-make|/d/one\nfile-link|/d/0|/d/two").run();
    let lines = outcome.lines();
    assert_eq!(lines, ["file-many: 1000", "file-make: failed QuotaExceeded", "file-link: failed QuotaExceeded"]);
    assert_eq!(fs::read_dir(ground.at("granted")).expect("it is there").count(), 1 + 1_000);
    let outcome = ground.reads("file-list|/d|3\nfile-list|/d|5000").run();
    assert_eq!(outcome.lines(), ["file-list: ok 3", "file-list: ok 1001"]);
}

#[test]
fn who_reads_for_ever_runs_out_of_fuel() {
    let ground = Ground::new();
    fs::File::create(ground.at("granted/endless")).and_then(|file| file.set_len(1 << 40)).expect("made");
    let outcome = ground.reads("file-drain|/d/endless").budget(patient(20_000_000)).run();
    assert_eq!(outcome.failed().kind, FailureKind::Fuel, "{:?}", outcome.failed());
}

#[test]
fn open_files_are_bounded() {
    let ground = Ground::new();
    let outcome = ground.reads("file-hold|/d/letter|1000").run();
    assert_eq!(outcome.failed().kind, FailureKind::Quota, "{:?}", outcome.failed());
    assert_eq!(ground.reads("file-hold|/d/letter|100").run().lines(), ["file-hold: 100"]);
}

#[test]
fn a_directory_that_goes_while_it_is_used_is_a_failure_of_the_sink_to_handle() {
    let ground = Ground::new();
    let gone = ground.at("granted");
    let web = Web::start(move |_, stream| {
        fs::remove_dir_all(&gone).expect("removed");
        say(stream, "HTTP/1.1 204 No Content\r\n\r\n");
    });
    let address = format!("http=127.0.0.1:{}", web.port).parse().expect("a grant");
    let script =
        format!("file-write|/d/a|x\nhttp-status|GET|http://127.0.0.1:{}/\nfile-write|/d/b|x\nfile-read|/d/a", web.port);
    let outcome = probe(&script).grants(&[ground.grant(":rw"), address]).run();
    let lines = outcome.lines();
    assert_eq!(lines[..2], ["file-write: ok ()", "http-status: ok 204"]);
    assert_eq!(lines[2..], ["file-write: failed NotFound", "file-read: failed NotFound"]);
    let next = ground.writes("file-read|/d/a").run();
    assert_eq!(next.failed().kind, FailureKind::Host);
    let detail = &next.failed().detail;
    assert!(detail.contains(&format!("{}", ground.at("granted").display())) && detail.contains("dir="), "{detail}");
}

#[test]
fn a_directory_that_is_reached_by_a_link_is_not_opened() {
    let ground = Ground::new();
    fs::rename(ground.at("granted"), ground.at("real")).expect("renamed");
    symlink(ground.at("real"), ground.at("granted")).expect("made");
    assert_eq!(ground.reads("file-read|/d/letter").run().failed().kind, FailureKind::Host);
}

#[test]
fn an_instance_that_is_kept_keeps_its_files_and_loses_them_with_the_grant() {
    let ground = Ground::new();
    let mut instances = ENGINE.instances();
    let scopes = instances.scopes(None);
    let kept = |call: Call| call.instance(InstanceMode::Session, Some(&scopes)).run();
    assert_eq!(kept(ground.writes("file-keep|/d/log\nfile-use-kept|one\ncalls")).lines()[2], "calls: 1");
    let second = kept(ground.writes("file-use-kept|two\nfile-read|/d/log\ncalls"));
    assert_eq!(second.lines(), ["file-use-kept: ok ()", "file-read: ok \"onetwo\"", "calls: 2"]);
    let allowance = kept(ground.writes("file-many|/d|1000"));
    assert_eq!(allowance.lines(), ["file-many: 1000"], "each call has its own allowance");
    let revoked = kept(ground.reads("file-write|/d/log|three\ncalls"));
    assert_eq!(revoked.lines(), ["file-write: failed PermissionDenied", "calls: 1"], "another instance");
    fs::rename(ground.at("granted"), ground.at("old")).expect("renamed");
    fs::create_dir(ground.at("granted")).expect("made");
    let replaced = kept(ground.reads("file-list|/d|9\ncalls"));
    assert_eq!(replaced.lines(), ["file-list: ok 0", "calls: 1"], "the directory is the one that is there now");
}

#[test]
fn a_variable_of_the_server_is_granted_by_its_name() {
    let path = "env=PATH".parse().expect("a grant");
    assert_eq!(probe("env|PATH").all_grants().run().lines(), ["env: None"]);
    let outcome = probe("env|PATH\nenv|HOME").grants(&[path]).run();
    assert!(outcome.lines()[0].contains("/bin"), "{:?}", outcome.lines());
    assert_eq!(outcome.lines()[1], "env: None");
    let unset = "env=BASIN_TEST_THAT_NOBODY_SETS".parse().expect("a grant");
    assert_eq!(probe("env|BASIN_TEST_THAT_NOBODY_SETS").grants(&[unset]).run().lines(), ["env: None"]);
}

#[test]
fn the_time_is_that_of_the_event_without_the_grant() {
    let time = |call: Call| {
        let outcome = call.run();
        let line = outcome.lines()[0].to_owned();
        line.trim_start_matches("time: Some(").trim_end_matches(')').parse::<u64>().expect("seconds")
    };
    assert_eq!(time(probe("time").all_grants_but(Grant::Clock)), 1_800_000_000);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let shown = time(probe("time").grants(&[Grant::Clock]));
    assert!((now..now + 60).contains(&shown), "{shown} at {now}");
}

#[test]
fn random_numbers_repeat_without_the_grant() {
    let drawn = |call: Call| call.run().lines().join(" ");
    assert_eq!(
        drawn(probe("random").all_grants_but(Grant::Random)),
        drawn(probe("random").all_grants_but(Grant::Random))
    );
    assert_ne!(drawn(probe("random").grants(&[Grant::Random])), drawn(probe("random").grants(&[Grant::Random])));
}

#[test]
fn what_a_sink_made_belongs_to_the_server() {
    let ground = Ground::new();
    ground.writes("file-write|/d/new|x").run().answered();
    let facts = fs::metadata(ground.at("granted/new")).expect("it is there");
    assert_eq!(facts.uid(), rustix::process::geteuid().as_raw());
}

//! Keeps a copy of every message in a directory that it is granted.
//!
//! The event is raised again after a crash, so a file is written to a temporary name, made durable and renamed, and its
//! name follows from the message: what is there under its own name is whole, and one copy is all there ever is.

use basin_sink::prelude::*;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the archive is, as the grant names it for the sink, where the configuration has no `directory`.
const DIRECTORY: &str = "/archive";

/// How long a message waits for room.
const LATER: Duration = Duration::from_secs(15 * 60);

/// Octets that are written at once.
const CHUNK_OCTETS: usize = 64 * 1024;

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// The sink.
#[derive(Debug)]
pub struct Archive;

impl OnPostCategorize for Archive {
    fn on_post_categorize(message: &mut Message, _: &Call) -> Result<MessageVerdict> {
        keep(message)
    }
}

impl OnSubmission for Archive {
    fn on_submission(message: &mut Message, _: &Call) -> Result<MessageVerdict> {
        keep(message)
    }
}

fn keep(message: &Message) -> Result<MessageVerdict> {
    let settings = Settings::read()?;
    if !settings.wants(message) {
        return Ok(MessageVerdict::Next);
    }
    if !settings.directory.is_dir() {
        let directory = settings.directory.display();
        return Err(Failure::new(format!("there is no {directory}; --grant dir=HOSTDIR::{directory}:rw gives it")));
    }
    match copy(message, &settings) {
        Ok(is_new) => {
            metrics::count(if is_new { "kept" } else { "known" });
            Ok(MessageVerdict::Next)
        }
        Err(error) => {
            metrics::count("failed");
            log::error!("{} is not in the archive: {error}", message.id());
            Ok(if settings.is_vital { defer(LATER, "4.3.1", "the archive has no room") } else { MessageVerdict::Next })
        }
    }
}

/// Which mail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
    All,
}

/// What the configuration says.
#[derive(Debug)]
struct Settings {
    directory: PathBuf,
    direction: Direction,
    /// Domains of senders and recipients; none where all are meant.
    domains: Option<Vec<String>>,
    /// Whether mail waits for its copy.
    is_vital: bool,
    has_envelope: bool,
}

impl Settings {
    fn read() -> Result<Self> {
        let choice = |key: &str, default: &str| config::get_or(key, default);
        Ok(Self {
            directory: PathBuf::from(choice("directory", DIRECTORY)),
            direction: match choice("direction", "all").as_str() {
                "in" => Direction::In,
                "out" => Direction::Out,
                "all" => Direction::All,
                other => return Err(Failure::new(format!("direction is {other:?}; write in, out or all"))),
            },
            domains: config::list("domains"),
            is_vital: match choice("when-full", "defer").as_str() {
                "defer" => true,
                "next" => false,
                other => return Err(Failure::new(format!("when-full is {other:?}; write defer or next"))),
            },
            has_envelope: config::flag("envelope")?.unwrap_or(true),
        })
    }

    fn wants(&self, message: &Message) -> bool {
        let recipients = || message.recipients().map(|recipient| recipient.domain());
        let is_right_way = match self.direction {
            Direction::All => true,
            Direction::In => recipients().any(|domain| server::is_local_domain(&domain)),
            Direction::Out => recipients().any(|domain| !server::is_local_domain(&domain)),
        };
        let Some(domains) = &self.domains else { return is_right_way };
        let sender = message.sender();
        let of_sender = sender.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let is_named = |domain: String| domains.iter().any(|named| named.eq_ignore_ascii_case(&domain));
        is_right_way && recipients().chain(of_sender).any(is_named)
    }
}

/// Whether a copy was made, or had been before.
fn copy(message: &Message, settings: &Settings) -> io::Result<bool> {
    let (day, time) = day_and_time(message.arrived().seconds);
    let folder = settings.directory.join(day);
    let name = format!("{time}-{}.eml", plain(&message.id()));
    if folder.join(&name).is_file() {
        return Ok(false);
    }
    match fs::create_dir(&folder) {
        Ok(()) => settle(&settings.directory)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // The same name after a crash, so that no half of a message stays for ever.
    let unfinished = folder.join(format!(".{name}.part"));
    let written = write(message, settings, &unfinished);
    if written.is_err() {
        // Room for others; if that fails too, the next attempt begins with it.
        fs::remove_file(&unfinished).ok();
    }
    written?;
    fs::rename(&unfinished, folder.join(&name))?;
    settle(&folder)?;
    Ok(true)
}

fn write(message: &Message, settings: &Settings, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(CHUNK_OCTETS, File::create(path)?);
    if settings.has_envelope {
        write!(file, "X-Envelope-From: <{}>\r\n", message.sender())?;
        for address in message.recipient_addresses() {
            write!(file, "X-Envelope-To: <{address}>\r\n")?;
        }
    }
    io::copy(&mut message.content(), &mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes a directory's names durable: a file that is synced and has no name is lost.
fn settle(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// An id of the server has none but these; whoever calls it otherwise gets no way out of the folder.
fn plain(id: &str) -> String {
    let fits = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    id.chars().filter(fits).collect()
}

/// `2026-01-31` and `235959`, both of UTC.
fn day_and_time(seconds: i64) -> (String, String) {
    let (days, rest) = (seconds.div_euclid(SECONDS_OF_DAY), seconds.rem_euclid(SECONDS_OF_DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}{minute:02}{second:02}"))
}

/// Year, month and day of a number of days since 1970, by the Gregorian calendar. Years are counted from March, so that
/// the day that comes and goes is the last of one.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

basin_sink::export!(Archive: OnPostCategorize, OnSubmission);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const MAIL: &str = "From: a@client.example\r\nSubject: hello\r\n\r\nhello\r\n";

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("archive-sample-{}-{name}", std::process::id()));
        fs::remove_dir_all(&place).ok();
        fs::create_dir(&place).expect("a folder");
        place
    }

    fn letter(place: &Path) -> testing::Message {
        let mut message = testing::Message::from_eml(MAIL);
        message.set_config("directory", &place.display().to_string()).add_local_domain("basin.example");
        message
    }

    fn kept(place: &Path) -> Vec<PathBuf> {
        let days = fs::read_dir(place).expect("a folder").map(|day| day.expect("a name").path());
        let files = days.flat_map(|day| fs::read_dir(day).expect("a folder").map(|file| file.expect("a name").path()));
        files.collect()
    }

    #[test]
    fn a_message_is_kept_once_whole_and_with_its_envelope() {
        let place = place("once");
        let mut message = letter(&place);
        for _ in 0..2 {
            assert_eq!(message.post_categorize::<Archive>(), MessageVerdict::Next);
        }
        assert_eq!((message.counter("kept"), message.counter("known")), (1, 1));
        let files = kept(&place);
        assert_eq!(files.len(), 1, "{files:?}");
        let text = fs::read_to_string(&files[0]).expect("it is there");
        let envelope = "X-Envelope-From: <a@client.example>\r\nX-Envelope-To: <b@basin.example>\r\n";
        assert_eq!(text, format!("{envelope}{MAIL}"));
        message.set_config("envelope", "off");
        fs::remove_file(&files[0]).expect("removed");
        assert_eq!(message.submission::<Archive>(), MessageVerdict::Next);
        assert_eq!(fs::read_to_string(&kept(&place)[0]).expect("it is there"), MAIL);
    }

    #[test]
    fn what_a_crash_left_is_written_over() {
        let place = place("crash");
        let mut message = letter(&place);
        assert_eq!(message.post_categorize::<Archive>(), MessageVerdict::Next);
        let whole = kept(&place).remove(0);
        let name = whole.file_name().expect("a name").to_string_lossy().into_owned();
        fs::remove_file(&whole).expect("removed");
        fs::write(whole.with_file_name(format!(".{name}.part")), "half of somethi").expect("written");
        assert_eq!(message.post_categorize::<Archive>(), MessageVerdict::Next);
        assert_eq!(kept(&place), [whole]);
    }

    #[test]
    fn direction_and_domains_choose() {
        let place = place("choice");
        let mut message = letter(&place);
        for (key, value, count) in [
            ("direction", "out", 0),
            ("direction", "in", 1),
            ("domains", "other.example", 0),
            ("domains", "other.example, Client.example", 1),
            ("domains", "basin.example", 1),
        ] {
            message.set_config("direction", "all").set_config("domains", "basin.example").set_config(key, value);
            assert_eq!(message.post_categorize::<Archive>(), MessageVerdict::Next);
            let files = kept(&place);
            assert_eq!(files.len(), count, "{key}={value}");
            files.iter().for_each(|file| fs::remove_file(file).expect("removed"));
        }
        message.set_config("direction", "up");
        assert!(message.try_post_categorize::<Archive>().is_err());
    }

    #[test]
    fn without_room_mail_waits_or_goes_on_and_without_a_directory_the_sink_fails() {
        let place = place("full");
        let mut message = letter(&place);
        // A file where the folder of the day should be: nothing can be made there.
        let (day, _) = day_and_time(message.now().seconds);
        fs::write(place.join(day), "").expect("written");
        assert!(matches!(message.post_categorize::<Archive>(), MessageVerdict::Defer(_)));
        message.set_config("when-full", "next");
        assert_eq!(message.post_categorize::<Archive>(), MessageVerdict::Next);
        assert_eq!(message.counter("failed"), 2);
        message.set_config("directory", "/nowhere");
        let failure = message.try_post_categorize::<Archive>().expect_err("no directory");
        assert!(failure.to_string().contains("--grant dir=HOSTDIR::/nowhere:rw"), "{failure}");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day, time) in [
            (0, "1970-01-01", "000000"),
            (951_782_399, "2000-02-28", "235959"),
            (951_782_400, "2000-02-29", "000000"),
            (951_868_800, "2000-03-01", "000000"),
            (1_800_000_000, "2027-01-15", "080000"),
            (4_107_542_400, "2100-03-01", "000000"),
            (-1, "1969-12-31", "235959"),
        ] {
            assert_eq!(day_and_time(seconds), (day.to_owned(), time.to_owned()));
        }
    }

    #[test]
    fn an_id_leads_nowhere() {
        assert_eq!(plain("../1-a/b\0"), "1-ab");
    }
}

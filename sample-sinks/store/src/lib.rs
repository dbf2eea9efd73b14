//! Delivers into a store of its own: each message once, by its digest, with a name in the folder of each recipient.
//!
//! ```text
//! objects/3f/3f0c…            the message
//! mail/example.org/ann/…eml   a name of the same file
//! ```
//!
//! The name in the folder follows from the message, so that a delivery that is repeated, after a crash or because a sink
//! behind this one failed, finds what is there already.

use basin_sink::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the store is, as the grant names it for the sink, where the configuration has no `directory`.
const DIRECTORY: &str = "/store";

/// How long a message waits for a store that cannot be written.
const LATER: Duration = Duration::from_secs(5 * 60);

/// Octets that are moved at once.
const CHUNK_OCTETS: usize = 64 * 1024;

/// Longest name that is made of a part of an address; file systems have 255.
const NAME_OCTETS_MAX: usize = 120;

/// Octets of the digest in a name that was too long.
const DIGEST_OCTETS: usize = 16;

/// The sink.
#[derive(Debug)]
pub struct Store;

impl OnLocalDelivery for Store {
    fn on_local_delivery(message: &mut Message, recipient: &mut Recipient, _: &Call) -> Result<Delivery> {
        let settings = Settings::read()?;
        if !settings.directory.is_dir() {
            let directory = settings.directory.display();
            return Err(Failure::new(format!("there is no {directory}; --grant dir=HOSTDIR::{directory}:rw gives it")));
        }
        let folder = settings.directory.join("mail").join(folder_of(&recipient.address()));
        if !folder.is_dir() {
            match settings.unknown {
                Unknown::Make => {}
                Unknown::Next => return Ok(Delivery::Next),
                Unknown::Fail => {
                    metrics::count("unknown");
                    return Ok(Delivery::Fail(Reply::new(550, "there is no such mailbox").status("5.1.1")));
                }
            }
        }
        match deliver(message, &settings.directory, &folder) {
            Ok(is_new) => {
                metrics::count(if is_new { "delivered" } else { "known" });
                Ok(Delivery::Delivered)
            }
            Err(error) => {
                metrics::count("failed");
                log::error!("{} is not delivered: {error}", message.id());
                Ok(defer(LATER, "4.3.0", "the store cannot be written"))
            }
        }
    }
}

/// What becomes of mail for who has no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// It gets one.
    Make,
    /// The server's own store may have it.
    Next,
    /// The sender is told.
    Fail,
}

/// What the configuration says.
#[derive(Debug)]
struct Settings {
    directory: PathBuf,
    unknown: Unknown,
}

impl Settings {
    fn read() -> Result<Self> {
        let unknown = match config::get_or("unknown", "make").as_str() {
            "make" => Unknown::Make,
            "next" => Unknown::Next,
            "fail" => Unknown::Fail,
            other => return Err(Failure::new(format!("unknown is {other:?}; write make, next or fail"))),
        };
        Ok(Self { directory: PathBuf::from(config::get_or("directory", DIRECTORY)), unknown })
    }
}

/// Whether it was delivered now, or had been before.
fn deliver(message: &Message, store: &Path, folder: &Path) -> io::Result<bool> {
    let name = folder.join(format!("{}.eml", named(&message.id())));
    if name.is_file() {
        return Ok(false);
    }
    make_folder(folder, store)?;
    let object = object(message, store)?;
    match fs::hard_link(&object, &name) {
        Ok(()) => settle(folder).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file with the message's octets, written where it is not there yet.
fn object(message: &Message, store: &Path) -> io::Result<PathBuf> {
    let digest = digest_of(message)?;
    let folder = store.join("objects").join(digest.get(..2).unwrap_or_default());
    let object = folder.join(&digest);
    if object.is_file() {
        return Ok(object);
    }
    make_folder(&folder, store)?;
    // The message's own name, so that two of the same content do not write into each other.
    let unfinished = folder.join(format!(".{digest}-{}.part", named(&message.id())));
    let written = write(message, &unfinished);
    if written.is_err() {
        fs::remove_file(&unfinished).ok();
    }
    written?;
    fs::rename(&unfinished, &object)?;
    settle(&folder)?;
    Ok(object)
}

fn digest_of(message: &Message) -> io::Result<String> {
    let (mut content, mut chunk, mut hash) = (message.content(), vec![0; CHUNK_OCTETS], Sha256::new());
    loop {
        match content.read(&mut chunk)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => hash.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn write(message: &Message, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(CHUNK_OCTETS, File::create(path)?);
    io::copy(&mut message.content(), &mut file)?;
    file.flush()?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes a folder and those above it, each with a name that is durable.
fn make_folder(folder: &Path, store: &Path) -> io::Result<()> {
    if folder == store || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(store);
    make_folder(above, store)?;
    match fs::create_dir(folder) {
        Ok(()) => settle(above),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a directory's names durable: a file that is synced and has no name is lost.
fn settle(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// `domain/local-part`. The server has lower-cased neither for us, and a mailbox is one in every spelling of its name.
fn folder_of(address: &str) -> PathBuf {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    [domain, local].iter().map(|part| named(&part.to_lowercase())).collect()
}

/// A name for a file that leads nowhere else: what could is written as `%` and its code, a point at the beginning too.
fn named(text: &str) -> String {
    let mut name = String::new();
    for (index, octet) in text.bytes().enumerate() {
        let is_plain = octet.is_ascii_alphanumeric() || b"-_+=".contains(&octet) || (octet == b'.' && index > 0);
        if is_plain { name.push(char::from(octet)) } else { name.push_str(&format!("%{octet:02x}")) }
    }
    if name.len() > NAME_OCTETS_MAX {
        let digest = Sha256::digest(text);
        name.truncate(NAME_OCTETS_MAX - 2 * DIGEST_OCTETS - 1);
        name.push('~');
        name.push_str(&hexadecimal(digest.get(..DIGEST_OCTETS).unwrap_or_default()));
    }
    // No part of an address is empty, and if one were, its folder would be that above.
    if name.is_empty() { "%".to_owned() } else { name }
}

basin_sink::export!(Store: OnLocalDelivery);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const MAIL: &str = "From: a@client.example\r\nSubject: hello\r\n\r\nhello\r\n";

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("store-sample-{}-{name}", std::process::id()));
        fs::remove_dir_all(&place).ok();
        fs::create_dir(&place).expect("a folder");
        place
    }

    fn letter(place: &Path, recipients: &[&str]) -> testing::Message {
        let mut message = testing::Message::from_eml(MAIL);
        message.set_config("directory", &place.display().to_string());
        message.set_recipients(recipients);
        message
    }

    fn files(below: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("a name").path());
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn a_message_is_stored_once_and_has_a_name_for_each_recipient() {
        let place = place("once");
        let recipients = ["Ann@basin.example", "bob@basin.example"];
        let mut message = letter(&place, &recipients);
        for recipient in recipients.iter().chain(&recipients) {
            assert_eq!(message.local_delivery::<Store>(recipient), Delivery::Delivered);
        }
        assert_eq!((message.counter("delivered"), message.counter("known")), (2, 2));
        assert_eq!(files(&place.join("objects")).len(), 1);
        let ann = files(&place.join("mail/basin.example/ann"));
        assert_eq!(ann.len(), 1, "{:?}", files(&place));
        assert_eq!(fs::read_to_string(&ann[0]).expect("it is there"), MAIL);
        assert_eq!(files(&place.join("mail/basin.example/bob")).len(), 1);
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_copy_after_the_next_attempt() {
        let place = place("crash");
        let mut message = letter(&place, &["ann@basin.example"]);
        assert_eq!(message.local_delivery::<Store>("ann@basin.example"), Delivery::Delivered);
        let (object, name) = (files(&place.join("objects")).remove(0), files(&place.join("mail")).remove(0));
        // Before the name, before the object, and in the middle of writing it.
        for step in 0..3 {
            fs::remove_file(&name).expect("removed");
            if step > 0 {
                fs::remove_file(&object).expect("removed");
            }
            if step > 1 {
                let digest = object.file_name().expect("a name").to_string_lossy().into_owned();
                fs::write(object.with_file_name(format!(".{digest}-message-1.part")), "half").expect("written");
            }
            assert_eq!(message.local_delivery::<Store>("ann@basin.example"), Delivery::Delivered);
            assert_eq!((files(&place.join("objects")).len(), files(&place.join("mail")).len()), (1, 1), "{step}");
            assert_eq!(fs::read_to_string(&name).expect("it is there"), MAIL);
        }
    }

    #[test]
    fn no_address_leads_out_of_the_store() {
        for (address, folder) in [
            ("../x@basin.example", "basin.example/%2e.%2fx"),
            ("..@..", "%2e./%2e."),
            ("a/b@basin.example", "basin.example/a%2fb"),
            (".hidden@basin.example", "basin.example/%2ehidden"),
            ("a%2fb@basin.example", "basin.example/a%252fb"),
            ("\"a b\\\0\"@[192.0.2.1]", "%5b192.0.2.1%5d/%22a%20b%5c%00%22"),
            ("grün@basin.example", "basin.example/gr%c3%bcn"),
            ("@", "%/%"),
        ] {
            assert_eq!(folder_of(address), Path::new(folder), "{address}");
        }
        let (one, other) = (named(&format!("{}a", "x".repeat(300))), named(&format!("{}b", "x".repeat(300))));
        assert!(one != other && one.len() <= NAME_OCTETS_MAX, "{one}");
    }

    #[test]
    fn who_has_no_folder_gets_one_or_is_left_to_others_or_is_refused() {
        let place = place("unknown");
        let mut message = letter(&place, &["ann@basin.example"]);
        message.set_config("unknown", "next");
        assert_eq!(message.local_delivery::<Store>("ann@basin.example"), Delivery::Next);
        message.set_config("unknown", "fail");
        let verdict = message.local_delivery::<Store>("ann@basin.example");
        assert_eq!(verdict, Delivery::Fail(Reply::new(550, "there is no such mailbox").status("5.1.1")));
        assert!(files(&place).is_empty());
        fs::create_dir_all(place.join("mail/basin.example/ann")).expect("a folder");
        assert_eq!(message.local_delivery::<Store>("ann@basin.example"), Delivery::Delivered);
    }

    #[test]
    fn a_store_that_cannot_be_written_is_tried_again_and_one_that_is_not_granted_is_a_failure() {
        let place = place("broken");
        fs::write(place.join("objects"), "a file where a folder should be").expect("written");
        let mut message = letter(&place, &["ann@basin.example"]);
        assert!(matches!(message.local_delivery::<Store>("ann@basin.example"), Delivery::Defer(_)));
        assert!(files(&place.join("mail")).is_empty());
        message.set_config("directory", "/nowhere");
        let failure = message.try_local_delivery::<Store>("ann@basin.example").expect_err("no directory");
        assert!(failure.to_string().contains("--grant dir=HOSTDIR::/nowhere:rw"), "{failure}");
    }
}

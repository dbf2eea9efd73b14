//! RFC 5321 in the small: which replies an input gets, and which messages come of it.

#[path = "login.rs"]
mod login;

use basin_fuzzing::world::{MESSAGE_BYTES_MAX, Offers, RECIPIENTS_MAX};

use crate::octets::{bare_line_ends, is_same};
use crate::scram::Proofs;
use crate::words::{Greeting, Wishes, Word, word};

/// Longest command line, CR LF included.
const LINE_BYTES_MAX: usize = 2_048;

/// Whom sinks fail at the end of the text, where they judge recipients.
pub(crate) const UNWANTED: &str = "bob@basin.example";

/// What a session meets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meets<'a> {
    /// What the listener offers.
    pub(crate) offers: Offers,
    /// Whether a sink fails [`UNWANTED`] at the end of each text.
    pub(crate) is_judged: bool,
    /// Which lines of the input are proofs of SCRAM.
    pub(crate) proofs: &'a Proofs,
}

/// What a session has to come to.
#[derive(Debug, Default)]
pub(crate) struct Predicted {
    /// Codes of all replies in order.
    pub(crate) codes: Vec<u16>,
    /// Sender, recipients and text of the stored messages in order.
    pub(crate) letters: Vec<(String, Vec<String>, Vec<u8>)>,
    /// Whether STARTTLS and AUTH are offered in each answer to EHLO.
    pub(crate) offered: Vec<(bool, bool)>,
    /// Whether the server closes the connection.
    pub(crate) is_closed: bool,
}

#[derive(Debug)]
struct Transaction {
    sender: &'static str,
    recipients: Vec<&'static str>,
    /// Whom each RCPT named that was answered with 250.
    heard: Vec<&'static str>,
    has_refused: bool,
    wishes: Wishes,
    /// What came of its text in chunks.
    chunks: Option<Vec<u8>>,
}

struct Model<'a> {
    input: &'a [u8],
    pieces: &'a [usize],
    at: usize,
    arrived: usize,
    turn: usize,
    offers: Offers,
    is_judged: bool,
    proofs: &'a Proofs,
    greeting: Option<Greeting>,
    has_tls: bool,
    is_logged_in: bool,
    /// Logins that failed.
    failures: u32,
    transaction: Option<Transaction>,
    /// The recipients of a message differed: from then on there is one at a time.
    /// Recipients of this sender of whom one was not wanted by a sink, and the others were.
    apart: Option<(&'static str, Vec<&'static str>)>,
    /// DATA was refused just now: what follows unseen is the text of a message, not commands.
    is_after_refused_data: bool,
    predicted: Predicted,
}

/// Says what has to come of an input that arrives in such pieces.
pub(crate) fn predict(input: &[u8], pieces: &[usize], meets: Meets<'_>) -> Predicted {
    let Meets { offers, is_judged, proofs } = meets;
    let mut model = Model {
        input,
        pieces,
        at: 0,
        arrived: 0,
        turn: 0,
        offers,
        is_judged,
        proofs,
        greeting: None,
        has_tls: false,
        is_logged_in: false,
        failures: 0,
        transaction: None,
        apart: None,
        is_after_refused_data: false,
        predicted: Predicted::default(),
    };
    model.say(220);
    while !model.predicted.is_closed {
        if model.is_after_refused_data && model.arrived > model.at {
            model.close(554);
        } else if let Some(line) = model.line() {
            model.command(line);
        } else {
            break;
        }
    }
    model.predicted
}

impl<'a> Model<'a> {
    fn say(&mut self, code: u16) {
        self.predicted.codes.push(code);
    }

    fn close(&mut self, code: u16) {
        self.say(code);
        self.predicted.is_closed = true;
    }

    /// Waits until the input up to the mark has arrived, and takes it; `None` where the mark never comes.
    fn up_to(&mut self, mark: &[u8]) -> Option<&'a [u8]> {
        let rest = self.input.get(self.at..)?;
        let len = rest.windows(mark.len()).position(|octets| octets == mark)? + mark.len();
        self.arrive(self.at + len);
        self.at += len;
        rest.get(..len)
    }

    fn arrive(&mut self, end: usize) {
        while self.arrived < end {
            let piece = self.pieces.get(self.turn % self.pieces.len().max(1)).copied().unwrap_or(usize::MAX);
            self.turn += 1;
            self.arrived = self.arrived.saturating_add(piece).min(self.input.len());
        }
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        self.up_to(b"\r\n").map(|line| line.strip_suffix(b"\r\n").unwrap_or(line))
    }

    fn command(&mut self, line: &[u8]) {
        let word = if line.len() + 2 > LINE_BYTES_MAX { Word::Nothing } else { word(line) };
        if self.is_after_refused_data && word == Word::Nothing {
            return self.close(554);
        }
        self.is_after_refused_data = false;
        if self.must_wait_for_tls(word) || word == Word::Nothing && self.is_barred() && has_verb(line) {
            self.is_after_refused_data = matches!(word, Word::Data);
            return self.say(530);
        }
        match word {
            Word::Greet(greeting) => self.greet(greeting),
            Word::Mail(sender, refused) => self.mail(sender, refused, Wishes::NONE),
            Word::TlsMail(sender) => self.mail(sender, (!self.has_tls).then_some(555), Wishes::NONE),
            Word::WishMail(sender, wishes) => self.mail(sender, None, wishes),
            Word::Bdat(octets, is_last) => self.bdat(octets, is_last),
            // Nobody knows how much of what follows is text.
            Word::BdatWrong => self.close(501),
            Word::Rcpt(address, refused) => self.rcpt(address, refused),
            Word::Utf8Rcpt(address, refused) => self.utf8_rcpt(address, refused),
            Word::Utf8Far(address) => self.utf8_rcpt(address, (!self.is_logged_in).then_some(550)),
            Word::Far(address) => self.rcpt(address, (!self.is_logged_in).then_some(550)),
            Word::Data => self.data(),
            Word::DataWrong => {
                self.is_after_refused_data = true;
                self.say(501);
            }
            Word::Rset => {
                self.transaction = None;
                self.say(250);
            }
            Word::Quit => self.close(221),
            Word::Answer(code) | Word::Told(code) => self.say(code),
            Word::StartTls => self.start_tls(),
            Word::Auth(mechanism, initial) => self.auth(mechanism, initial),
            Word::Xclient(is_user, greeting) => self.xclient(is_user, greeting),
            Word::Http => self.close(502),
            Word::Nothing => self.say(500),
        }
    }

    // RFC 3207 §4: who demands TLS lets only what leads to it through. What has the wrong form is told so before.
    fn must_wait_for_tls(&self, word: Word) -> bool {
        let is_barred = match word {
            Word::Mail(..) | Word::TlsMail(_) | Word::WishMail(..) | Word::Data | Word::Told(_) | Word::Auth(..) => {
                true
            }
            Word::Rcpt(..) | Word::Far(_) | Word::Utf8Rcpt(..) | Word::Utf8Far(_) => true,
            // Its octets are text all the same; `bdat` sees to that.
            Word::Bdat(..) | Word::BdatWrong => false,
            Word::Rset | Word::Greet(Greeting::Helo) | Word::Xclient(..) => true,
            Word::Greet(Greeting::Ehlo) | Word::DataWrong | Word::Quit | Word::Answer(_) => false,
            Word::StartTls | Word::Http | Word::Nothing => false,
        };
        is_barred && self.is_barred()
    }

    fn is_barred(&self) -> bool {
        self.offers.has_tls && self.offers.needs_tls && !self.has_tls
    }

    fn greet(&mut self, greeting: Greeting) {
        self.greeting = Some(greeting);
        self.transaction = None;
        self.say(250);
        if greeting == Greeting::Ehlo {
            let has_tls = self.offers.has_tls && !self.has_tls;
            let has_auth = self.offers.has_auth && (self.has_tls || !self.offers.auth_needs_tls);
            self.predicted.offered.push((has_tls, has_auth));
        }
    }

    // RFC 3207 §4.2: what was said in the open is forgotten, and what came before the handshake is not taken for
    // what comes after it.
    fn start_tls(&mut self) {
        if !self.offers.has_tls || self.has_tls {
            return self.say(if self.has_tls { 503 } else { 502 });
        }
        if self.arrived > self.at {
            self.predicted.is_closed = true;
            return;
        }
        self.say(220);
        self.has_tls = true;
        self.greeting = None;
        self.is_logged_in = false;
        self.transaction = None;
    }

    // Postfix, "XCLIENT Howto": who may say it speaks for another client from then on, of whom nothing is known but
    // that. The connection is the same, and so is its encryption.
    fn xclient(&mut self, is_user: bool, greeting: Option<Greeting>) {
        if !self.offers.has_xclient {
            return self.say(502);
        }
        if self.transaction.is_some() {
            return self.say(503);
        }
        self.say(220);
        self.greeting = greeting;
        self.is_logged_in = is_user;
        self.failures = 0;
        self.apart = None;
    }

    fn mail(&mut self, sender: &'static str, refused: Option<u16>, wishes: Wishes) {
        if self.greeting.is_none() || self.transaction.is_some() {
            return self.say(503);
        }
        if refused.is_none() {
            let (recipients, heard) = (Vec::new(), Vec::new());
            self.transaction =
                Some(Transaction { sender, recipients, heard, has_refused: false, wishes, chunks: None });
        }
        self.say(refused.unwrap_or(250));
    }

    // RFC 6531 §3.5.
    fn utf8_rcpt(&mut self, address: &'static str, refused: Option<u16>) {
        match self.transaction.as_ref().filter(|it| it.chunks.is_none()) {
            Some(transaction) if !transaction.wishes.is_utf8 => self.say(553),
            Some(_) | None => self.rcpt(address, refused),
        }
    }

    fn rcpt(&mut self, address: &'static str, refused: Option<u16>) {
        let Some(transaction) = self.transaction.as_mut().filter(|it| it.chunks.is_none()) else {
            return self.say(503);
        };
        // RFC 9422 §4: commands are counted. Who differed about a message of the sender is not named with each other.
        let differs = |(sender, those): &(&str, Vec<&str>)| {
            let is_known = |address: &str| those.iter().any(|other| is_same(other, address));
            let is_other = |there: &&str| is_known(there) && is_same(there, UNWANTED) != is_same(address, UNWANTED);
            *sender == transaction.sender && is_known(address) && transaction.heard.iter().any(is_other)
        };
        let is_apart = self.apart.as_ref().is_some_and(differs);
        let refused = if transaction.heard.len() >= RECIPIENTS_MAX || is_apart { Some(452) } else { refused };
        match refused {
            Some(_) => transaction.has_refused = true,
            None if transaction.recipients.iter().any(|other| is_same(other, address)) => {}
            None => transaction.recipients.push(address),
        }
        transaction.heard.extend(refused.is_none().then_some(address));
        self.say(refused.unwrap_or(250));
    }

    fn data(&mut self) {
        let has_recipients = self.transaction.as_ref().is_some_and(|it| !it.recipients.is_empty());
        if !has_recipients {
            // RFC 2920 §3.1: who pipelines cannot know that no recipient was taken.
            let has_refused = self.transaction.as_ref().is_some_and(|it| it.has_refused);
            self.is_after_refused_data = true;
            return self.say(if has_refused { 554 } else { 503 });
        }
        if self.transaction.as_ref().is_some_and(|it| it.wishes.is_binary || it.chunks.is_some()) {
            self.is_after_refused_data = true;
            return self.say(503);
        }
        self.say(354);
        let Some(transaction) = self.transaction.take() else { return };
        let Some(text) = self.text() else {
            // The end never comes; nothing is stored and nothing said.
            self.at = self.input.len();
            return;
        };
        if let Err(code) = text {
            return self.say(code);
        }
        self.store(&transaction, text.unwrap_or_default());
    }

    fn store(&mut self, transaction: &Transaction, text: Vec<u8>) {
        let is_folded = text.starts_with(b" ") || text.starts_with(b"\t");
        // White space at the start continues no field: the text has no header, and an empty line shows that.
        let text = if is_folded { [b"\r\n", text.as_slice()].concat() } else { text };
        let is_unwanted = |address: &str| self.is_judged && is_same(address, UNWANTED);
        let mut recipients = transaction.recipients.clone();
        let is_all = recipients.iter().all(|address| is_unwanted(address));
        if recipients.iter().any(|address| is_unwanted(address)) {
            if transaction.wishes.is_prdr {
                // draft-hall-prdr §4.5: a reply for each RCPT that was taken, and the one for the message.
                recipients.retain(|address| !is_unwanted(address));
                let replies = transaction.heard.iter().map(|address| if is_unwanted(address) { 550 } else { 250 });
                let replies: Vec<u16> = [353].into_iter().chain(replies).collect();
                self.predicted.codes.extend(replies);
            } else if !is_all && !self.is_logged_in {
                // A stranger's address may be forged, so nobody can be told later: it comes again for those who agree.
                let sender = transaction.sender;
                let known = self.apart.take().filter(|(other, _)| *other == sender).map(|(_, those)| those);
                let those = known.into_iter().flatten().chain(transaction.recipients.iter().copied());
                self.apart = Some((sender, those.collect()));
                return self.say(451);
            }
            if is_all {
                return self.say(550);
            }
        }
        let recipients = recipients.into_iter().map(str::to_owned).collect();
        self.predicted.letters.push((transaction.sender.to_owned(), recipients, text));
        self.say(250);
    }

    // RFC 3030 §2: the octets behind the line are text, whatever becomes of it, and a message that lost a chunk is
    // no message.
    fn bdat(&mut self, octets: usize, is_last: bool) {
        let transaction = self.transaction.take();
        let refused = match &transaction {
            _ if self.is_barred() => Some(530),
            None => Some(503),
            Some(transaction) if !transaction.recipients.is_empty() => None,
            Some(transaction) => Some(if transaction.has_refused { 554 } else { 503 }),
        };
        if octets as u64 > MESSAGE_BYTES_MAX {
            return self.close(refused.unwrap_or(552));
        }
        let Some(chunk) = self.octets(octets) else {
            self.at = self.input.len();
            return;
        };
        let Some(mut transaction) = transaction.filter(|_| refused.is_none()) else {
            return self.say(refused.unwrap_or(503));
        };
        let mut text = transaction.chunks.take().unwrap_or_default();
        text.extend_from_slice(chunk);
        // Of content of any octets only the header block has lines.
        let header_len = match text.windows(4).position(|octets| octets == b"\r\n\r\n") {
            _ if text.starts_with(b"\r\n") => Some(2),
            found => found.map(|at| at + 4),
        };
        let lines =
            header_len.filter(|_| transaction.wishes.is_binary).and_then(|len| text.get(..len)).unwrap_or(&text);
        let is_open = !lines.is_empty() && !lines.ends_with(b"\r\n");
        let bare = bare_line_ends(lines, is_last);
        if bare || lines.contains(&0) {
            return self.say(550);
        }
        if text.len() as u64 > MESSAGE_BYTES_MAX {
            return self.say(552);
        }
        if is_last {
            text.extend(if is_open { &b"\r\n"[..] } else { b"" });
            return self.store(&transaction, text);
        }
        transaction.chunks = Some(text);
        self.transaction = Some(transaction);
        self.say(250);
    }

    /// Takes so many octets, once they have arrived.
    fn octets(&mut self, count: usize) -> Option<&'a [u8]> {
        let octets = self.input.get(self.at..self.at + count)?;
        self.arrive(self.at + count);
        self.at += count;
        Some(octets)
    }

    /// The text up to its end, or the code that refuses it; `None` where it has no end.
    fn text(&mut self) -> Option<Result<Vec<u8>, u16>> {
        let (mut text, mut is_broken) = (Vec::new(), false);
        loop {
            let line = self.line()?;
            if line == b"." {
                break;
            }
            let line = line.strip_prefix(b".").unwrap_or(line);
            is_broken |= line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0));
            text.extend_from_slice(line);
            text.extend_from_slice(b"\r\n");
        }
        Some(if is_broken {
            Err(550)
        } else if text.len() as u64 > MESSAGE_BYTES_MAX {
            Err(552)
        } else {
            Ok(text)
        })
    }
}

// Whether a line that is no command of the server begins with a word that could be one of somebody's: letters, digits,
// hyphens and underscores, a letter first, 32 at most.
fn has_verb(line: &[u8]) -> bool {
    let verb = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    let verb = verb.trim_ascii_end();
    line.len() + 2 <= LINE_BYTES_MAX
        && !line.trim_ascii_end().iter().any(u8::is_ascii_control)
        && (1..=32).contains(&verb.len())
        && verb.first().is_some_and(u8::is_ascii_alphabetic)
        && verb.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet))
}

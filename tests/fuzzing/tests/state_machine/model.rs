//! RFC 5321 in the small: which replies an input gets, and which messages come of it.

use basin_fuzzing::world::{ATTEMPTS_MAX, MESSAGE_BYTES_MAX, Offers, RECIPIENTS_MAX, USER};

use crate::words::{Greeting, Sasl, Word, word};

/// Longest command line, CR LF included.
const LINE_BYTES_MAX: usize = 2_048;
/// Longest response to a challenge of AUTH, CR LF included (RFC 4954 §4).
const RESPONSE_BYTES_MAX: usize = 12_288;

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
    has_refused: bool,
    is_binary: bool,
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
    greeting: Option<Greeting>,
    has_tls: bool,
    is_logged_in: bool,
    /// Logins that failed.
    failures: u32,
    transaction: Option<Transaction>,
    /// DATA was refused just now: what follows unseen is the text of a message, not commands.
    is_after_refused_data: bool,
    predicted: Predicted,
}

/// Says what has to come of an input that arrives in such pieces.
pub(crate) fn predict(input: &[u8], pieces: &[usize], offers: Offers) -> Predicted {
    let mut model = Model {
        input,
        pieces,
        at: 0,
        arrived: 0,
        turn: 0,
        offers,
        greeting: None,
        has_tls: false,
        is_logged_in: false,
        failures: 0,
        transaction: None,
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
        if self.must_wait_for_tls(word) {
            self.is_after_refused_data = matches!(word, Word::Data);
            return self.say(530);
        }
        match word {
            Word::Greet(greeting) => self.greet(greeting),
            Word::Mail(sender, refused) => self.mail(sender, refused, false),
            Word::TlsMail(sender) => self.mail(sender, (!self.has_tls).then_some(555), false),
            Word::BinaryMail(sender) => self.mail(sender, None, true),
            Word::Bdat(octets, is_last) => self.bdat(octets, is_last),
            // Nobody knows how much of what follows is text.
            Word::BdatWrong => self.close(501),
            Word::Rcpt(address, refused) => self.rcpt(address, refused),
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
            Word::Http => self.close(502),
            Word::Nothing => self.say(500),
        }
    }

    // RFC 3207 §4: who demands TLS lets only what leads to it through. What has the wrong form is told so before.
    fn must_wait_for_tls(&self, word: Word) -> bool {
        let is_barred = match word {
            Word::Mail(..) | Word::TlsMail(_) | Word::BinaryMail(_) | Word::Rcpt(..) | Word::Far(_) | Word::Data => {
                true
            }
            Word::Told(_) | Word::Auth(..) => true,
            // Its octets are text all the same; `bdat` sees to that.
            Word::Bdat(..) | Word::BdatWrong => false,
            Word::Greet(_) | Word::DataWrong | Word::Rset | Word::Quit | Word::Answer(_) => false,
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

    // RFC 4954 §4.
    fn auth(&mut self, mechanism: Sasl, initial: Option<&'static str>) {
        if self.failures >= ATTEMPTS_MAX && self.offers.has_auth {
            return self.close(421);
        }
        if self.greeting != Some(Greeting::Ehlo) || self.is_logged_in || self.transaction.is_some() {
            return self.say(503);
        }
        if !self.offers.has_auth {
            return self.say(502);
        }
        if self.offers.auth_needs_tls && !self.has_tls {
            return self.say(538);
        }
        let end = match mechanism {
            Sasl::Unknown => Some(504),
            Sasl::Plain => self.plain(initial),
            Sasl::Login => self.login(initial),
        };
        // No end: the input was over, or the server hung up.
        let Some(code) = end else { return };
        self.is_logged_in = code == 235;
        self.failures += u32::from(code == 535);
        self.say(code);
    }

    fn plain(&mut self, initial: Option<&'static str>) -> Option<u16> {
        let response = match self.response(initial)? {
            Ok(response) => response,
            Err(code) => return Some(code),
        };
        let parts: Vec<&[u8]> = response.split(|octet| *octet == 0).collect();
        let [authorize_as, user, password] = parts.as_slice() else { return Some(501) };
        let is_self = authorize_as.is_empty() || authorize_as == user;
        Some(if is_self && (*user, *password) == right() { 235 } else { 535 })
    }

    fn login(&mut self, initial: Option<&'static str>) -> Option<u16> {
        let user = match self.response(initial)? {
            Ok(user) => user,
            Err(code) => return Some(code),
        };
        // What can be no user's name is told at once.
        let is_name =
            core::str::from_utf8(&user).is_ok_and(|name| !name.is_empty() && !name.contains(char::is_control));
        if !is_name {
            return Some(535);
        }
        match self.response(None)? {
            Ok(password) => Some(if (user.as_slice(), password.as_slice()) == right() { 235 } else { 535 }),
            Err(code) => Some(code),
        }
    }

    /// The response to a challenge, decoded; `None` where there is none, an error where it is not to be read.
    fn response(&mut self, initial: Option<&'static str>) -> Option<Result<Vec<u8>, u16>> {
        if let Some(initial) = initial {
            return Some(Ok(base64(initial.as_bytes()).unwrap_or_default()));
        }
        if self.arrived > self.at {
            self.close(503);
            return None;
        }
        self.say(334);
        let line = self.line()?;
        Some(if line.len() + 2 > RESPONSE_BYTES_MAX { Err(500) } else { base64(line).ok_or(501) })
    }

    fn mail(&mut self, sender: &'static str, refused: Option<u16>, is_binary: bool) {
        if self.greeting.is_none() || self.transaction.is_some() {
            return self.say(503);
        }
        if refused.is_none() {
            self.transaction =
                Some(Transaction { sender, recipients: Vec::new(), has_refused: false, is_binary, chunks: None });
        }
        self.say(refused.unwrap_or(250));
    }

    fn rcpt(&mut self, address: &'static str, refused: Option<u16>) {
        let Some(transaction) = self.transaction.as_mut().filter(|it| it.chunks.is_none()) else {
            return self.say(503);
        };
        let refused = if transaction.recipients.len() >= RECIPIENTS_MAX { Some(452) } else { refused };
        match refused {
            Some(_) => transaction.has_refused = true,
            None if transaction.recipients.iter().any(|other| is_same(other, address)) => {}
            None => transaction.recipients.push(address),
        }
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
        if self.transaction.as_ref().is_some_and(|it| it.is_binary || it.chunks.is_some()) {
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
        let recipients = transaction.recipients.iter().map(|address| (*address).to_owned()).collect();
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
        let lines = header_len.filter(|_| transaction.is_binary).and_then(|len| text.get(..len)).unwrap_or(&text);
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

// RFC 5321 §2.4: a domain has no case; quotes that need not be there mean nothing.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |address: &str| {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        (local.trim_matches('"').to_owned(), domain.to_ascii_lowercase())
    };
    plain(one) == plain(other)
}

// A CR without LF or an LF without CR; a CR at the end waits for what follows, where something does.
fn bare_line_ends(text: &[u8], is_whole: bool) -> bool {
    let next = |at: usize| text.get(at + 1).copied();
    text.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => next(at).map_or(is_whole, |next| next != b'\n'),
        b'\n' => at == 0 || text.get(at - 1) != Some(&b'\r'),
        _ => false,
    })
}

fn right() -> (&'static [u8], &'static [u8]) {
    (USER.0.as_bytes(), USER.1.as_bytes())
}

// RFC 4648 §4, strictly: whole groups, padding at the end alone, no bits left over.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padding = text.iter().rev().take_while(|octet| **octet == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for octet in text.get(..text.len() - padding)? {
        let value = ALPHABET.iter().position(|known| known == octet)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    (bits & ((1 << count) - 1) == 0).then_some(octets)
}

//! RFC 5321 in the small: which replies an input gets, and which messages come of it.

use crate::words::{Word, word};

/// Largest message and most recipients: those of the listener in `world`.
const MESSAGE_BYTES_MAX: usize = 200;
const RECIPIENTS_MAX: usize = 3;
/// Longest command line, CR LF included.
const LINE_BYTES_MAX: usize = 2_048;

/// What a session has to come to.
#[derive(Debug, Default)]
pub(crate) struct Predicted {
    /// Codes of all replies in order.
    pub(crate) codes: Vec<u16>,
    /// Sender, recipients and text of the stored messages in order.
    pub(crate) letters: Vec<(String, Vec<String>, Vec<u8>)>,
    /// Whether the server closes the connection.
    pub(crate) is_closed: bool,
}

#[derive(Debug)]
struct Transaction {
    sender: &'static str,
    recipients: Vec<&'static str>,
    has_refused: bool,
}

struct Model<'a> {
    input: &'a [u8],
    pieces: &'a [usize],
    at: usize,
    arrived: usize,
    turn: usize,
    has_greeted: bool,
    transaction: Option<Transaction>,
    /// DATA was refused just now: what follows unseen is the text of a message, not commands.
    is_after_refused_data: bool,
    predicted: Predicted,
}

/// Says what has to come of an input that arrives in such pieces.
pub(crate) fn predict(input: &[u8], pieces: &[usize]) -> Predicted {
    let mut model = Model {
        input,
        pieces,
        at: 0,
        arrived: 0,
        turn: 0,
        has_greeted: false,
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
        while self.arrived < self.at + len {
            let piece = self.pieces.get(self.turn % self.pieces.len().max(1)).copied().unwrap_or(usize::MAX);
            self.turn += 1;
            self.arrived = self.arrived.saturating_add(piece).min(self.input.len());
        }
        self.at += len;
        rest.get(..len)
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
        match word {
            Word::Greet => {
                self.has_greeted = true;
                self.transaction = None;
                self.say(250);
            }
            Word::Mail(sender, refused) => self.mail(sender, refused),
            Word::Rcpt(address, refused) => self.rcpt(address, refused),
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
            Word::Answer(code) => self.say(code),
            Word::Http => self.close(502),
            Word::Nothing => self.say(500),
        }
    }

    fn mail(&mut self, sender: &'static str, refused: Option<u16>) {
        if !self.has_greeted || self.transaction.is_some() {
            return self.say(503);
        }
        if refused.is_none() {
            self.transaction = Some(Transaction { sender, recipients: Vec::new(), has_refused: false });
        }
        self.say(refused.unwrap_or(250));
    }

    fn rcpt(&mut self, address: &'static str, refused: Option<u16>) {
        let Some(transaction) = &mut self.transaction else { return self.say(503) };
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
        let text = text.unwrap_or_default();
        let is_folded = text.starts_with(b" ") || text.starts_with(b"\t");
        // White space at the start continues no field: the text has no header, and an empty line shows that.
        let text = if is_folded { [b"\r\n", text.as_slice()].concat() } else { text };
        let recipients = transaction.recipients.iter().map(|address| (*address).to_owned()).collect();
        self.predicted.letters.push((transaction.sender.to_owned(), recipients, text));
        self.say(250);
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
        } else if text.len() > MESSAGE_BYTES_MAX {
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

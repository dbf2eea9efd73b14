//! A server that remembers what it was told.

use crate::message::content_of;

pub(crate) const HEADER: &[u8] = b"Subject: x\r\n";
pub(crate) const BODY: &[u8] = b"text\r\n.dots\r\n";
pub(crate) const BLOBS: [&[u8]; 4] = [
    b"octets\r\n.\r\nof a filter;",
    b"one line\r\n",
    b"a\r\n\r\nb\r\nRS RSET\r\nand\r\nso on\r\n \r\n",
    b"in one piece",
];

/// Numbers that look random and come out of a seed (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.next(bound) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next(of.len() as u64)).expect("small")]
    }
}

pub(crate) enum Mode {
    Commands,
    Text,
    Chunk(usize, bool),
    Blob,
    Closed,
}

/// Each of its replies names what it answers.
pub(crate) struct Server {
    pub(crate) mode: Mode,
    pub(crate) dice: Dice,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) offers: String,
    pub(crate) is_lmtp: bool,
    pub(crate) is_open: bool,
    pub(crate) is_spoiled: bool,
    pub(crate) is_broken: bool,
    pub(crate) taken: Vec<String>,
    pub(crate) content: Vec<u8>,
    /// To whom it has delivered the message in hand.
    pub(crate) delivered: Vec<String>,
    /// It and its sinks send blobs often.
    pub(crate) likes_blobs: bool,
    /// Octets of a blob that it did not take for such, in front of what follows.
    pub(crate) debris: usize,
    /// Whether the next line of them may begin in the middle, and so be anything.
    pub(crate) is_cut: bool,
    /// It has answered one of them.
    pub(crate) is_out_of_step: bool,
}

impl Server {
    fn say(&mut self, code: u64, tag: &str) -> bool {
        if self.dice.one_in(300) {
            self.output.extend_from_slice(format!("421 {tag}\r\n").as_bytes());
            self.mode = Mode::Closed;
            return false;
        }
        self.output.extend_from_slice(format!("{code} {tag}\r\n").as_bytes());
        code / 100 == 2
    }

    pub(crate) fn take(&mut self, octets: &[u8]) {
        // It answered too early, and waits for commands.
        if BLOBS.contains(&octets) && !matches!(self.mode, Mode::Blob) {
            (self.debris, self.is_cut) = (self.debris + octets.len(), false);
        }
        self.input.extend_from_slice(octets);
        while self.advance() {}
    }

    fn cut(&mut self, len: usize) -> Vec<u8> {
        self.input.drain(..len).collect()
    }

    fn find(&self, end: &[u8]) -> Option<usize> {
        self.input.windows(end.len()).position(|window| window == end).map(|at| at + end.len())
    }

    fn advance(&mut self) -> bool {
        match self.mode {
            Mode::Closed => false,
            Mode::Commands => {
                let Some(len) = self.find(b"\r\n") else { return false };
                let line = String::from_utf8(self.cut(len)).expect("text");
                if self.debris > 0 {
                    self.left_over(&line, len);
                } else {
                    self.command(line.trim_end());
                }
                true
            }
            Mode::Text => {
                let end = if self.input.starts_with(b".\r\n") { Some(3) } else { self.find(b"\r\n.\r\n") };
                let Some(len) = end else { return false };
                self.content = self.cut(len);
                self.mode = Mode::Commands;
                self.end(b".\r\n", &content_of(HEADER, b"text\r\n..dots\r\n.\r\n"));
                true
            }
            Mode::Chunk(len, is_last) => {
                if self.input.len() < len {
                    return false;
                }
                let chunk = self.cut(len);
                self.content.extend_from_slice(&chunk);
                self.mode = Mode::Commands;
                if self.is_broken {
                    // RFC 3030 §2: behind a chunk that was refused nothing is taken but RSET.
                    self.say(503, if is_last { "." } else { "BDAT" });
                } else if is_last {
                    self.end(b"", &content_of(HEADER, BODY));
                } else {
                    self.is_broken = self.dice.one_in(20);
                    self.say(if self.is_broken { 452 } else { 250 }, "BDAT");
                }
                true
            }
            Mode::Blob => {
                if self.input.is_empty() {
                    return false;
                }
                let len = if self.debris == 0 { self.input.len() } else { self.debris };
                let is_blob = self.debris > 0 || BLOBS.contains(&self.input.as_slice());
                assert!(is_blob, "something else passes for octets: {:?}", self.input);
                let bound = u64::try_from(len).expect("small") + 1;
                let taken =
                    if self.dice.one_in(3) { usize::try_from(self.dice.next(bound)).expect("small") } else { len };
                self.cut(taken);
                (self.debris, self.is_cut) = (len - taken, true);
                self.mode = Mode::Commands;
                self.own();
                true
            }
        }
    }

    // What is left of a blob is read as commands. A line that begins where one of the blob begins has no verb, nor has
    // the last one anywhere; the first of several may be anything.
    fn left_over(&mut self, line: &str, len: usize) {
        self.debris = self.debris.saturating_sub(len);
        let is_alone = !self.input.get(..self.debris).is_some_and(|rest| rest.ends_with(b"so on\r\n \r\n"));
        let is_anything = core::mem::take(&mut self.is_cut) && !is_alone;
        if line.trim().is_empty() && self.dice.one_in(2) {
            return;
        }
        let code = if is_anything { self.dice.pick(&[250, 354, 500]) } else { 500 };
        self.is_out_of_step = true;
        self.say(code, "LEFT");
    }

    fn reset(&mut self) {
        (self.is_open, self.is_broken) = (false, false);
        self.taken.clear();
        self.content.clear();
    }

    fn own(&mut self) {
        let code =
            if self.likes_blobs { self.dice.pick(&[250, 354, 354]) } else { self.dice.pick(&[250, 250, 500, 354]) };
        self.say(code, "XOWN");
        if code == 354 && !matches!(self.mode, Mode::Closed) {
            self.mode = Mode::Blob;
        }
    }

    // The end of the content: everything that was said before must have come to this.
    fn end(&mut self, of_nobody: &[u8], whole: &[u8]) {
        let takers = core::mem::take(&mut self.taken);
        let content = core::mem::take(&mut self.content);
        let is_bdat = of_nobody.is_empty();
        if takers.is_empty() && !is_bdat {
            assert_eq!(content, of_nobody, "content for nobody");
        } else if !takers.is_empty() {
            assert_eq!(String::from_utf8_lossy(&content), String::from_utf8_lossy(whole));
        }
        self.is_open = false;
        if self.is_lmtp {
            for name in takers {
                let code = self.dice.pick(&[250, 250, 250, 452, 554]);
                if self.say(code, &format!(".:{name}")) {
                    self.delivered.push(name);
                }
                if matches!(self.mode, Mode::Closed) {
                    break;
                }
            }
            return;
        }
        let code = if takers.is_empty() { 554 } else { self.dice.pick(&[250, 250, 250, 452, 554]) };
        if self.say(code, ".") {
            self.delivered.extend(takers);
        } else if is_bdat {
            self.is_open = true;
        }
    }

    fn command(&mut self, line: &str) {
        let verb = line.split(' ').next().unwrap_or_default();
        let code = self.dice.pick(&[250, 250, 250, 250, 250, 250, 451, 550]);
        assert!(verb == "NOOP" || !self.is_out_of_step, "{line:?} leaves out of step");
        match verb {
            "NOOP" => {
                self.say(250, verb);
            }
            "EHLO" | "LHLO" => {
                if !self.dice.one_in(12) {
                    let offers = self.offers.clone();
                    self.output.extend_from_slice(offers.as_bytes());
                    self.reset();
                } else {
                    self.say(code.max(451), verb);
                }
            }
            "HELO" => {
                self.say(250, verb);
                self.reset();
            }
            "RSET" => {
                let code = if self.dice.one_in(30) { 500 } else { 250 };
                // The MAIL that came along with it is refused, and whoever sent both sees why.
                self.is_spoiled = code == 500;
                if self.say(code, "RSET") {
                    self.reset();
                }
            }
            "MAIL" => {
                assert!(!self.is_open || self.is_spoiled, "MAIL in an open transaction");
                self.is_open = self.say(if self.is_spoiled { 503 } else { code }, "MAIL");
            }
            "RCPT" => {
                let name = line.split(['<', '@']).nth(1).expect("an address").to_owned();
                let code = if self.is_open { code } else { 503 };
                if self.say(code, &format!("RCPT:{name}")) {
                    self.taken.push(name);
                }
            }
            "DATA" => {
                let is_evil = self.dice.one_in(10);
                let go = self.dice.pick(&[354, 354, 354, 354, 451, 554]);
                let code = if self.is_open && (is_evil || !self.taken.is_empty()) { go } else { 503 };
                self.say(code, "DATA");
                if code == 354 && !matches!(self.mode, Mode::Closed) {
                    self.mode = Mode::Text;
                }
            }
            "BDAT" => {
                assert!(self.is_open && !self.taken.is_empty(), "content for nobody");
                let mut words = line.split(' ').skip(1);
                let len = words.next().and_then(|len| len.parse().ok()).expect("a length");
                self.mode = Mode::Chunk(len, words.next() == Some("LAST"));
            }
            "XOWN" => self.own(),
            "QUIT" => {
                self.say(221, "QUIT");
            }
            _ => panic!("out of step: {line:?} is no command"),
        }
    }
}

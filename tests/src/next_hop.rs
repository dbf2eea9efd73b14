//! A next hop that writes down every octet: the server that mail is relayed to.
//!
//! It takes ESMTP with PIPELINING, CHUNKING, 8BITMIME, SMTPUTF8, DSN and SIZE, or LMTP, and answers as a script
//! says. It judges nothing: what came is there to be compared.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A reply in place of the usual one, for a command line that came for the n-th time, counted from 0. The end of
/// the content is the line `.` or `BDAT n LAST`. `None` is the usual reply; an empty text closes the connection.
pub type Script = dyn Fn(&str, u32) -> Option<String> + Send + Sync;

/// Silence after which a connection is closed.
const SILENCE: Duration = Duration::from_secs(60);

/// How the server presents itself.
#[derive(Clone)]
pub struct Manners {
    /// Keywords in the answer to EHLO or LHLO.
    pub keywords: Vec<String>,
    /// One reply for each recipient after the content (RFC 2033).
    pub is_lmtp: bool,
    /// What it says instead.
    pub script: Arc<Script>,
}

impl Default for Manners {
    fn default() -> Self {
        let keywords =
            ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"];
        Self { keywords: keywords.map(str::to_owned).to_vec(), is_lmtp: false, script: Arc::new(|_, _| None) }
    }
}

/// One message as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The MAIL line.
    pub mail: String,
    /// The RCPT lines that were taken.
    pub recipients: Vec<String>,
    /// Octets between the go-ahead and the end, dots and all; with BDAT, the chunks one after the other.
    pub wire: Vec<u8>,
    /// Whether it came with BDAT.
    pub is_chunked: bool,
    /// Whether it was answered with 250.
    pub is_taken: bool,
    /// Whether nothing was said after the content, by the script's will: the sender cannot know that it was taken.
    pub is_unanswered: bool,
    /// Number of the connection, from 0.
    pub connection: u32,
    /// Number of the transaction whose content came, from 0.
    pub number: u32,
}

impl Transaction {
    /// The message: with DATA, without the dots that were stuffed and the one at the end.
    pub fn content(&self) -> Vec<u8> {
        if self.is_chunked {
            return self.wire.clone();
        }
        let text = self.wire.strip_suffix(b".\r\n").unwrap_or(&self.wire);
        let mut content = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        content
    }
}

#[derive(Default)]
struct Books {
    lines: Vec<String>,
    /// How often each line came.
    seen: HashMap<String, u32>,
    transactions: Vec<Transaction>,
}

struct Shared {
    manners: Mutex<Manners>,
    books: Mutex<Books>,
    connections: AtomicU32,
    open: AtomicU32,
    /// Transactions whose content came.
    count: AtomicU32,
    is_over: AtomicBool,
}

/// A running next hop; it ends with the value.
pub struct NextHop {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl NextHop {
    /// Starts one on a free port of loopback.
    pub fn start(manners: Manners) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), manners)
    }

    /// Starts one at an address.
    pub fn start_at(address: SocketAddr, manners: Manners) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manners: Mutex::new(manners),
            books: Mutex::default(),
            connections: AtomicU32::new(0),
            open: AtomicU32::new(0),
            count: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, accepting.clone()) else { continue };
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.open.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || {
                    let talk = Talk::new(stream, shared.clone(), number);
                    // A client that goes away in the middle is its own affair.
                    talk.and_then(Talk::run).ok();
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves in another way from the next command on.
    pub fn set_manners(&self, manners: Manners) {
        *lock(&self.shared.manners) = manners;
    }

    /// Everything that came so far, in the order of its end.
    pub fn transactions(&self) -> Vec<Transaction> {
        lock(&self.shared.books).transactions.clone()
    }

    /// Everything that came since the last call, which is forgotten with it; for long runs.
    pub fn take_transactions(&self) -> Vec<Transaction> {
        let mut books = lock(&self.shared.books);
        books.lines.clear();
        std::mem::take(&mut books.transactions)
    }

    /// Those that were answered with 250.
    pub fn taken(&self) -> Vec<Transaction> {
        self.transactions().into_iter().filter(|transaction| transaction.is_taken).collect()
    }

    /// Every command line, in the order of its arrival.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.shared.books).lines.clone()
    }

    /// Connections that are open now.
    pub fn open(&self) -> u32 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; that nobody listens any more is what is wanted.
        drop(TcpStream::connect(self.address));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Talk {
    input: BufReader<TcpStream>,
    output: TcpStream,
    shared: Arc<Shared>,
    current: Transaction,
    number: u32,
}

impl Talk {
    fn new(stream: TcpStream, shared: Arc<Shared>, number: u32) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let output = stream.try_clone()?;
        let current = Transaction { connection: number, ..Transaction::default() };
        Ok(Self { input: BufReader::new(stream), output, shared, current, number })
    }

    fn run(mut self) -> io::Result<()> {
        if self.answer("connect", "220 next.example ESMTP".into())?.is_none() {
            return Ok(());
        }
        while let Some(line) = self.line()? {
            if !self.command(&line)? {
                break;
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        Ok((!line.is_empty()).then_some(text))
    }

    // Sends the reply that the script has for a line, else the usual one; `None` where it closes the connection.
    fn answer(&mut self, line: &str, usual: String) -> io::Result<Option<String>> {
        let seen = {
            let mut books = lock(&self.shared.books);
            books.lines.push(line.to_owned());
            let seen = books.seen.entry(line.to_owned()).or_default();
            *seen += 1;
            *seen - 1
        };
        let script = lock(&self.shared.manners).script.clone();
        let reply = script(line, seen).unwrap_or(usual);
        if reply.is_empty() {
            return Ok(None);
        }
        self.output.write_all(format!("{reply}\r\n").as_bytes())?;
        Ok(Some(reply))
    }

    // Whether the connection goes on.
    fn command(&mut self, line: &str) -> io::Result<bool> {
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let usual = match word.as_str() {
            "EHLO" | "LHLO" => self.greeting(),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            "DATA" if self.current.recipients.is_empty() => "554 5.5.1 no recipients".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "BDAT" => return self.chunk(line),
            "RSET" | "MAIL" | "RCPT" | "NOOP" | "HELO" => "250 2.0.0 fine".to_owned(),
            _ => "502 5.5.1 what?".to_owned(),
        };
        let Some(reply) = self.answer(line, usual)? else { return Ok(false) };
        match word.as_str() {
            "QUIT" => return Ok(false),
            "MAIL" | "RSET" => {
                self.current = Transaction { connection: self.number, ..Transaction::default() };
                if word == "MAIL" {
                    line.clone_into(&mut self.current.mail);
                }
            }
            "RCPT" if reply.starts_with('2') => self.current.recipients.push(line.to_owned()),
            "DATA" if reply.starts_with('3') => {
                loop {
                    let start = self.current.wire.len();
                    self.input.read_until(b'\n', &mut self.current.wire)?;
                    match self.current.wire.get(start..) {
                        Some(b".\r\n") => break,
                        Some([]) | None => return Ok(false),
                        Some(_) => {}
                    }
                }
                return self.end(".");
            }
            _ => {}
        }
        Ok(!reply.starts_with("421"))
    }

    fn greeting(&self) -> String {
        let keywords = lock(&self.shared.manners).keywords.clone();
        let lines: Vec<String> = std::iter::once("next.example".to_owned()).chain(keywords).collect();
        let last = lines.len().saturating_sub(1);
        let numbered = lines.iter().enumerate();
        let lines = numbered.map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }));
        lines.collect::<Vec<_>>().join("\r\n")
    }

    fn chunk(&mut self, line: &str) -> io::Result<bool> {
        let mut words = line.split(' ').skip(1);
        let size: u64 = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
        let is_last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        (&mut self.input).take(size).read_to_end(&mut self.current.wire)?;
        self.current.is_chunked = true;
        if is_last {
            return self.end(line);
        }
        let reply = self.answer(line, "250 2.0.0 more".into())?;
        Ok(reply.is_some())
    }

    // The content is here: one reply, or one for each recipient.
    fn end(&mut self, line: &str) -> io::Result<bool> {
        let mut transaction = std::mem::take(&mut self.current);
        self.current.connection = self.number;
        let is_lmtp = lock(&self.shared.manners).is_lmtp;
        let replies = if is_lmtp { transaction.recipients.len() } else { 1 };
        // Written down before it is acknowledged, so that nobody is told of what nobody can find.
        transaction.is_taken = true;
        transaction.number = self.shared.count.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.books).transactions.push(transaction.clone());
        for at in 0..replies {
            let line = if is_lmtp { transaction.recipients.get(at).map_or(line, String::as_str) } else { line };
            let reply = self.answer(line, "250 2.0.0 taken".into())?;
            let is_refused = reply.as_ref().is_some_and(|reply| !reply.starts_with('2'));
            if is_refused || reply.is_none() {
                let mut books = lock(&self.shared.books);
                let there = books.transactions.iter_mut().find(|there| there.number == transaction.number);
                if let Some(there) = there {
                    there.is_taken &= !is_refused;
                    there.is_unanswered = reply.is_none();
                }
            }
            if reply.is_none_or(|reply| reply.starts_with("421")) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

//! Load for the crash runs: clients that go on until their server dies under them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::client::{Client, stuffed};
use crate::ledger::Ledger;
use crate::letter::Letter;
use crate::random::Random;

/// Number given to each new letter of this process, so that no two are the same.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Clients at work; they end at the first error or when they are told.
#[derive(Debug)]
pub struct Storm {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the clients of a storm have in common.
#[derive(Debug, Clone)]
pub struct Weather {
    /// The server.
    pub server: SocketAddr,
    /// The run's seed, part of each letter.
    pub run: u64,
    /// Which life of the server this is.
    pub life: u32,
    /// Largest body in octets, now and then; most are far smaller.
    pub body_bytes_max: u32,
    /// Where the clients write to; more often to the first ones.
    pub recipients: Vec<String>,
    /// The sender, who is told of failures.
    pub sender: String,
    /// The books.
    pub ledger: Arc<Mutex<Ledger>>,
}

impl Storm {
    /// Lets that many clients loose.
    pub fn rise(weather: &Weather, clients: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |author| {
            let (weather, stop) = (weather.clone(), Arc::clone(&stop));
            thread::spawn(move || Author::new(weather, author).work(&stop))
        };
        Self { threads: (1..=clients).map(start).collect(), stop }
    }

    /// Tells the clients to stop and waits for them.
    ///
    /// Call it after the kill where the server is to die under load: until then they go on.
    pub fn settle(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a client of the storm panicked"))?;
        }
        Ok(())
    }
}

struct Author {
    weather: Weather,
    author: u32,
    random: Random,
}

impl Author {
    fn new(weather: Weather, author: u32) -> Self {
        let seed = weather.run ^ (u64::from(weather.life) << 20) ^ u64::from(author);
        Self { weather, author, random: Random::new(seed) }
    }

    fn work(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            // An error is the expected end: the server was killed. A refusal is no error, the letter just does
            // not count.
            if self.session(stop).is_err() {
                return;
            }
        }
    }

    fn session(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut client = Client::greeted(self.weather.server)?;
        for _ in 0..self.random.between(1, 20) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.letter(&mut client)?;
        }
        client.quit()
    }

    fn letter(&mut self, client: &mut Client) -> io::Result<()> {
        let size = match self.random.between(0, 15) {
            0 => self.random.between(0, u64::from(self.weather.body_bytes_max)),
            1..=4 => self.random.between(4_000, 40_000),
            5.. => self.random.between(0, 4_000),
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let letter = Letter { run: self.weather.run, author: self.author, number, size };
        let recipients = self.recipients();
        let mut commands = format!("MAIL FROM:<{}>\r\n", self.weather.sender);
        for recipient in &recipients {
            commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        commands.push_str("DATA\r\n");
        client.send(commands.as_bytes())?;
        for _ in 0..=recipients.len() {
            client.expect(250)?;
        }
        client.expect(354)?;
        // From here on the letter may arrive whatever becomes of the answer.
        self.book(|ledger, _| ledger.leave_open(&letter, &recipients));
        let wire = stuffed(&letter.text());
        let sent = Instant::now();
        client.send(&wire)?;
        if client.reply()?.code == 250 {
            self.book(|ledger, life| ledger.acknowledge(&letter, &recipients, life, sent));
        }
        Ok(())
    }

    // One to three of them; the first of the list in half of the cases.
    fn recipients(&mut self) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            let last = self.weather.recipients.len().saturating_sub(1) as u64;
            let at = if self.random.once_in(2) { 0 } else { self.random.between(0, last) };
            let recipient = usize::try_from(at).ok().and_then(|at| self.weather.recipients.get(at));
            chosen.extend(recipient.filter(|recipient| !chosen.contains(recipient)).cloned());
        }
        chosen
    }

    fn book(&self, entry: impl FnOnce(&mut Ledger, u32)) {
        let mut ledger = self.weather.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        entry(&mut ledger, self.weather.life);
    }
}

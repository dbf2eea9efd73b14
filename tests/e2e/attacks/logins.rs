//! Passwords guessed over the wire: how many a session and a network are allowed, and what each costs in time.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use basin_tests::client::Client;
use basin_tests::server::TestServer;

use crate::Outcome;
use crate::auth::{self, RIGHT, WRONG};

/// Where the guesses come from, and somebody else.
const GUESSER: &str = "192.0.2.66";
const OTHER: &str = "192.0.2.7";

/// Sessions that guess at the same time, three times each: more than the 30 of a network.
const SESSIONS: usize = 12;

/// A session from that address, by way of a proxy, that could log in now.
fn encrypted(server: &TestServer, from: &str) -> io::Result<Client> {
    let mut client = Client::connect(server.smtp())?;
    client.send(format!("PROXY TCP4 {from} 198.51.100.2 4000 25\r\n").as_bytes())?;
    client.expect(220)?;
    client.command("EHLO client.example")?.require(250)?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    Ok(client)
}

/// Guesses until the session is told to go, and says which codes came after which time.
fn guess(server: &TestServer) -> io::Result<Vec<(u16, Duration)>> {
    let mut client = encrypted(server, GUESSER)?;
    let mut answers = Vec::new();
    loop {
        let began = Instant::now();
        let code = client.command(WRONG)?.code;
        answers.push((code, began.elapsed()));
        if code != 535 {
            return Ok(answers);
        }
    }
}

#[test]
fn guesses_are_few_for_a_session_and_for_a_network_and_each_waits_longer() -> Outcome {
    let server = auth::server_with("proxy-protocol = [\"127.0.0.1\"]")?;
    let sessions: Vec<_> = thread::scope(|scope| {
        let guessing: Vec<_> = (0..SESSIONS).map(|_| scope.spawn(|| guess(&server))).collect();
        guessing.into_iter().map(|session| session.join().expect("a session")).collect::<io::Result<_>>()
    })?;
    for session in &sessions {
        let codes: Vec<u16> = session.iter().map(|(code, _)| *code).collect();
        assert!(codes.len() <= 4, "three guesses of a session, then it is over: {codes:?}");
        for (nth, (code, wait)) in (1..).zip(session) {
            assert!(*code != 535 || *wait >= Duration::from_secs(nth), "{session:?}");
        }
    }
    // The third answer of a session came after six seconds at least, and nobody was let in by then.
    let refused = |wanted: u16| sessions.iter().flatten().filter(|(code, _)| *code == wanted).count();
    assert!(refused(235) == 0 && refused(421) > 0, "{sessions:?}");
    // From there not even the right password counts for a while: the server does not look at it.
    let mut last = encrypted(&server, GUESSER)?;
    for _ in 0..3 {
        if last.command(WRONG)?.code == 454 {
            break;
        }
    }
    last.command(RIGHT)?.require(454)?;
    // Whose network is another one is not kept out by that.
    encrypted(&server, OTHER)?.command(RIGHT)?.require(235).map(drop)
}

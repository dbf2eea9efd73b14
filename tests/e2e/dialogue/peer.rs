//! A remote server that reads a whole group of lines before it answers the first of them.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use basin_tests::wait::PATIENCE;

/// One turn of the server: how many lines it reads, and what it says then. With no lines it reads content up to the dot.
pub(super) type Turn = (usize, &'static str);

/// A server for one connection. A client that waits for a reply within a group waits in vain, and one that says more
/// than the group is seen to.
pub(super) struct Peer {
    address: SocketAddr,
    talk: JoinHandle<io::Result<Vec<String>>>,
}

impl Peer {
    /// Greets, and takes its turns.
    pub(super) fn start(turns: &'static [Turn]) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let talk = thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            talk(&stream, turns)
        });
        Ok(Self { address, talk })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The verbs of each group, parted by blanks; waits for the last.
    pub(super) fn groups(self) -> io::Result<Vec<String>> {
        self.talk.join().map_err(|_| io::Error::other("the remote server panicked"))?
    }
}

fn talk(stream: &TcpStream, turns: &[Turn]) -> io::Result<Vec<String>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut input, mut output) = (BufReader::new(stream), stream);
    output.write_all(b"220 next.example ESMTP\r\n")?;
    let mut groups = Vec::new();
    for (count, reply) in turns {
        let mut verbs = Vec::new();
        while *count == 0 || verbs.len() < *count {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                verbs.push("END".to_owned());
                break;
            }
            let line = line.trim_end();
            if *count == 0 && line != "." {
                continue;
            }
            verbs.push(line.split([' ', ':']).next().unwrap_or_default().to_owned());
            if *count == 0 {
                break;
            }
        }
        if !input.buffer().is_empty() {
            verbs.push("MORE".to_owned());
        }
        groups.push(verbs.join(" "));
        output.write_all(reply.as_bytes())?;
    }
    Ok(groups)
}

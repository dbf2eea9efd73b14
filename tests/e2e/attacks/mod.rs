//! Attacks on mail servers that are public, each tried on this one. `docs/past-vulnerabilities.md` says what happened
//! where, and names the test.

mod chunks;
mod encrypted;
mod endless;
mod forged;
mod logins;
mod order;

use std::io::{self, ErrorKind};

use basin_tests::client::Client;
use basin_tests::server::TestServer;

/// The codes of all replies until the server closes, or until it has nothing more to say to who has hung up.
fn codes(client: &mut Client) -> io::Result<Vec<u16>> {
    let mut codes = Vec::new();
    loop {
        match client.reply() {
            Ok(reply) => codes.push(reply.code),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return Ok(codes);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A client that has been greeted and has not said anything.
fn silent(server: &TestServer) -> io::Result<Client> {
    let mut client = Client::connect(server.smtp())?;
    client.expect(220)?;
    Ok(client)
}

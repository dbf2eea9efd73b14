//! Serves a zone from a file, for shell scripts.
//!
//! `basin-test-dns ADDRESS:PORT ZONE-FILE [ANCHOR-FILE]` writes the trust anchor of a signed zone to the third,
//! prints where it listens and runs until it is killed.

use std::error::Error;
use std::process::ExitCode;

use basin_test_dns::{TestDns, Zone};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("basin-test-dns: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, zone, anchor @ ..] = arguments.as_slice() else {
        return Err("usage: basin-test-dns ADDRESS:PORT ZONE-FILE [ANCHOR-FILE]".into());
    };
    let zone = Zone::parse(&std::fs::read_to_string(zone)?)?;
    if let [path] = anchor {
        std::fs::write(path, zone.trust_anchor().ok_or("the zone is not !signed: it has no trust anchor")?)?;
    }
    let dns = TestDns::start_at(zone, address.parse()?).await?;
    println!("listening on {}", dns.address());
    std::future::pending().await
}

//! WASI for sinks: everything is linked, nothing is reachable that is not granted.
//!
//! Toolchains import all of WASI whether a sink uses it or not. The context has no network and no arguments, no files
//! (`files` has those that are granted) and no environment but what is granted; the clocks stand at the time of the
//! event and random numbers come from the message and the sink, so that a call can be repeated exactly, unless the
//! grants `clock` and `random` say otherwise.

use core::time::Duration;
use std::fs::File;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use basin_core::event::{Budget, Grant, Grants};
use basin_core::time::Timestamp;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWrite;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, async_trait};

use crate::ended::Ended;
use crate::files;
use crate::state::State;

/// Octets that a stream takes at once; bounds what the host allocates for one write.
const WRITE_AT_ONCE: usize = 4_096;

/// Most random octets of one host call.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// What WASI keeps for one call.
pub(crate) struct Wasi {
    context: WasiCtx,
    stdout: Captured,
    stderr: Captured,
    random: Random,
}

impl Wasi {
    pub(crate) fn new(now: Timestamp, seed: &[String], budget: &Budget, grants: &Grants) -> Self {
        let stdout = Captured::new(budget.stdio_bytes);
        let stderr = Captured::new(budget.stdio_bytes);
        let context = Self::context_at(now, (&stdout, &stderr), grants);
        Self { context, stdout, stderr, random: Random::of(seed, grants) }
    }

    /// Goes on to the next call of the same instance: another time, other random numbers, streams that are empty
    /// again and the same, because runtimes open them once.
    pub(crate) fn renew(&mut self, now: Timestamp, seed: &[String], grants: &Grants) {
        self.stdout.clear();
        self.stderr.clear();
        self.context = Self::context_at(now, (&self.stdout, &self.stderr), grants);
        self.random = Random::of(seed, grants);
    }

    fn context_at(now: Timestamp, (stdout, stderr): (&Captured, &Captured), grants: &Grants) -> WasiCtx {
        let mut builder = WasiCtx::builder();
        builder.stdout(stdout.clone()).stderr(stderr.clone()).allow_tcp(false).allow_udp(false);
        // The builder's own clocks are the machine's.
        if !grants.has(Grant::Clock) {
            let seconds = u64::try_from(now.seconds).unwrap_or(0);
            let clock = StoppedClock(Duration::new(seconds, now.nanoseconds));
            builder.wall_clock(clock).monotonic_clock(clock);
        }
        for variable in grants.variables() {
            // One that is not set, or is no text, is not there.
            if let Ok(value) = std::env::var(variable.name()) {
                builder.env(variable.name(), value);
            }
        }
        builder.build()
    }

    pub(crate) fn context(&mut self) -> &mut WasiCtx {
        &mut self.context
    }

    /// What was written to standard output, control characters escaped.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What was written to standard error, likewise.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }
}

/// Links all of WASI 0.2 and the client's side of its HTTP, with files and random numbers of our own in place of the
/// machine's.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    files::link(linker)?;
    for interface in ["random", "insecure"] {
        let prefix = if interface == "random" { "get-random" } else { "get-insecure-random" };
        let mut instance = linker.instance(&format!("wasi:random/{interface}@{WASI_VERSION}"))?;
        instance.func_wrap(&format!("{prefix}-bytes"), |mut store: StoreContextMut<'_, State>, (len,): (u64,)| {
            let octets = usize::try_from(len.min(RANDOM_BYTES_MAX + 1)).unwrap_or(usize::MAX);
            if len > RANDOM_BYTES_MAX {
                return Err(
                    Ended::quota(format!("it asked for {len} random octets, the limit is {RANDOM_BYTES_MAX}")).into()
                );
            }
            let state = store.data_mut().counted();
            state.tariff.scanned(len);
            Ok((state.wasi_mut().0.random.octets(octets)?,))
        })?;
        instance.func_wrap(&format!("{prefix}-u64"), |mut store: StoreContextMut<'_, State>, (): ()| {
            Ok((store.data_mut().counted().wasi_mut().0.random.number()?,))
        })?;
    }
    let mut instance = linker.instance(&format!("wasi:random/insecure-seed@{WASI_VERSION}"))?;
    instance.func_wrap("insecure-seed", |mut store: StoreContextMut<'_, State>, (): ()| {
        let random = &mut store.data_mut().counted().wasi_mut().0.random;
        Ok(((random.number()?, random.number()?),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The version that wasmtime-wasi 48 links; a sink that names an older 0.2 gets the same functions.
const WASI_VERSION: &str = "0.2.12";

/// A clock that shows the time of the event, all through the call.
#[derive(Debug, Clone, Copy)]
struct StoppedClock(Duration);

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Where random numbers come from.
enum Random {
    /// Message and sink.
    Seeded(Seeded),
    /// The machine.
    Machine,
}

impl Random {
    fn of(names: &[String], grants: &Grants) -> Self {
        if grants.has(Grant::Random) { Self::Machine } else { Self::Seeded(Seeded::new(names)) }
    }

    fn octets(&mut self, len: usize) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Seeded(seeded) => Ok(seeded.octets(len)),
            Self::Machine => {
                let mut octets = vec![0; len];
                // It never waits: the machine has been up long enough to serve mail.
                File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut octets)).map_err(|error| {
                    wasmtime::Error::from(Ended::host(format!("the machine has no random numbers: {error}")))
                })?;
                Ok(octets)
            }
        }
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        Ok(self.octets(8)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }
}

/// SHA-256 in counter mode over the names of the call: the same in a repetition, and nobody who sees some of it
/// knows the rest.
struct Seeded {
    seed: [u8; 32],
    counter: u64,
    left: Vec<u8>,
}

impl Seeded {
    fn new(names: &[String]) -> Self {
        let mut hash = Sha256::new();
        for name in names {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
        }
        Self { seed: hash.finalize().into(), counter: 0, left: Vec::new() }
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        while self.left.len() < len {
            let block = Sha256::new().chain_update(self.seed).chain_update(self.counter.to_le_bytes()).finalize();
            self.counter += 1;
            self.left.extend_from_slice(&block);
        }
        let rest = self.left.split_off(len);
        core::mem::replace(&mut self.left, rest)
    }
}

/// Standard output or standard error: kept up to a limit, and what is over it vanishes without an error, because a
/// runtime that prints a long panic must not turn it into another failure.
#[derive(Debug, Clone)]
struct Captured {
    octets: Arc<Mutex<Vec<u8>>>,
    limit: usize,
}

impl Captured {
    fn new(limit: usize) -> Self {
        Self { octets: Arc::default(), limit }
    }

    fn keep(&self, octets: &[u8]) {
        let mut kept = self.octets.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.limit.saturating_sub(kept.len());
        kept.extend_from_slice(octets.get(..room.min(octets.len())).unwrap_or_default());
    }

    fn clear(&self) {
        self.octets.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn text(&self) -> String {
        let kept = self.octets.lock().unwrap_or_else(PoisonError::into_inner);
        crate::text::escaped(&String::from_utf8_lossy(&kept))
    }
}

#[async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_AT_ONCE)
    }
}

impl AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        self.keep(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_repeat_with_their_seed_and_no_other() {
        let draw = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut random = Seeded::new(&names);
            [random.octets(5), random.octets(40), random.octets(8)].concat()
        };
        assert_eq!(draw(&["a", "b"]), draw(&["a", "b"]));
        assert_ne!(draw(&["a", "b"]), draw(&["ab", ""]));
        assert_ne!(draw(&["a", "b"])[..16], draw(&["a", "b"])[16..32]);
    }

    #[test]
    fn the_next_call_of_an_instance_has_streams_and_random_numbers_of_its_own() {
        let budget = Budget::of(basin_core::event::EventKind::OnConnect, 0, &Default::default());
        let grants = Grants::default();
        let mut wasi = Wasi::new(Timestamp::default(), &["a".to_owned()], &budget, &grants);
        let stdout = wasi.stdout.clone();
        stdout.keep(b"first");
        let first = wasi.random.octets(8).expect("random octets");
        wasi.renew(Timestamp::default(), &["b".to_owned()], &grants);
        stdout.keep(b"second");
        assert_eq!(wasi.stdout(), "second", "a stream that was opened before goes on");
        let second = Seeded::new(&["b".to_owned()]).octets(8);
        assert_eq!(wasi.random.octets(8).expect("random octets"), second);
        assert_ne!(first, second);
    }

    #[test]
    fn captured_output_is_cut_and_never_fails() {
        let mut captured = Captured::new(5);
        for _ in 0..10 {
            assert!(captured.write(Bytes::from_static(b"a\x1bb")).is_ok());
        }
        assert_eq!(captured.text(), "a\\u{1b}ba\\u{1b}");
    }
}

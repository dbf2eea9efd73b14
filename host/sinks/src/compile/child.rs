//! The child that compiles: its limits, and what it answers.

use std::fs;
use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use sha2::{Digest, Sha256};

use super::Artefact;
use crate::cache;
use crate::load_error::COMPONENT_BYTES_MAX;
use crate::pool::{self, Code};

/// How much less than the server a child gets of the processors where both want them.
const NICENESS: i32 = 10;

/// What a child is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    pub(super) code: Code,
    pub(super) memory: u64,
    pub(super) seconds: u64,
}

impl Arguments {
    /// As they stand on the command line.
    pub(super) fn words(self) -> [String; 3] {
        [self.code.word().to_owned(), self.memory.to_string(), self.seconds.to_string()]
    }

    /// Reads them: the kind of code, octets of address space, seconds of processor time. `None` where they are others.
    pub fn parse(words: &[String]) -> Option<Self> {
        let [code, memory, seconds] = words else { return None };
        Some(Self { code: Code::parse(code)?, memory: memory.parse().ok()?, seconds: seconds.parse().ok()? })
    }
}

/// Limits this process, reads a component and writes its code. Nothing else should run in the process.
///
/// # Errors
/// Why there is no code, for whoever started the process.
pub fn run(arguments: Arguments, input: impl Read, mut output: impl Write) -> Result<(), String> {
    limit(arguments).map_err(|why| format!("cannot limit the process that compiles: {why}"))?;
    let mut octets = Vec::new();
    let read = input.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut octets);
    read.map_err(|why| format!("cannot read the component: {why}"))?;
    if octets.len() > COMPONENT_BYTES_MAX {
        return Err("the component is larger than any is taken".to_owned());
    }
    let say = |error: wasmtime::Error| format!("{error:#}");
    let engine = wasmtime::Engine::new(&pool::code(arguments.code).map_err(say)?).map_err(say)?;
    let code = engine.precompile_component(&octets).map_err(say)?;
    let head = Artefact::head(&cache::fingerprint(&engine), &Sha256::digest(&octets).into(), &code);
    let written = output.write_all(&head).and_then(|()| output.write_all(&code)).and_then(|()| output.flush());
    written.map_err(|why| format!("cannot write the code: {why}"))
}

fn limit(arguments: Arguments) -> io::Result<()> {
    // Welcome and not needed: limits hold without them.
    drop((nice(NICENESS), fs::write("/proc/self/oom_score_adj", "1000")));
    set_parent_process_death_signal(Some(Signal::KILL))?;
    lower(Resource::Core, 0)?;
    lower(Resource::Cpu, arguments.seconds)?;
    lower(Resource::As, arguments.memory)
}

// Where the server itself is limited more, that holds.
fn lower(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    Ok(setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?)
}

//! Compiling in a process of its own, which cannot take the server with it.
//!
//! A component can be written so that compiling it takes gigabytes or hours; wasmtime counts that as no bug of its own. So
//! the octets go to a child of the same binary, which limits itself before it reads them ([`child`]), and what comes back
//! is believed only when it names this engine, this component and itself ([`Artefact`]). The child knows no path of the
//! server, has no environment and holds no descriptor but its three pipes.

pub(crate) mod child;

use core::time::Duration;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use sha2::{Digest, Sha256};

use crate::LoadError;
use crate::cache::CODE_BYTES_MAX;
use crate::pool::Code;

/// First octets of what a child answers.
const MAGIC: &[u8; 8] = b"basinar1";

/// Octets of a digest.
const DIGEST_BYTES: usize = 32;

/// Octets in front of the code: magic, engine, component, code.
const HEAD_BYTES: u64 = 8 + 3 * 32;

/// Octets of a child's complaint that are read; more is no text for a person.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

/// Threads of a child. All of them would keep the server from its mail, and each costs address space.
const THREADS: u64 = 2;

/// Time of a child where nobody says otherwise. The largest useful components, with a runtime of Python inside, take some
/// twenty seconds.
pub const COMPILE_TIME_DEFAULT: Duration = Duration::from_secs(60);

/// Memory of a child where nobody says otherwise, in octets of address space: several times what large components take.
pub const COMPILE_MEMORY_DEFAULT: u64 = 2 << 30;

/// Compiles in children.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// The program, which must understand the arguments of [`child::Arguments`]. `/proc/self/exe` is the running one also
    /// after a new one was installed in its place.
    pub program: PathBuf,
    /// What comes before these arguments.
    pub subcommand: &'static str,
    /// Time by the clock; on the processors it may use as much on each of two.
    pub time: Duration,
    /// Address space, in octets.
    pub memory: u64,
}

/// Compiled code that names the engine and the component that were asked for, and is whole.
pub(crate) struct Artefact(Vec<u8>);

impl Artefact {
    /// The code.
    pub(crate) fn code(&self) -> &[u8] {
        self.0.get(usize::try_from(HEAD_BYTES).unwrap_or(usize::MAX)..).unwrap_or_default()
    }

    // What a child writes; `verify` is the other side.
    fn head(engine: &[u8; 32], component: &[u8; 32], code: &[u8]) -> Vec<u8> {
        let digest: [u8; DIGEST_BYTES] = Sha256::digest(code).into();
        [MAGIC.as_slice(), engine, component, &digest].concat()
    }

    fn verify(octets: Vec<u8>, engine: &[u8; 32], component: &[u8; 32]) -> Result<Self, &'static str> {
        let rest = octets.strip_prefix(MAGIC).ok_or("it is no compiled code")?;
        let (by, rest) = rest.split_at_checked(DIGEST_BYTES).ok_or("it is cut short")?;
        let (of, rest) = rest.split_at_checked(DIGEST_BYTES).ok_or("it is cut short")?;
        let (whole, code) = rest.split_at_checked(DIGEST_BYTES).ok_or("it is cut short")?;
        match () {
            () if by != engine => Err("it is for another engine"),
            () if of != component => Err("it is of another component"),
            () if whole != Sha256::digest(code).as_slice() => Err("it is damaged"),
            () => Ok(Self(octets)),
        }
    }
}

/// What a child left behind.
struct Left {
    answer: io::Result<Vec<u8>>,
    complaint: String,
    status: ExitStatus,
}

impl Compiler {
    /// Has a child compile a component.
    pub(crate) fn compile(
        &self,
        octets: &[u8],
        (engine, component): (&[u8; 32], &[u8; 32]),
        code: Code,
    ) -> Result<Artefact, LoadError> {
        let broken = |why: String| LoadError::Compiler { why };
        let mut child =
            self.start(code).map_err(|why| broken(format!("cannot start {}: {why}", self.program.display())))?;
        let left = self.wait(&mut child, octets);
        // Whatever it came to, no child is left behind; killing one that has ended does nothing.
        let killed = child.kill().and_then(|()| child.wait());
        let Some(mut left) = left.map_err(|why| broken(why.to_string()))? else {
            return Err(LoadError::CompileTime { limit: self.time });
        };
        left.status = killed.map_err(|why| broken(why.to_string()))?;
        if left.status.success() {
            let answer = left.answer.map_err(|why| broken(format!("cannot read its answer: {why}")))?;
            return Artefact::verify(answer, engine, component).map_err(|why| broken(format!("its answer: {why}")));
        }
        Err(self.refusal(&left))
    }

    fn start(&self, code: Code) -> io::Result<Child> {
        let arguments = child::Arguments { code, memory: self.memory, seconds: self.time.as_secs().max(1) * THREADS };
        let mut command = Command::new(&self.program);
        command.arg0("basin").arg(self.subcommand).args(arguments.words());
        // Nothing of the environment is its business; it may hold secrets.
        command.env_clear().env("RAYON_NUM_THREADS", THREADS.to_string()).current_dir("/");
        // Each arena of glibc reserves 64 MiB of the address space that is limited.
        command.env("MALLOC_ARENA_MAX", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    // `None` where its time is over. A thread for each pipe: whichever the child does not serve, the others go on.
    fn wait(&self, child: &mut Child, octets: &[u8]) -> io::Result<Option<Left>> {
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it was started without pipes"));
        };
        thread::scope(|scope| {
            // It may end before it has read everything; what it says is the reason, not the broken pipe.
            scope.spawn(move || drop(stdin.write_all(octets)));
            let complaint = scope.spawn(move || read_bounded(stderr, COMPLAINT_BYTES_MAX));
            let (done, answered) = mpsc::channel();
            // The receiver is gone only when the time is over.
            scope.spawn(move || drop(done.send(read_bounded(stdout, CODE_BYTES_MAX + HEAD_BYTES))));
            let Ok(answer) = answered.recv_timeout(self.time) else {
                // Ends the pipes, and with them the threads.
                child.kill()?;
                return Ok(None);
            };
            let status = child.wait()?;
            let complaint = complaint.join().ok().and_then(Result::ok).unwrap_or_default();
            Ok(Some(Left { answer, complaint: String::from_utf8_lossy(&complaint).trim().to_owned(), status }))
        })
    }

    fn refusal(&self, left: &Left) -> LoadError {
        // SIGXCPU comes at the limit of processor time; SIGKILL only from the kernel, which is short of memory, or from
        // an operator.
        const SIGXCPU: i32 = 24;
        const SIGKILL: i32 = 9;
        let is_out_of_memory = ["memory allocation of", "Cannot allocate memory", "out of memory"]
            .iter()
            .any(|words| left.complaint.contains(words));
        match left.status.signal() {
            Some(SIGXCPU) => LoadError::CompileTime { limit: self.time },
            Some(SIGKILL) => LoadError::CompileMemory { limit: self.memory },
            _ if is_out_of_memory => LoadError::CompileMemory { limit: self.memory },
            None if left.status.code() == Some(1) => LoadError::Compile { why: left.complaint.clone() },
            _ => LoadError::Compiler { why: format!("it ended with {}: {}", left.status, left.complaint) },
        }
    }
}

fn read_bounded(from: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    from.take(max).read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_only_where_all_of_it_is_right() {
        let (engine, component) = ([1; 32], [2; 32]);
        let whole = [Artefact::head(&engine, &component, b"code"), b"code".to_vec()].concat();
        let verify = |octets: &[u8]| Artefact::verify(octets.to_vec(), &engine, &component);
        assert_eq!(verify(&whole).map(|artefact| artefact.code().to_vec()), Ok(b"code".to_vec()));
        for length in 0..whole.len() {
            assert!(verify(&whole[..length]).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(verify(&damaged).is_err(), "octet {at}");
        }
        assert!(Artefact::verify(whole.clone(), &[3; 32], &component).is_err());
        assert!(Artefact::verify(whole, &engine, &[3; 32]).is_err());
    }
}

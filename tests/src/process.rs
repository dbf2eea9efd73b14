//! What the kernel counts for a process: CPU time and memory, seen from outside.

use std::fs;
use std::io::{self, Error, ErrorKind};
use std::time::Duration;

/// Ticks of the CPU times in `/proc/PID/stat`: Linux shows user space 100 a second on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that all threads of a process have used, user and system together.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let fields = Stat::of(pid)?;
    Ok(ticks(fields.own))
}

/// The same with its children: those that run, and those that have ended and were waited for. For servers that are
/// many processes under one; children of children count when they have ended.
pub fn cpu_time_with_children(pid: u32) -> io::Result<Duration> {
    let parent = Stat::of(pid)?;
    let mut all = parent.own + parent.ended;
    for entry in fs::read_dir("/proc")? {
        let child = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ends while we look is counted by its parent, at the next look.
        let child = child.and_then(|child| Stat::of(child).ok()).filter(|child| child.parent == pid);
        all += child.map_or(0, |child| child.own + child.ended);
    }
    Ok(ticks(all))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS_PER_SECOND)
}

/// What `/proc/PID/stat` tells.
struct Stat {
    parent: u32,
    /// Ticks of all threads, user and system.
    own: u64,
    /// Ticks of children that were waited for, and of theirs.
    ended: u64,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in parentheses, which may hold spaces: count from behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Field N of proc(5) is at N - 3: the first two are gone, and counting begins with 1.
        let field = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u64>().ok());
        let sum = |first: usize| Some(field(first)? + field(first + 1)?);
        match (field(4).and_then(|parent| u32::try_from(parent).ok()), sum(14), sum(16)) {
            (Some(parent), Some(own), Some(ended)) => Ok(Self { parent, own, ended }),
            (_, _, _) => Err(Error::new(ErrorKind::InvalidData, "stat has other fields")),
        }
    }
}

/// Largest resident memory so far, in KiB (`VmHWM`).
pub fn memory_peak_kib(pid: u32) -> io::Result<u64> {
    status(pid, "VmHWM:")
}

/// Forgets the largest resident memory so far: it is that of now.
pub fn forget_memory_peak(pid: u32) -> io::Result<()> {
    // proc(5): 5 is for this alone.
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// Resident memory now, in KiB (`VmRSS`).
pub fn memory_kib(pid: u32) -> io::Result<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("status without {name}")))
}

#[cfg(test)]
mod tests {
    use super::{cpu_time, cpu_time_with_children, forget_memory_peak, memory_kib, memory_peak_kib};

    #[test]
    fn the_kernel_tells_of_this_process() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        // Read first: the process goes on using time between the two.
        let own = cpu_time(pid).expect("stat");
        assert!(cpu_time_with_children(pid).expect("stat") >= own);
        assert!(memory_peak_kib(pid).expect("status") > 100);
    }

    #[test]
    fn a_peak_that_is_forgotten_is_passed_again_by_what_is_used_then() {
        let pid = std::process::id();
        let many = vec![1_u8; 64 * 1024 * 1024];
        assert!(many.iter().all(|octet| *octet == 1));
        drop(many);
        forget_memory_peak(pid).expect("this process may");
        let (before, now) = (memory_peak_kib(pid).expect("status"), memory_kib(pid).expect("status"));
        assert!(before < now + 32 * 1024, "{before} KiB, {now} KiB now");
    }
}

//! What the kernel counts for a process: CPU time and memory, seen from outside.

use std::fs;
use std::io::{self, Error, ErrorKind};
use std::time::Duration;

/// Ticks of the CPU times in `/proc/PID/stat`: Linux shows user space 100 a second on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that all threads of a process have used, user and system together.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may hold spaces: count from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), of which the first two are gone.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND)),
        (None, _) | (_, None) => Err(Error::new(ErrorKind::InvalidData, "stat has other fields")),
    }
}

/// Largest resident memory so far, in KiB (`VmHWM`).
pub fn memory_peak_kib(pid: u32) -> io::Result<u64> {
    status(pid, "VmHWM:")
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
    use super::{cpu_time, memory_peak_kib};

    #[test]
    fn the_kernel_tells_of_this_process() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(memory_peak_kib(pid).expect("status") > 100);
    }
}

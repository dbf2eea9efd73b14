//! Who compiles components: a child of the running program.

use std::path::PathBuf;

use basin_sinks::{COMPILE_MEMORY_DEFAULT, COMPILE_TIME_DEFAULT, Compiler};

use crate::config::Config;

/// The subcommand that a child is started with; people have no use for it.
pub const SUBCOMMAND: &str = "compile-component";

/// The running program itself, also after another was installed in its place, and after root was given up. The path on disk
/// may meanwhile be of another version, whose code this engine would not take.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How this configuration has components compiled; with the defaults where there is none.
pub fn compiler(config: Option<&Config>) -> Compiler {
    let limits = config.map(|config| &config.limits);
    Compiler {
        program: PathBuf::from(OWN_PROGRAM),
        subcommand: SUBCOMMAND,
        time: limits.map_or(COMPILE_TIME_DEFAULT, |limits| limits.compile_time),
        memory: limits.map_or(COMPILE_MEMORY_DEFAULT, |limits| limits.compile_memory),
    }
}

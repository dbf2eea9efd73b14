//! The `basin` program.

fn main() -> std::process::ExitCode {
    basin::cli::main()
}

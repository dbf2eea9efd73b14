//! The commands that the documents show are run as they stand there.
//!
//! Every line of a `console` block that starts with `$ basin` (or `$ target/debug/basin`) is run in order, all blocks
//! of a page in one home with one demo server, and must succeed. A block after `<!-- not run -->` is left out, with
//! the reason in that comment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use basin_tests::server::{TestServer, binary, tree};

use crate::Outcome;

/// A command of a page.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    command: String,
}

/// Finds the commands of a page.
fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let (mut is_console, mut is_left_out, mut is_continued) = (false, false, false);
    for (index, line) in page.lines().enumerate() {
        let text = line.trim();
        if let Some(language) = text.strip_prefix("```") {
            is_console = !is_console && language == "console" && !is_left_out;
            is_left_out = false;
            is_continued = false;
        } else if text.starts_with("<!-- not run") {
            is_left_out = true;
        } else if is_console {
            let command = text.strip_prefix("$ ");
            if is_continued && let Some(last) = found.last_mut() {
                last.command.push_str(text.trim_end_matches('\\'));
            } else if let Some(command) = command.filter(|command| is_ours(command)) {
                found.push(Shown { line: index + 1, command: command.trim_end_matches('\\').to_owned() });
            }
            is_continued = text.ends_with('\\') && (is_continued || command.is_some_and(is_ours));
        }
    }
    found
}

fn is_ours(command: &str) -> bool {
    let program = command.split_whitespace().next().unwrap_or_default();
    program == "basin" || program.ends_with("/basin")
}

/// Pages that a reader is expected to type from.
fn pages() -> io::Result<Vec<PathBuf>> {
    let mut pages = vec![tree().join("README.md")];
    let mut folders = vec![tree().join("docs"), tree().join("sample-sinks")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// Runs a command of a page where a reader would: in a copy of the tree's surroundings, with the demo's configuration.
fn run(server: &TestServer, command: &str) -> io::Result<Output> {
    let folder = binary().parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::var("PATH").unwrap_or_default();
    // A page may name the binary by its place in the tree.
    let plain = command.replace("./target/debug/basin", "basin").replace("target/debug/basin", "basin");
    Command::new("sh")
        .args(["-c", &plain])
        .current_dir(server.home())
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("BASIN_CONFIG", server.config_path())
        .stdin(Stdio::null())
        .output()
}

#[test]
fn every_command_that_the_documents_show_works() -> Outcome {
    let mut failed = Vec::new();
    let mut ran = 0;
    for path in pages()? {
        let shown = commands(&fs::read_to_string(&path)?);
        if shown.is_empty() {
            continue;
        }
        let server = TestServer::start()?;
        for name in ["target", "sample-sinks", "packaging", "docs", "wit", "guest-sdk", "tests"] {
            std::os::unix::fs::symlink(tree().join(name), server.home().join(name))?;
        }
        // The server runs already; a page that starts one is taken at its word.
        for Shown { line, command } in shown.iter().filter(|shown| !shown.command.contains("basin serve")) {
            ran += 1;
            let output = run(&server, command)?;
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                failed.push(format!("{}:{line}: {command}: {}\n{error}", path.display(), output.status));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {ran} commands fail:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

#[test]
fn commands_are_found_in_console_blocks_alone() {
    let page = "```console\n$ basin check\nhost name x\n$ ls\n$ basin sink add a.wasm \\\n    --name a\n```\n\
        ```sh\n$ basin no\n```\n<!-- not run: needs root -->\n```console\n$ basin serve\n```\n";
    let found: Vec<String> = commands(page).into_iter().map(|shown| shown.command).collect();
    assert_eq!(found, ["basin check", "basin sink add a.wasm --name a"]);
}

//! Plays every file of `tests/transcripts` against the session machine, in memory.
//!
//! The format is in the README beside the files. Each file is played several times: with the input handed
//! over whole, and octet by octet, so that no reply depends on how the network cut it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says where a transcript and the server disagree")]

#[path = "transcripts/player.rs"]
mod player;
#[path = "transcripts/script.rs"]
mod script;
#[path = "transcripts/words.rs"]
mod words;

use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts");
    let entries = std::fs::read_dir(directory).expect("the directory of transcripts is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    files
}

#[test]
fn every_transcript_is_what_the_session_says() {
    let files = files();
    assert!(files.len() >= 20, "the transcripts are found");
    let mut faults = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("readable");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for chunk in [usize::MAX, 1, 2, 3, 7, 64] {
            match script::parse(&text).and_then(|script| player::play(&script, chunk)) {
                Ok(()) => {}
                Err(fault) => {
                    faults.push(format!("{name}:{fault} (chunks of {chunk})"));
                    break;
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_wrong_transcript_fails() {
    // The player itself: each of these says something that the server does not do.
    for wrong in [
        "S: 221 *",
        "S: 220 *\nC: NOOP\nS: 250-* ... 250 *",
        "S: 220 *\nS: 250 *",
        "S: 220 *\nC: NOOP",
        "S: 220 *\n?: command NOOP",
        "S: 220 *\nC: QUIT\nS: 221 *",
        "%: events on-inbound-command\nS: 220 *\nC: NOOP\n?: command RSET\n!: next\nS: 250 *",
        "S: 220 *\nC: NOOP\nS: 250 *\nD: accept alice@basin.example",
        "Q: what",
    ] {
        let played = script::parse(wrong).and_then(|script| player::play(&script, usize::MAX));
        assert!(played.is_err(), "{wrong:?} passed");
    }
}

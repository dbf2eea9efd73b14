//! Plays every file of `tests/transcripts/client` against the client machine, in memory.
//!
//! The format is in the README beside the files. Each file is played several times: with the other server's octets
//! handed over whole, and octet by octet, so that nothing depends on how the network cut them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says where a transcript and the client disagree")]

#[path = "client_transcripts/player.rs"]
mod player;
#[path = "client_transcripts/words.rs"]
mod words;

use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/client");
    let entries = std::fs::read_dir(directory).expect("the directory of transcripts is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    files
}

#[test]
fn every_transcript_is_what_the_client_does() {
    let files = files();
    assert!(files.len() >= 20, "the transcripts are found");
    let mut faults = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("readable");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for chunk in [usize::MAX, 1, 2, 3, 7, 64] {
            if let Err(fault) = player::play(&text, chunk) {
                faults.push(format!("{name}:{fault} (chunks of {chunk})"));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_wrong_transcript_fails() {
    // The player itself: each of these says something that the client does not do.
    for wrong in [
        "S: 220 x\nC: HELO *",
        "S: 220 x",
        "C: EHLO *",
        "S: 220 x\nC: EHLO *\nX: lost *",
        "S: 220 x\nC: EHLO *\nS: 250 x\nT: a@b.example > c@d.example\nC: MAIL FROM:<x@b.example>",
        "S: 220 x\nC: EHLO *\nS: 250 x\nR: taken c@d.example *",
        "S: 554 no\nC: QUIT",
        "Q: what",
    ] {
        assert!(player::play(wrong, usize::MAX).is_err(), "{wrong:?} passed");
    }
}

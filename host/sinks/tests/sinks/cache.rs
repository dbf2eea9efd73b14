//! Compiled code on disk: used again, healed when damaged, never taken from a stranger.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use basin_sinks::{Engine, EngineError, EngineOptions};

use crate::stage::guest;

fn engine(path: &Path) -> Result<Engine, EngineError> {
    Engine::new(EngineOptions { calls_max: 1, code_cache: Some(path.to_owned()), ..EngineOptions::default() })
}

fn code(path: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(code_folder(path)).expect("there").flatten().map(|entry| entry.path()).collect();
    assert_eq!(files.len(), 1, "no temporary files stay: {files:?}");
    files.into_iter().next().expect("one")
}

#[test]
fn compiled_code_is_used_again_and_healed_when_it_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("code");
    let octets = guest("noop");
    let load = || engine(&path).expect("starts").load(&octets).expect("loads").is_from_cache();
    assert!(!load(), "the first time it is compiled");
    assert!(load(), "the second time it is there");
    let file = code(&path);
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);

    let whole = fs::read(&file).expect("readable");
    for damage in [|code: &mut Vec<u8>| code.truncate(20), |code: &mut Vec<u8>| code[1_000] ^= 1, Vec::clear] {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&file, damaged).expect("writable");
        assert!(!load(), "damaged code is compiled again");
        assert!(load(), "and kept again");
    }
}

#[test]
fn code_that_somebody_planted_is_not_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let octets = guest("noop");
    engine(&ours).expect("starts").load(&octets).expect("loads");
    engine(&theirs).expect("starts").load(&octets).expect("loads");
    // Good code for this very engine, sealed with another key: a copy from elsewhere.
    fs::copy(code(&theirs), code(&ours)).expect("copied");
    assert!(!engine(&ours).expect("starts").load(&octets).expect("loads").is_from_cache());
    // Good code of another component under this one's name.
    engine(&ours).expect("starts").load(&guest("trap")).expect("loads");
    let files: Vec<_> = fs::read_dir(code_folder(&ours)).expect("there").flatten().map(|entry| entry.path()).collect();
    assert_eq!(files.len(), 2);
    let contents: Vec<_> = files.iter().map(|file| fs::read(file).expect("readable")).collect();
    fs::write(&files[0], &contents[1]).expect("writable");
    fs::write(&files[1], &contents[0]).expect("writable");
    let engine = engine(&ours).expect("starts");
    assert!(!engine.load(&octets).expect("loads").is_from_cache());
    assert!(!engine.load(&guest("trap")).expect("loads").is_from_cache());
}

fn code_folder(path: &Path) -> PathBuf {
    let mut folders = fs::read_dir(path).expect("there").flatten().map(|entry| entry.path());
    folders.find(|path| path.is_dir()).expect("one for the engine")
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("changed");
    let error = engine(folder.path()).err().expect("others could plant code");
    assert!(error.to_string().contains("chmod 700"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    assert!(matches!(engine(&file), Err(EngineError::Cache { .. })));
}

#[test]
fn code_of_another_engine_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("code");
    drop(engine(&path).expect("starts"));
    let old = path.join(format!("engine-{}", "0".repeat(64)));
    fs::create_dir(&old).expect("made");
    let other = path.join("notes");
    fs::create_dir(&other).expect("made");
    drop(engine(&path).expect("starts"));
    assert!(!old.exists() && other.exists());
}

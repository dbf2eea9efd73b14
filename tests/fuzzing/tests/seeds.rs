//! Every seed in the tree goes through its target, so what a fuzzer found once stays mended.

#![allow(clippy::panic, reason = "a test says which seed it was")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use basin_fuzzing::targets::{self, Target};

/// Most octets of all seeds together; they are read in every run and cloned with the tree.
const SEEDS_BYTES_MAX: usize = 1024 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("seeds").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds = Vec::new();
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        seeds.push((name, fs::read(&path).expect("a seed can be read")));
    }
    seeds.sort();
    seeds
}

#[test]
fn every_seed_has_the_properties_of_its_target() {
    let mut faults = Vec::new();
    for target in targets::ALL {
        let seeds = seeds(target);
        assert!(seeds.len() >= 10, "{} has {} seeds", target.name, seeds.len());
        for (name, octets) in seeds {
            if catch_unwind(|| (target.run)(&octets)).is_err() {
                faults.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_target_has_a_program_and_a_folder_of_seeds_and_nothing_is_left_over() {
    let mut names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
    names.sort_unstable();
    let listed = |folder: PathBuf| {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let stem = |path: PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut found: Vec<String> = entries.map(|entry| stem(entry.expect("readable").path())).collect();
        found.sort();
        found
    };
    assert_eq!(listed(folder().join("fuzz_targets")), names);
    assert_eq!(listed(folder().join("seeds")), names);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("fuzz has a manifest");
    for name in names {
        let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).expect("it is there");
        assert!(program.contains(&format!("run({name:?}, octets)")), "{name} runs another target");
        assert!(manifest.contains(&format!("name = {name:?}\n")), "{name} is not in fuzz/Cargo.toml");
    }
}

#[test]
fn the_seeds_are_small() {
    let bytes: usize = targets::ALL.iter().flat_map(seeds).map(|(_, octets)| octets.len()).sum();
    assert!(bytes <= SEEDS_BYTES_MAX, "{bytes} octets of seeds");
}

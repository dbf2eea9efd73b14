//! The generators of other languages take the contract; those of Rust prove it where they run (`bindgen!` in
//! `basin-sinks`, wit-bindgen in the SDK).

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

// The world with every event and every import: nothing of the contract is outside it.
fn generated(mut generator: Box<dyn WorldGenerator>) -> Vec<(String, usize)> {
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).expect("the contract parses");
    let world = resolve.select_world(&[package], Some("all-events")).expect("the world is there");
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).expect("the generator takes the contract");
    files.iter().map(|(name, contents)| (name.to_owned(), contents.len())).collect()
}

fn has(files: &[(String, usize)], suffix: &str) -> bool {
    files.iter().any(|(name, octets)| name.ends_with(suffix) && *octets > 10_000)
}

#[test]
fn c_bindings_can_be_made() {
    let files = generated(wit_bindgen_c::Opts::default().build());
    assert!(has(&files, ".h") && has(&files, ".c"), "{files:?}");
}

#[test]
fn cpp_bindings_can_be_made() {
    let files = generated(wit_bindgen_cpp::Opts::default().build(None));
    assert!(has(&files, ".h") && has(&files, ".cpp"), "{files:?}");
}

#[test]
fn go_bindings_can_be_made() {
    let files = generated(wit_bindgen_go::Opts::default().build());
    assert!(has(&files, ".go"), "{files:?}");
}

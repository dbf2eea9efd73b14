//! What cannot work is refused, with a text that says what to do.

use basin_core::event::EventKind;
use basin_sinks::{COMPONENT_BYTES_MAX, LoadError};

use crate::stage::{ENGINE, component, guest};

fn refused(octets: &[u8]) -> LoadError {
    ENGINE.load(octets).map(|loaded| loaded.digest().to_owned()).expect_err("it cannot work")
}

fn says(octets: &[u8], text: &str) {
    let said = refused(octets).to_string();
    assert!(said.contains(text), "{said:?} lacks {text:?}");
}

fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_no_component_is_named_for_what_it_is() {
    says(b"", "the file is empty");
    says(b"\x7fELF\x02\x01\x01", "precompiled machine code");
    says(b"PK\x03\x04rest", "an archive");
    says(b"(component)", "wasm-tools parse");
    says(b"#!/bin/sh\n", "a text file");
    says(b"\0\xff\xfe", "something else");
    says(b"\0asm", "cut short");
    says(&assemble("(module)"), "wasm32-wasip2");
    says(&vec![0; COMPONENT_BYTES_MAX + 1], "the limit is 33554432");
    says(b"\0asm\x0d\0\x01\0\xff\xff", "cannot compile");
}

#[test]
fn code_that_was_compiled_before_is_never_taken() {
    let engine = wasmtime::Engine::default();
    let code = engine.precompile_component(&assemble("(component)")).expect("compiles");
    assert!(matches!(refused(&code), LoadError::Precompiled), "planted machine code");
}

#[test]
fn another_version_of_the_contract_is_named() {
    let with = |version: &str| {
        assemble(&format!("(component (instance $i) (export \"basin:sink/on-connect@{version}\" (instance $i)))"))
    };
    says(&with("0.2.0"), "built for basin:sink@0.2.0, this server has basin:sink@0.1.0; it needs a newer basin");
    says(&with("0.0.9"), "build it again with the SDK of this version");
    says(
        &assemble("(component (import \"basin:sink/types@1.0.0\" (instance)))"),
        "built for basin:sink@1.0.0, this server has basin:sink@0.1.0; it needs a newer basin",
    );
}

#[test]
fn a_later_patch_of_the_contract_fits_as_long_as_it_asks_for_nothing_new() {
    let with = |function: &str| {
        assemble(&format!(
            "(component (import \"basin:sink/server@0.1.9\" (instance (export \"{function}\" (func (result string))))))"
        ))
    };
    says(&with("host-name"), "exports no event");
    let event = |function: &str| {
        assemble(&format!(
            "(component (import \"basin:sink/server@0.1.9\" (instance (export \"{function}\" (func (result string)))))
                (instance $i) (export \"basin:sink/on-timer@0.1.9\" (instance $i)))"
        ))
    };
    says(&event("fly"), "built for basin:sink@0.1.9, this server has basin:sink@0.1.0; it needs a newer basin");
}

#[test]
fn a_component_that_would_never_be_called_is_refused() {
    says(&assemble("(component)"), "it exports nothing");
    let other = "(component (instance $i) (export \"acme:filter/run@1.0.0\" (instance $i)))";
    says(&assemble(other), "it exports acme:filter/run@1.0.0");
    let command = "(component (instance $i) (export \"wasi:cli/run@0.2.6\" (instance $i)))";
    says(&assemble(command), "is a command");
}

#[test]
fn missing_imports_are_listed() {
    let text = "(component (import \"wasi:keyvalue/store@0.2.0\" (instance)) (import \"acme:db/sql@1.0.0\" (instance)) \
                (import \"basin:sink/teleport@0.1.0\" (instance)) (import \"wasi:cli/environment@0.3.0\" (instance)))";
    says(
        &assemble(text),
        "wasi:keyvalue/store@0.2.0, acme:db/sql@1.0.0, basin:sink/teleport@0.1.0, wasi:cli/environment@0.3.0",
    );
}

#[test]
fn functions_of_other_types_do_not_fit() {
    // The interface is there, its function is not.
    let empty = "(component (instance $i) (export \"basin:sink/on-timer@0.1.0\" (instance $i)))";
    assert!(matches!(refused(&assemble(empty)), LoadError::Types { .. }), "{}", refused(&assemble(empty)));
    // The function is there and takes nothing.
    let wrong = "(component
        (core module $m (func (export \"handle\") (result i32) i32.const 0))
        (core instance $c (instantiate $m))
        (func $f (result u32) (canon lift (core func $c \"handle\")))
        (instance $i (export \"handle\" (func $f)))
        (export \"basin:sink/on-timer@0.1.0\" (instance $i)))";
    assert!(matches!(refused(&assemble(wrong)), LoadError::Types { .. }), "{}", refused(&assemble(wrong)));
    // An import of the contract with another type.
    let import = "(component (import \"basin:sink/server@0.1.0\" (instance (export \"host-name\" (func (result u32))))) \
                  (instance $i) (export \"basin:sink/on-timer@0.1.0\" (instance $i)))";
    assert!(matches!(refused(&assemble(import)), LoadError::Types { .. }), "{}", refused(&assemble(import)));
}

#[test]
fn a_component_that_fails_or_hangs_when_it_starts_is_refused() {
    let start = |body: &str| {
        assemble(&format!(
            "(component
                (core module $m (func $start {body}) (start $start) (func (export \"handle\") (result i32) i32.const 0))
                (core instance $c (instantiate $m))
                (func $f (result u32) (canon lift (core func $c \"handle\")))
                (instance $i (export \"handle\" (func $f)))
                (export \"basin:sink/on-timer@0.1.0\" (instance $i)))"
        ))
    };
    says(&start("unreachable"), "does not start");
    says(&start("(loop br 0)"), "(fuel)");
}

#[test]
fn proposals_that_are_switched_off_are_refused_by_name() {
    let threads = "(component (core module (memory 1 2 shared)))";
    let said = refused(&assemble(threads)).to_string();
    assert!(said.contains("cannot compile") && said.contains("threads"), "{said}");
}

#[test]
fn the_host_knows_every_event_of_the_contract() {
    let loaded = component("every_event");
    assert_eq!(loaded.events(), EventKind::ALL);
}

#[test]
fn a_loaded_component_tells_what_it_is() {
    let octets = guest("noop");
    let loaded = component("noop");
    assert_eq!(loaded.size(), octets.len() as u64);
    assert_eq!(loaded.digest().len(), 64);
    assert_eq!(loaded.events(), [EventKind::OnInboundCommand, EventKind::OnEndOfData, EventKind::OnSubmission]);
    assert!(loaded.imports().iter().any(|import| import == "basin:sink/message@0.1.0"), "{:?}", loaded.imports());
    assert!(!loaded.is_from_cache());
}

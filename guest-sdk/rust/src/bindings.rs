//! The contract as wit-bindgen renders it: the imports of every sink, once.
//!
//! Each event has a tiny world of its own (see `glue`), and all of them map their types to this module, so
//! that the handles of one event are the handles of every other.
#![allow(missing_docs, reason = "the documentation of this code is in wit/")]
#![allow(dead_code, reason = "off WebAssembly only the plain values of it are used")]
#![allow(clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated code")]

wit_bindgen::generate!({
    path: "wit",
    world: "imports",
    additional_type_attributes: {
        "basin:sink/types@0.1.0/datetime": [#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]],
        "basin:sink/types@0.1.0/endpoint": [#[derive(PartialEq, Eq, Hash)]],
        "basin:sink/types@0.1.0/reply": [#[derive(PartialEq, Eq, Hash)]],
        "basin:sink/types@0.1.0/later": [#[derive(PartialEq, Eq, Hash)]],
        "basin:sink/types@0.1.0/header": [#[derive(PartialEq, Eq, Hash)]],
        "basin:sink/types@0.1.0/error": [#[derive(PartialEq, Eq)]],
        "basin:sink/transport@0.1.0/host-address": [#[derive(PartialEq, Eq, Hash)]],
    },
});

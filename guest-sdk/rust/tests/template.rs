//! The template of `basin sink new` compiles and passes its own tests, its placeholders still in place.

#[path = "../template/src/lib.rs"]
mod template;

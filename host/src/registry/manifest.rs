//! What a component says of itself: what it wants to be granted and set, and where it wants to be bound.
//!
//! JSON in the custom section `basin:manifest` of the component, where the digest covers it, or else in a file beside it,
//! `NAME.manifest.json` for `NAME.wasm`:
//!
//! ```json
//! {
//!   "description": "Adds a field to every message.",
//!   "events": ["on-end-of-data"],
//!   "grants": ["read-headers", "edit-headers"],
//!   "limits": { "fuel": 1000000, "memory": "64MiB", "deadline": "250ms" }
//! }
//! ```
//!
//! It is a request of whoever made the component, and gives nothing by itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use basin_core::event::{BudgetOverride, EventKind, Grants};
use serde::Deserialize;
use thiserror::Error;

use crate::registry::quantity::{show_duration, show_size};
use crate::registry::words::{check_fuel, parse_deadline, parse_event, parse_grant, parse_memory};

/// The custom section.
pub const SECTION: &str = "basin:manifest";

/// Largest manifest that is read, in octets; one that asks for everything has some thousand.
const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// Longest description, in characters; it is shown to an operator who has a question to answer.
const DESCRIPTION_CHARACTERS_MAX: usize = 500;

/// How deep a section is looked for: the component, its modules and components, and those of the latter. Toolchains put the
/// sections of a program into the module that they make of it.
const DEPTH_MAX: u32 = 3;

/// What a WebAssembly file begins with: the magic number, a version and a layer.
const PREAMBLE_BYTES: usize = 8;

/// Sections of a component by their first octet.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// What a component asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What it is for, in the words of whoever made it.
    pub description: String,
    /// Where it wants to be bound.
    pub events: Vec<EventKind>,
    /// What it wants to be allowed.
    pub grants: Grants,
    /// What a call of it needs.
    pub limits: BudgetOverride,
}

/// Why a manifest is none.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It says something wrong.
    #[error("cannot use the manifest in {place}: {why}")]
    Wrong {
        /// Where it is.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The file beside the component is there and cannot be read.
    #[error("cannot read the manifest {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    description: String,
    events: Vec<String>,
    grants: Vec<String>,
    limits: WrittenLimits,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLimits {
    fuel: Option<i64>,
    memory: Option<String>,
    deadline: Option<String>,
}

impl Manifest {
    /// The manifest of a component that was read from `file`; `None` where it has none.
    ///
    /// # Errors
    /// It has one that says something wrong, see [`ManifestError`].
    pub fn of(component: &[u8], file: &Path) -> Result<Option<Self>, ManifestError> {
        let wrong = |place: String| move |why| ManifestError::Wrong { place, why };
        if let Some(text) = find(component, DEPTH_MAX) {
            return Self::parse(text).map(Some).map_err(wrong(format!("the section {SECTION} of {}", file.display())));
        }
        let path = file.with_extension("manifest.json");
        match fs::read(&path) {
            Ok(text) => Self::parse(&text).map(Some).map_err(wrong(path.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ManifestError::Io { path, source }),
        }
    }

    /// Reads its text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(format!("it has {} octets, and {MANIFEST_BYTES_MAX} are the most", text.len()));
        }
        let written: Written = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if written.description.chars().count() > DESCRIPTION_CHARACTERS_MAX {
            return Err(format!("its description has more than {DESCRIPTION_CHARACTERS_MAX} characters"));
        }
        let limits = written.limits;
        Ok(Self {
            description: written.description,
            events: written.events.iter().map(|event| parse_event(event)).collect::<Result<_, _>>()?,
            grants: written.grants.iter().map(|grant| parse_grant(grant)).collect::<Result<_, _>>()?,
            limits: BudgetOverride {
                fuel: limits.fuel.map(check_fuel).transpose()?,
                memory: limits.memory.as_deref().map(parse_memory).transpose()?,
                deadline_ms: limits.deadline.as_deref().map(parse_deadline).transpose()?,
            },
        })
    }

    /// The limits that it asks for, in words; empty where it asks for none.
    pub fn limits_in_words(&self) -> String {
        let BudgetOverride { fuel, memory, deadline_ms } = self.limits;
        let words = [
            fuel.map(|fuel| format!("fuel {fuel}")),
            memory.map(|memory| format!("memory {}", show_size(memory))),
            deadline_ms.map(|deadline| format!("deadline {}", show_duration(deadline))),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The component with this text as its manifest, in the place of one that it may have. `None` where it is no component
/// that can be read to its end.
pub fn pack(component: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let (preamble, _) = component.split_at_checked(PREAMBLE_BYTES)?;
    if !preamble.starts_with(b"\0asm") || !is_component(component) {
        return None;
    }
    let mut packed = preamble.to_vec();
    let mut sections = Sections::of(component);
    for (id, content) in sections.by_ref() {
        if custom(id, content).is_none_or(|(name, _)| name != SECTION.as_bytes()) {
            put_section(id, content, &mut packed);
        }
    }
    // What is left could not be read, and whoever wrote the result over the file would have lost it.
    if !sections.0.is_empty() {
        return None;
    }
    let mut content = Vec::new();
    put_number(SECTION.len(), &mut content);
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(text);
    put_section(CUSTOM, &content, &mut packed);
    Some(packed)
}

// The outermost one: whoever packs a component speaks for what is in it.
fn find(octets: &[u8], depth: u32) -> Option<&[u8]> {
    let own = Sections::of(octets).filter_map(|(id, content)| custom(id, content));
    if let Some((_, text)) = own.into_iter().find(|(name, _)| *name == SECTION.as_bytes()) {
        return Some(text);
    }
    // In a module these numbers are other sections.
    if depth == 0 || !is_component(octets) {
        return None;
    }
    let inner = Sections::of(octets).filter(|(id, _)| matches!(*id, CORE_MODULE | COMPONENT));
    inner.into_iter().find_map(|(_, content)| find(content, depth - 1))
}

fn is_component(octets: &[u8]) -> bool {
    octets.get(6) == Some(&1)
}

// Name and content of a custom section.
fn custom(id: u8, content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(content).filter(|_| id == CUSTOM)?;
    rest.split_at_checked(length)
}

/// The sections of a component or module, as far as they can be read: what is wrong with the rest, the compiler says.
struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    fn of(octets: &'a [u8]) -> Self {
        let is_wasm = octets.starts_with(b"\0asm");
        Self(octets.get(PREAMBLE_BYTES..).filter(|_| is_wasm).unwrap_or_default())
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.0.split_first()?;
        let (length, rest) = number(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*id, content))
    }
}

// A number in LEB128, of at most five octets.
fn number(octets: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (place, octet) in octets.iter().take(5).enumerate() {
        value |= u64::from(octet & 0x7f) << (7 * place);
        if octet & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, octets.get(place + 1..)?));
        }
    }
    None
}

fn put_section(id: u8, content: &[u8], into: &mut Vec<u8>) {
    into.push(id);
    put_number(content.len(), into);
    into.extend_from_slice(content);
}

fn put_number(mut value: usize, into: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        into.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use basin_core::event::Grant;

    use super::*;

    const TEXT: &str = r#"{"description": "d", "events": ["on-end-of-data"], "grants": ["read-headers"],
        "limits": {"fuel": 5000, "memory": "64MiB", "deadline": "250ms"}}"#;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("the fixture is right")
    }

    #[test]
    fn a_manifest_is_found_in_the_component_in_its_module_and_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.wasm");
        let plain = component("(component)");
        assert_eq!(Manifest::of(&plain, &file).expect("there is none"), None);
        let packed = pack(&plain, TEXT.as_bytes()).expect("it is a component");
        let wanted = Manifest::parse(TEXT.as_bytes()).expect("it is right");
        assert_eq!(Manifest::of(&packed, &file).expect("it is right"), Some(wanted.clone()));
        assert_eq!(wanted.grants, [Grant::ReadHeaders].into_iter().collect());
        assert_eq!(wanted.limits_in_words(), "fuel 5000, memory 64MiB, deadline 250ms");
        let inner = r#"(component (core module (@custom "basin:manifest" "{\"description\": \"inner\"}")))"#;
        let inner = component(inner);
        let found = Manifest::of(&inner, &file).expect("it is right").expect("there is one");
        assert_eq!(found.description, "inner");
        let outer = pack(&inner, TEXT.as_bytes()).expect("it is a component");
        assert_eq!(Manifest::of(&outer, &file).expect("it is right"), Some(wanted.clone()), "the outermost counts");
        fs::write(folder.path().join("a.manifest.json"), TEXT).expect("written");
        assert_eq!(Manifest::of(&plain, &file).expect("it is right"), Some(wanted));
    }

    #[test]
    fn packing_again_replaces_the_manifest_and_leaves_the_rest() {
        let plain = component("(component (core module))");
        let once = pack(&plain, b"{}").expect("it is a component");
        let twice = pack(&once, b"{\"grants\": []}").expect("it is a component");
        assert!(twice.starts_with(&plain));
        assert_eq!(find(&twice, DEPTH_MAX), Some(b"{\"grants\": []}".as_slice()));
        assert_eq!(Sections::of(&twice).count(), Sections::of(&plain).count() + 1);
        for other in [b"".as_slice(), b"\0asm\x01\0\0\0", b"text that is longer than a preamble"] {
            assert_eq!(pack(other, b"{}"), None);
        }
        assert_eq!(pack(&once, b"{}"), Some(once.clone()));
        let ends = [PREAMBLE_BYTES, plain.len()];
        for length in (0..once.len()).filter(|length| !ends.contains(length)) {
            assert_eq!(pack(&once[..length], b"{}"), None, "cut to {length}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_panics() {
        for (text, wanted) in [
            ("7", "invalid type"),
            (r#"{"grant": []}"#, "unknown field `grant`"),
            (r#"{"grants": ["fly"]}"#, "there is no grant \"fly\""),
            (r#"{"events": ["on-nothing"]}"#, "on-nothing"),
            (r#"{"limits": {"deadline": "1"}}"#, "\"1\""),
        ] {
            let why = Manifest::parse(text.as_bytes()).expect_err(text);
            assert!(why.contains(wanted), "{text}: {why}");
        }
        let long = format!("{{\"description\": \"{}\"}}", "x".repeat(501));
        assert!(Manifest::parse(long.as_bytes()).is_err());
        assert!(Manifest::parse(&vec![b' '; MANIFEST_BYTES_MAX + 1]).is_err());
        let packed = pack(&component("(component (core module))"), TEXT.as_bytes()).expect("it is a component");
        for length in 0..packed.len() {
            // That it is cut short, the compiler says; here it has no manifest.
            assert_eq!(find(&packed[..length], DEPTH_MAX), None, "cut to {length}");
        }
        let mut deep = packed;
        for _ in 0..2_000 {
            let mut outer = b"\0asm\x0d\0\x01\0".to_vec();
            put_section(COMPONENT, &deep, &mut outer);
            deep = outer;
        }
        assert_eq!(find(&deep, DEPTH_MAX), None, "nobody looks that deep");
    }
}

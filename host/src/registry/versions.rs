//! The components that a sink had before the one in force, so that an upgrade can be taken back.

use basin_core::event::{Grants, SinkEntry};
use basin_core::time::Timestamp;
use thiserror::Error;
use toml_edit::{Array, ArrayOfTables, Item, Table, Value};

use crate::registry::digest;
use crate::registry::fields::{Fields, FileError, Found, Source};
use crate::registry::words::{parse_grant, parse_moment};

/// Most former components that are kept for a sink. Each may have 32 MiB, and nobody goes back further than that
/// without the file at hand.
pub const FORMER_MAX: usize = 5;

const FORMER_KEYS: &[&str] = &["digest", "source", "since", "until", "undone"];

/// A component that was in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// SHA-256, in hexadecimal.
    pub digest: String,
    /// Where it came from, for people.
    pub source: String,
    /// When it came into force; `None` where nobody wrote it down.
    pub since: Option<Timestamp>,
    /// When another took its place.
    pub until: Option<Timestamp>,
    /// It was rolled back, so the next rollback goes past it.
    pub is_undone: bool,
}

/// What is known of the components of one sink, besides which is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Since when the one in force is.
    pub since: Option<Timestamp>,
    /// Those before it, the last first.
    pub former: Vec<Version>,
    /// What manifests of its components asked for and the operator was asked about, whatever the answer was.
    pub asked: Grants,
}

/// Why there is nothing to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RollbackError {
    /// Nothing was in force before.
    #[error("sink {sink} has no former component; `basin sink upgrade {sink} FILE` puts another in force")]
    Nothing {
        /// The sink.
        sink: String,
    },
    /// No former component begins like this.
    #[error("sink {sink} has no former component {wanted:?}; it has {}", .known.join(", "))]
    Unknown {
        /// The sink.
        sink: String,
        /// What was asked for.
        wanted: String,
        /// First digits of those that there are.
        known: Vec<String>,
    },
    /// More than one former component begins like this.
    #[error("sink {sink} has more than one former component {wanted:?}: {}; write more of the digest", .found.join(", "))]
    Ambiguous {
        /// The sink.
        sink: String,
        /// What was asked for.
        wanted: String,
        /// The digests that begin with it.
        found: Vec<String>,
    },
}

impl Versions {
    /// What is known after another component took the place of the one of `sink`.
    #[must_use]
    pub fn upgraded(&self, sink: &SinkEntry, digest: &str, at: Timestamp) -> Self {
        self.replaced(sink, digest, at, false)
    }

    /// The component that a rollback of `sink` puts in force, and what is known after it: the last one that was not
    /// itself rolled back, or the one whose digest begins with `to`.
    ///
    /// # Errors
    /// There is none, or `to` does not tell which, see [`RollbackError`].
    pub fn rolled_back(
        &self,
        sink: &SinkEntry,
        to: Option<&str>,
        at: Timestamp,
    ) -> Result<(Version, Self), RollbackError> {
        let is_it = |version: &&Version| match to {
            Some(digits) => !digits.is_empty() && version.digest.starts_with(digits),
            None => !version.is_undone,
        };
        let name = || sink.name.clone();
        let found = self.former.iter().find(is_it).cloned().ok_or_else(|| match to {
            Some(wanted) if !self.former.is_empty() => {
                let known = self.former.iter().map(|version| digest::short(&version.digest).to_owned());
                RollbackError::Unknown { sink: name(), wanted: wanted.to_owned(), known: known.collect() }
            }
            Some(_) | None => RollbackError::Nothing { sink: name() },
        })?;
        let others = self.former.iter().filter(is_it).map(|version| &version.digest);
        if let Some(wanted) = to.filter(|_| others.clone().any(|digest| *digest != found.digest)) {
            let found = others.cloned().collect();
            return Err(RollbackError::Ambiguous { sink: name(), wanted: wanted.to_owned(), found });
        }
        // Who goes forward again, to what was rolled back, leaves a good version and may want it back.
        let mut after = self.replaced(sink, &found.digest, at, !found.is_undone);
        if !found.is_undone {
            // What was passed over on the way back was left as well: the next step back goes on from where this one ends.
            let passed =
                self.former.iter().map(|version| &version.digest).take_while(|digest| **digest != found.digest);
            let passed: Vec<&String> = passed.collect();
            let over = after.former.iter_mut().filter(|version| passed.contains(&&version.digest));
            over.for_each(|version| version.is_undone = true);
        }
        Ok((found, after))
    }

    fn replaced(&self, sink: &SinkEntry, digest: &str, at: Timestamp, is_undone: bool) -> Self {
        let left = Version {
            digest: sink.digest.clone(),
            source: sink.source.clone(),
            since: self.since,
            until: Some(at),
            is_undone,
        };
        let others = self.former.iter().filter(|version| version.digest != digest && version.digest != sink.digest);
        let former = std::iter::once(left).chain(others.cloned()).take(FORMER_MAX).collect();
        Self { since: Some(at), former, asked: self.asked.clone() }
    }

    /// Reads what a sink's table says of them.
    pub(super) fn read(fields: &Fields<'_>, source: Source<'_>) -> Result<Self, FileError> {
        let former = fields.tables("former")?.into_iter().map(|table| {
            let what = format!("former component of {}", fields.what);
            let fields = Fields::open(source, table, table.span(), what, FORMER_KEYS)?;
            let digest = fields.required("digest")?;
            check_digest(&fields, &digest)?;
            Ok(Version {
                digest: digest.value.to_owned(),
                source: fields.string("source")?.map(|found| found.value.to_owned()).unwrap_or_default(),
                since: moment(&fields, "since")?,
                until: moment(&fields, "until")?,
                is_undone: fields.switch_or("undone", false)?,
            })
        });
        let former = former.collect::<Result<_, FileError>>()?;
        Ok(Self { since: moment(fields, "since")?, former, asked: read_grants(fields, "asked")? })
    }

    /// Writes them into a sink's table.
    pub(super) fn write(&self, table: &mut Table) {
        put_moment(table, "since", self.since);
        if !self.asked.is_empty() {
            let asked: Array = self.asked.iter().map(|grant| grant.name()).collect();
            table.insert("asked", toml_edit::value(asked));
        }
        table.remove("former");
        if self.former.is_empty() {
            return;
        }
        let mut rows = ArrayOfTables::new();
        for version in &self.former {
            let mut row = Table::new();
            row.insert("digest", toml_edit::value(&version.digest));
            if !version.source.is_empty() {
                row.insert("source", toml_edit::value(&version.source));
            }
            put_moment(&mut row, "since", version.since);
            put_moment(&mut row, "until", version.until);
            if version.is_undone {
                row.insert("undone", toml_edit::value(true));
            }
            rows.push(row);
        }
        table.insert("former", Item::ArrayOfTables(rows));
    }
}

/// Reads a list of grants.
pub(super) fn read_grants(fields: &Fields<'_>, key: &str) -> Result<Grants, FileError> {
    let parse = |found: Found<&str>| parse_grant(found.value).map_err(|problem| fields.error_at(&found, problem));
    fields.strings(key)?.into_iter().map(parse).collect()
}

/// Refuses what does not have the form of a digest: it becomes part of a path.
pub(super) fn check_digest(fields: &Fields<'_>, digest: &Found<&str>) -> Result<(), FileError> {
    if digest::is_digest(digest.value) {
        return Ok(());
    }
    let problem = "digest is no SHA-256, 64 digits out of 0-9 a-f; `basin sink add` writes it";
    Err(fields.error_at(digest, problem))
}

fn moment(fields: &Fields<'_>, key: &str) -> Result<Option<Timestamp>, FileError> {
    let Some(found) = fields.moment(key)? else { return Ok(None) };
    parse_moment(&found.value).map(Some).map_err(|problem| fields.error_at(&found, problem))
}

fn put_moment(table: &mut Table, key: &str, moment: Option<Timestamp>) {
    match moment.and_then(|moment| moment.to_rfc3339().parse().ok()) {
        Some(moment) => {
            let decor = table.get(key).and_then(Item::as_value).map(|old| old.decor().clone());
            let mut value = Value::Datetime(toml_edit::Formatted::new(moment));
            if let Some(decor) = decor {
                *value.decor_mut() = decor;
            }
            table.insert(key, toml_edit::value(value));
        }
        None => drop(table.remove(key)),
    }
}

#[cfg(test)]
mod tests {
    use basin_core::event::BudgetOverride;

    use super::*;

    fn sink(digest: &str) -> SinkEntry {
        SinkEntry {
            name: "a".to_owned(),
            digest: digest.to_owned(),
            source: format!("{digest}.wasm"),
            grants: Grants::default(),
            budget: BudgetOverride::default(),
            secrets: Default::default(),
            config: Default::default(),
            is_enabled: true,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    fn digests(versions: &Versions) -> Vec<&str> {
        versions.former.iter().map(|version| version.digest.as_str()).collect()
    }

    #[test]
    fn a_rollback_goes_to_what_was_before_and_past_what_was_rolled_back() {
        let one = Versions { since: Some(at(1)), ..Versions::default() };
        assert!(matches!(one.rolled_back(&sink("1"), None, at(9)), Err(RollbackError::Nothing { .. })));
        let three = one.upgraded(&sink("1"), "2", at(2)).upgraded(&sink("2"), "3", at(3));
        assert_eq!(digests(&three), ["2", "1"]);
        let (found, two) = three.rolled_back(&sink("3"), None, at(4)).expect("there is one");
        assert_eq!((found.digest.as_str(), found.until, two.since), ("2", Some(at(3)), Some(at(4))));
        assert_eq!(digests(&two), ["3", "1"]);
        let (found, one) = two.rolled_back(&sink("2"), None, at(5)).expect("there is one");
        assert_eq!((found.digest.as_str(), digests(&one)), ("1", vec!["2", "3"]));
        assert!(matches!(one.rolled_back(&sink("1"), None, at(6)), Err(RollbackError::Nothing { .. })));
        let (found, _) = one.rolled_back(&sink("1"), Some("3"), at(6)).expect("it is kept under its digest");
        assert_eq!(found.digest, "3");
        let (_, again) = two.rolled_back(&sink("2"), Some("3"), at(6)).expect("forward again");
        let (found, _) = again.rolled_back(&sink("3"), None, at(7)).expect("what it left is not undone");
        assert_eq!(found.digest, "2");
        let unknown = one.rolled_back(&sink("1"), Some("4"), at(6)).expect_err("there is none");
        assert_eq!(unknown.to_string(), "sink a has no former component \"4\"; it has 2, 3");
        assert!(one.rolled_back(&sink("1"), Some(""), at(6)).is_err(), "no digits name no component");
    }

    #[test]
    fn what_a_rollback_passed_over_is_not_gone_back_to_unasked() {
        let one = Versions { since: Some(at(1)), ..Versions::default() };
        let three = one.upgraded(&sink("1"), "2", at(2)).upgraded(&sink("2"), "3", at(3));
        let four = three.upgraded(&sink("3"), "4", at(4));
        let (_, two) = four.rolled_back(&sink("4"), Some("2"), at(5)).expect("it is there");
        let (found, _) = two.rolled_back(&sink("2"), None, at(6)).expect("there is one");
        assert_eq!(found.digest, "1", "and not 3, which is newer");
    }

    #[test]
    fn digits_that_two_former_components_begin_with_name_neither() {
        let three = Versions::default().upgraded(&sink("12"), "13", at(1)).upgraded(&sink("13"), "2", at(2));
        let why = three.rolled_back(&sink("2"), Some("1"), at(3)).expect_err("it is one of two").to_string();
        assert_eq!(why, "sink a has more than one former component \"1\": 13, 12; write more of the digest");
        let (found, _) = three.rolled_back(&sink("2"), Some("12"), at(3)).expect("it is this one");
        assert_eq!(found.digest, "12");
    }

    #[test]
    fn so_many_are_kept_and_none_twice() {
        let mut versions = Versions::default();
        for number in 1..=9_i64 {
            versions = versions.upgraded(&sink(&number.to_string()), &(number + 1).to_string(), at(number));
        }
        assert_eq!(digests(&versions), ["9", "8", "7", "6", "5"]);
        let again = versions.upgraded(&sink("10"), "8", at(11));
        assert_eq!(digests(&again), ["10", "9", "7", "6", "5"]);
    }
}

//! The component that goes on where the one of the file cannot be loaded, and what it may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::event::{Grants, SinkEntry};
use basin_core::time::Timestamp;

use crate::registry::{RegistryFile, Versions, digest};

/// A sink whose former component goes on.
#[derive(Clone)]
pub(super) struct Stayed {
    /// Why, for an operator.
    pub(super) why: String,
    /// What the file says of the sink.
    pub(super) wanted: Arc<SinkEntry>,
}

impl Stayed {
    /// Writes down why a component goes on that is not the one of the file.
    pub(super) fn new(wanted: &SinkEntry, old: &SinkEntry, why: &str) -> Self {
        let (name, new, old) = (&wanted.name, digest::short(&wanted.digest), digest::short(&old.digest));
        let why = format!("sink {name}: the component {new} cannot be loaded, so {old} stays in force: {why}");
        Self { why, wanted: Arc::new(wanted.clone()) }
    }
}

/// Since when each sink of a file has its component; it tells an upgrade from another sink under the same name.
pub(super) fn moments(file: &RegistryFile) -> BTreeMap<String, Option<Timestamp>> {
    file.versions.iter().map(|(name, versions)| (name.clone(), versions.since)).collect()
}

/// Whether what the file knows of a sink follows from what was in force: the component is one of its former ones, or
/// the row was edited by hand.
pub(super) fn is_successor(versions: &Versions, old: &SinkEntry, since: Option<Timestamp>) -> bool {
    versions.since == since || versions.former.iter().any(|version| version.digest == old.digest)
}

/// With what the former component goes on: as it was set, without what the file no longer gives. What the file gives
/// for the first time is for the component that it names.
pub(super) fn narrowed(old: &SinkEntry, wanted: &SinkEntry) -> SinkEntry {
    let grants: Grants = old.grants.iter().filter(|grant| wanted.grants.has(*grant)).collect();
    // A secret that was changed where it lies is the same one; the value of before is of no use to anybody.
    let is_kept = |key: &String, file: &str| old.secrets.get(key).is_some_and(|secret| secret.file == file);
    let secrets = wanted.secrets.iter().filter(|(key, secret)| is_kept(key, &secret.file));
    let secrets = secrets.map(|(key, secret)| (key.clone(), secret.clone())).collect();
    SinkEntry { grants, secrets, ..old.clone() }
}

#[cfg(test)]
mod tests {
    use basin_core::event::{BudgetOverride, Grant, SinkSecret};
    use basin_core::secret::Secret;

    use super::*;
    use crate::registry::Version;

    fn secret(file: &str, value: &str) -> SinkSecret {
        SinkSecret { file: file.to_owned(), value: Secret::new(value.to_owned()) }
    }

    fn sink(digest: &str, grants: &[Grant], secrets: &[(&str, SinkSecret)]) -> SinkEntry {
        SinkEntry {
            name: "a".to_owned(),
            digest: digest.to_owned(),
            source: String::new(),
            grants: grants.iter().copied().collect(),
            budget: BudgetOverride::default(),
            secrets: secrets.iter().map(|(key, secret)| ((*key).to_owned(), secret.clone())).collect(),
            config: [("of".to_owned(), digest.to_owned())].into(),
            is_enabled: true,
        }
    }

    #[test]
    fn a_former_component_goes_on_with_what_both_rows_give_it() {
        let before = [("kept", secret("/k", "1")), ("gone", secret("/g", "1")), ("moved", secret("/m", "1"))];
        let old = sink("1", &[Grant::ReadHeaders, Grant::State], &before);
        let after = [("kept", secret("/k", "2")), ("new", secret("/n", "2")), ("moved", secret("/other", "2"))];
        let new = sink("2", &[Grant::ReadHeaders, Grant::Dns], &after);
        let narrow = narrowed(&old, &new);
        let wanted = sink("1", &[Grant::ReadHeaders], &[("kept", secret("/k", "2"))]);
        assert_eq!(narrow, wanted, "its digest and configuration stay");
        assert_eq!(narrowed(&narrow, &new), narrow, "and the next edit gives it no more");
    }

    #[test]
    fn another_sink_of_the_same_name_is_no_successor() {
        let (old, since) = (sink("1", &[], &[]), Some(Timestamp::from_seconds(1)));
        let added = Versions { since: Some(Timestamp::from_seconds(2)), ..Versions::default() };
        assert!(!is_successor(&added, &old, since));
        let former = vec![Version { digest: "1".to_owned(), ..Version::default() }];
        assert!(is_successor(&Versions { former, ..added }, &old, since), "an upgrade");
        assert!(is_successor(&Versions { since, ..Versions::default() }, &old, since), "an edit by hand");
    }
}

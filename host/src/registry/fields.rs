//! Reading the tables of a TOML document so that each complaint names file, line and what was meant.

use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml_edit::{Item, TableLike, Value};

use crate::registry::suggest;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}:{line}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// A text and the file it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn error(&self, span: Option<Range<usize>>, problem: impl Into<String>) -> FileError {
        let until = span.map_or(0, |span| span.start);
        let line = 1 + self.text.bytes().take(until).filter(|&octet| octet == b'\n').count();
        FileError { path: self.path.to_owned(), line, problem: problem.into() }
    }
}

/// A value and where it stands.
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) span: Option<Range<usize>>,
}

/// One table, read key by key.
pub(crate) struct Fields<'a> {
    source: Source<'a>,
    table: &'a dyn TableLike,
    span: Option<Range<usize>>,
    /// What the table is, for messages: `sink "stamp"`.
    pub(crate) what: String,
}

impl<'a> Fields<'a> {
    /// Takes a table and refuses keys that nobody reads.
    pub(crate) fn open(
        source: Source<'a>,
        table: &'a dyn TableLike,
        span: Option<Range<usize>>,
        what: impl Into<String>,
        known: &[&'static str],
    ) -> Result<Self, FileError> {
        let fields = Self { source, table, span, what: what.into() };
        for (key, item) in table.iter() {
            if !known.contains(&key) {
                let span = table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| item.span());
                let hint = suggest::hint(key, known.iter().copied());
                let known = known.join(", ");
                return Err(source.error(span, format!("{} has no key {key:?}{hint} (keys: {known})", fields.what)));
            }
        }
        Ok(fields)
    }

    /// An error about the table as a whole.
    pub(crate) fn error(&self, problem: impl AsRef<str>) -> FileError {
        self.source.error(self.span.clone(), format!("{}: {}", self.what, problem.as_ref()))
    }

    /// An error about a value of the table.
    pub(crate) fn error_at<T>(&self, found: &Found<T>, problem: impl AsRef<str>) -> FileError {
        self.source.error(found.span.clone(), format!("{}: {}", self.what, problem.as_ref()))
    }

    fn of_type<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a Item) -> Option<T>,
    ) -> Result<Option<Found<T>>, FileError> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        let span = item.span();
        match read(item) {
            Some(value) => Ok(Some(Found { value, span })),
            None => {
                let problem = format!("{}: {key} is {}; write {wanted}", self.what, item.type_name());
                Err(self.source.error(span, problem))
            }
        }
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<Found<&'a str>>, FileError> {
        self.of_type(key, "a text in quotes", Item::as_str)
    }

    pub(crate) fn required(&self, key: &str) -> Result<Found<&'a str>, FileError> {
        self.string(key)?.ok_or_else(|| self.error(format!("{key} is missing; add a line {key} = \"...\"")))
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<Found<i64>>, FileError> {
        self.of_type(key, "a whole number without quotes", Item::as_integer)
    }

    /// A switch; on where nothing is said.
    pub(crate) fn switch(&self, key: &str) -> Result<bool, FileError> {
        self.switch_or(key, true)
    }

    /// A switch, and how it stands where nothing is said.
    pub(crate) fn switch_or(&self, key: &str, default: bool) -> Result<bool, FileError> {
        let found = self.of_type(key, "true or false", Item::as_bool)?;
        Ok(found.map_or(default, |found| found.value))
    }

    /// A moment, written as a TOML date-time with an offset, without quotes.
    pub(crate) fn moment(&self, key: &str) -> Result<Option<Found<String>>, FileError> {
        let wanted = "a date and time with offset and without quotes, as in 2030-01-31T12:00:00Z";
        self.of_type(key, wanted, |item| {
            let moment = item.as_datetime()?;
            (moment.date.is_some() && moment.time.is_some() && moment.offset.is_some()).then(|| moment.to_string())
        })
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Vec<Found<&'a str>>, FileError> {
        let wanted = "a list of texts, as in [\"a\", \"b\"]";
        let list = self.of_type(key, wanted, |item| {
            let texts = item.as_array()?.iter().map(|value| value.as_str().map(|text| (text, value.span())));
            texts.collect::<Option<Vec<_>>>()
        })?;
        let list = list.map(|found| found.value).unwrap_or_default();
        Ok(list.into_iter().map(|(value, span)| Found { value, span }).collect())
    }

    /// A table below this one; what it is called is `what`.
    pub(crate) fn table(
        &self,
        key: &str,
        what: String,
        known: &[&'static str],
    ) -> Result<Option<Fields<'a>>, FileError> {
        let found = self.of_type(key, "a table, as in { name = value }", Item::as_table_like)?;
        found.map(|found| Fields::open(self.source, found.value, found.span, what, known)).transpose()
    }

    /// A table of texts under names that the operator chooses.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<(&'a str, Found<&'a str>)>, FileError> {
        let found = self.of_type(key, "a table, as in { name = \"value\" }", Item::as_table_like)?;
        let Some(found) = found else { return Ok(Vec::new()) };
        let one = |(name, item): (&'a str, &'a Item)| match item.as_value() {
            Some(Value::String(text)) => Ok((name, Found { value: text.value().as_str(), span: item.span() })),
            _ => {
                let problem = format!("{}: {key}.{name} is {}; put it in quotes", self.what, item.type_name());
                Err(self.source.error(item.span(), problem))
            }
        };
        found.value.iter().map(one).collect()
    }

    /// The tables of an array `[[key]]`.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<&'a toml_edit::Table>, FileError> {
        let found = self.of_type(key, &format!("tables that begin with [[{key}]]"), |item| match item {
            Item::ArrayOfTables(tables) => Some(tables.iter().collect()),
            Item::None | Item::Value(_) | Item::Table(_) => None,
        })?;
        Ok(found.map(|found| found.value).unwrap_or_default())
    }
}

//! Where each key of a file stands, and what is wrong with it.

use core::fmt;
use core::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reference;

/// One thing that is wrong or doubtful in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1 on; `None` where it is about the whole.
    pub line: Option<usize>,
    /// The key, as `listener[0].address`; empty where it is about the whole.
    pub key: String,
    /// What is wrong, and what to do.
    pub text: String,
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn whole(file: &Path, text: String) -> Self {
        Self { file: file.to_owned(), problems: vec![Problem { line: None, key: String::new(), text }] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {}", problem.at(&self.file)))
    }
}

impl std::error::Error for ConfigErrors {}

impl Problem {
    /// Whether it may be there only because of that other one: it is about the same value, one around or within it, or
    /// about the whole.
    pub(super) fn follows(&self, other: &Self) -> bool {
        let is_in = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
        };
        is_in(&self.key, &other.key) || is_in(&other.key, &self.key)
    }

    /// `FILE:LINE: KEY: TEXT`, the form that editors jump to.
    pub fn at(&self, file: &Path) -> String {
        let mut text = file.display().to_string();
        if let Some(line) = self.line {
            text.push_str(&format!(":{line}"));
        }
        if !self.key.is_empty() {
            text.push_str(&format!(": {}", self.key));
        }
        format!("{text}: {}", self.text)
    }
}

/// The text of a file, and where its keys are.
pub(super) struct Source<'a> {
    text: &'a str,
    keys: Vec<(String, Range<usize>)>,
}

impl<'a> Source<'a> {
    /// Finds all keys. The error is a file that is no TOML.
    pub(super) fn parse(text: &'a str) -> Result<Self, Problem> {
        let mut source = Self { text, keys: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| source.problem_of(&error))?;
        source.collect("", table.get_ref());
        Ok(source)
    }

    fn collect(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            self.keys.push((path.clone(), key.span().start..value.span().end.max(key.span().end)));
            self.collect_value(&path, value);
        }
    }

    fn collect_value(&mut self, path: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(table) = value.get_ref().as_table() {
            self.collect(path, table);
        } else if let Some(array) = value.get_ref().as_array() {
            for (index, entry) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                self.keys.push((path.clone(), entry.span()));
                self.collect_value(&path, entry);
            }
        }
    }

    /// Keys that nobody knows, with the nearest one that somebody does.
    pub(super) fn unknown_keys(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, span) in &self.keys {
            if path.ends_with(']') || reference::is_known(path) {
                continue;
            }
            // A key below an unknown table is not reported a second time.
            let is_below = problems.iter().any(|known: &Problem| {
                path.strip_prefix(known.key.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
            });
            if !is_below {
                let text = match reference::nearest(path) {
                    Some(near) => format!("there is no such key; did you mean {near:?}?"),
                    None => "there is no such key; docs/configuration.md lists all of them".to_owned(),
                };
                problems.push(Problem { line: Some(self.line_of(span.start)), key: path.clone(), text });
            }
        }
        problems
    }

    /// Reads the file into what it is written as. The error is every value of the wrong kind, and what the file says
    /// without these, where it says anything then.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, (Vec<Problem>, Option<T>)> {
        let (mut text, mut problems) = (self.text.to_owned(), Vec::new());
        loop {
            let error = match toml::from_str(&text) {
                Ok(read) if problems.is_empty() => return Ok(read),
                Ok(read) => return Err((problems, Some(read))),
                Err(error) => error,
            };
            // Serde stops at the first one. It is blanked out, line ends apart, and what is left is read again.
            let problem = self.problem_of(&error);
            let written = self.keys.iter().filter(|(path, _)| !path.ends_with(']'));
            let around = written.filter(|(_, span)| error.span().is_some_and(|at| span.contains(&at.start)));
            let span = around.min_by_key(|(_, span)| span.len()).map(|(_, span)| span.clone());
            let octets = span.and_then(|span| Some((text.get(span.clone())?.to_owned(), span)));
            let Some((mistaken, span)) = octets.filter(|(mistaken, _)| !mistaken.trim().is_empty()) else {
                // What is left over is no TOML, which is not what the file has wrong.
                if problems.is_empty() {
                    problems.push(problem);
                }
                return Err((problems, None));
            };
            problems.push(problem);
            let blank = |octet: u8| if octet == b'\n' { '\n' } else { ' ' };
            text.replace_range(span, &mistaken.bytes().map(blank).collect::<String>());
        }
    }

    /// A problem with the value of a key.
    pub(super) fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        let line = self.span_of(key).map(|span| self.line_of(span.start));
        Problem { line, key: key.to_owned(), text: text.into() }
    }

    // The key itself, or where it is not written the nearest table above it.
    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        let found = self.keys.iter().find(|(path, _)| path == key).map(|(_, span)| span.clone());
        found.or_else(|| self.span_of(key.rsplit_once('.')?.0))
    }

    /// What TOML or serde say, with the key that it is about.
    pub(super) fn problem_of(&self, error: &toml::de::Error) -> Problem {
        let start = error.span().map(|span| span.start);
        let holds = |(_, span): &&(String, Range<usize>)| start.is_some_and(|start| span.contains(&start));
        // The innermost key is the shortest that holds the place.
        let key = self.keys.iter().filter(holds).min_by_key(|(_, span)| span.len());
        Problem {
            line: start.map(|start| self.line_of(start)),
            key: key.map(|(path, _)| path.clone()).unwrap_or_default(),
            text: error.message().replace('\n', "; "),
        }
    }

    fn line_of(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|octet| *octet == b'\n').count()
    }
}

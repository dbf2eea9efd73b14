//! What a sink keeps in its table, for operators: through a running server, or in the file itself where none runs.

use basin_core::event::TableEdits;
use basin_core::limits::TABLES_BYTES_MAX;
use basin_state::{Committed, StateError, Tables};
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::sink_tables::{SinkTables, seconds};

/// Keys that are read, or removed in one transaction, at once.
const PAGE: usize = 1_000;

/// A question about a table, or a change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRequest {
    /// Name of the sink; its table outlives it.
    pub sink: String,
    /// What is wanted.
    pub act: StateAct,
}

/// What an operator wants of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateAct {
    /// Its keys.
    List,
    /// The value of a key.
    Get(String),
    /// A key goes.
    Delete(String),
    /// All keys go.
    Clear,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAnswer {
    /// Name of the sink.
    pub sink: String,
    /// Octets that count against the quota; entries whose life is over count until they are swept.
    pub used: u64,
    /// The quota, in octets.
    pub quota: u64,
    /// Entries that were asked for, by key.
    pub entries: Vec<StateEntry>,
    /// Entries that were removed.
    pub removed: u64,
}

/// An entry of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// Octets of the value.
    pub bytes: u64,
    /// The value as text with escapes, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Answers a question or makes a change, which is on disk when this returns; `by` goes into the log.
///
/// # Errors
/// The tables cannot be used.
pub async fn carry_out(tables: &SinkTables, request: StateRequest, by: &str) -> Result<StateAnswer, StateError> {
    let StateRequest { sink, act } = request;
    let (mut entries, mut removed) = (Vec::new(), 0);
    match act {
        StateAct::List => {
            let mut after = None;
            loop {
                let page = page(tables, &sink, after.take()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                entries.extend(page);
            }
        }
        StateAct::Get(key) => {
            let name = sink.clone();
            let found =
                reading(tables, move |tables| tables.get(&name, &key, seconds(now())).map(|v| (key, v))).await?;
            let (key, value) = found;
            entries.extend(value.map(|octets| StateEntry {
                key,
                bytes: octets.len() as u64,
                value: Some(octets.escape_ascii().to_string()),
            }));
        }
        StateAct::Delete(key) => removed = remove(tables, &sink, vec![key]).await?,
        StateAct::Clear => {
            let mut after = None;
            loop {
                let keys: Vec<String> = page(tables, &sink, after.take()).await?.into_iter().map(|e| e.key).collect();
                let Some(last) = keys.last() else { break };
                // Onward and never back: a sink that is being called may set keys as fast as they go.
                after = Some(last.clone());
                removed += remove(tables, &sink, keys).await?;
            }
        }
    }
    if removed > 0 {
        tracing::info!(target: crate::audit::TARGET, sink, removed, by, "entries of a sink were removed by an operator");
    }
    let name = sink.clone();
    let used = reading(tables, move |tables| tables.used(&name)).await?;
    Ok(StateAnswer { sink, used, quota: TABLES_BYTES_MAX, entries, removed })
}

async fn page(tables: &SinkTables, sink: &str, after: Option<String>) -> Result<Vec<StateEntry>, StateError> {
    let sink = sink.to_owned();
    let read = move |tables: &Tables| {
        let at = seconds(now());
        let mut entries = Vec::new();
        for key in tables.keys(&sink, "", after.as_deref(), PAGE, at)? {
            // What ended in between is 0 octets long.
            let bytes = tables.get(&sink, &key, at)?.map_or(0, |octets| octets.len() as u64);
            entries.push(StateEntry { key, bytes, value: None });
        }
        Ok(entries)
    };
    reading(tables, read).await
}

// Reading may wait for the disk, and the threads that serve clients must not.
async fn reading<T: Send + 'static>(
    tables: &SinkTables,
    read: impl FnOnce(&Tables) -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let tables = tables.get()?.clone();
    let interrupted = |error: tokio::task::JoinError| Err(StateError::Unavailable(error.to_string()));
    tokio::task::spawn_blocking(move || read(&tables)).await.unwrap_or_else(interrupted)
}

// Says how many there were.
async fn remove(tables: &SinkTables, sink: &str, keys: Vec<String>) -> Result<u64, StateError> {
    let name = sink.to_owned();
    let there = move |tables: &Tables| {
        let is_there = |key: &String| tables.get(&name, key, seconds(now())).map(|value| value.is_some());
        keys.into_iter().map(|key| is_there(&key).map(|is| is.then_some(key))).collect::<Result<Vec<_>, _>>()
    };
    let keys: Vec<String> = reading(tables, there).await?.into_iter().flatten().collect();
    let mut edits = TableEdits::default();
    for key in &keys {
        edits.set(sink, key, None, None).map_err(|error| StateError::Unavailable(error.to_string()))?;
    }
    match tables.commit(&edits, None).await? {
        Committed::Written => Ok(keys.len() as u64),
        Committed::Conflict { key, .. } => Err(StateError::Unavailable(format!("{key:?} is being changed"))),
    }
}

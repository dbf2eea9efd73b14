//! Which messages a command is about.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use basin_core::mail::MessageId;
use basin_core::queue::index::Filter;

/// Ids of one question to the server; more are asked about in several.
const IDS_OF_A_QUESTION: usize = 1_000;

/// Messages by id and by filter.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Selection {
    /// Ids, filters such as sender=*@example.org or age>2h, or both; `basin queue --help` explains filters.
    #[arg(value_name = "ID|FILTER")]
    what: Vec<String>,
}

/// The filters to ask with, and the ids that were named.
pub(super) struct Asked {
    /// One, unless very many ids were named.
    pub(super) filters: Vec<String>,
    /// The ids.
    pub(super) ids: Vec<MessageId>,
}

impl Selection {
    /// Whether it names nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    /// Checks filters here, so that a slip of the pen is found before anybody is asked.
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        let (mut ids, mut conditions) = (Vec::new(), Vec::new());
        for part in &self.what {
            match MessageId::parse(part) {
                Some(id) => ids.push(id),
                None => conditions.push(part.trim().trim_end_matches(';')),
            }
        }
        let conditions = conditions.join(";");
        Filter::parse(&conditions)?;
        let and = |ids: &[MessageId]| {
            let ids: Vec<&str> = ids.iter().map(MessageId::as_str).collect();
            let separator = if conditions.is_empty() { "" } else { ";" };
            format!("id={}{separator}{conditions}", ids.join("|"))
        };
        let filters =
            if ids.is_empty() { vec![conditions.clone()] } else { ids.chunks(IDS_OF_A_QUESTION).map(and).collect() };
        Ok(Asked { filters, ids })
    }
}

/// Whether a person, asked at the terminal, says yes. Who is no person has to say so beforehand.
pub(super) fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{question} Say --yes where nobody is there to be asked");
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} (yes/no) ").and_then(|()| stderr.flush()).context("cannot ask")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

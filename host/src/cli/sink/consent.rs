//! What a component asks for, and whether the operator gives it.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::bail;
use basin_core::event::Grants;

use super::add::parse_grants;
use crate::cli::table::printable;
use crate::registry::manifest::Manifest;

/// How an operator answers on the command line.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ConsentArgs {
    /// Something that the sink may do; `basin sink inspect FILE` shows what it asks for and what its imports suggest.
    #[arg(long = "grant", value_name = "GRANT")]
    pub(super) grants: Vec<String>,
    /// Grant all that the component's manifest asks for.
    #[arg(long)]
    pub(super) yes: bool,
}

/// What the operator gave.
#[derive(Debug, Default)]
pub(super) struct Consent {
    /// What is granted now.
    pub(super) grants: Grants,
    /// All that was asked for is given, the limits too.
    pub(super) is_whole: bool,
}

impl ConsentArgs {
    /// Asks for what the manifest wants and `known` does not have. `verb` is what the command did not do where there is no
    /// answer.
    ///
    /// # Errors
    /// Nobody said yes, or a grant that is none.
    pub(super) fn ask(&self, manifest: &Manifest, known: &Grants, verb: &str) -> anyhow::Result<Consent> {
        let named = parse_grants(&self.grants)?;
        let wanted: Grants = manifest.grants.iter().filter(|grant| !known.has(*grant)).collect();
        if self.yes || wanted.is_empty() {
            return Ok(Consent { grants: named.iter().chain(wanted.iter()).collect(), is_whole: self.yes });
        }
        if !self.grants.is_empty() {
            return Ok(Consent { grants: named, is_whole: false });
        }
        let names: Vec<_> = wanted.iter().map(|grant| grant.name()).collect();
        if io::stdin().is_terminal() && io::stderr().is_terminal() {
            if answers_yes(&request(manifest, &wanted))? {
                return Ok(Consent { grants: wanted, is_whole: true });
            }
            bail!("nothing was {verb}; name what you grant with --grant");
        }
        let each: Vec<_> = names.iter().map(|name| format!("--grant {name}")).collect();
        bail!(
            "the component asks for {}; nothing was {verb}; add --yes to grant all of it, or name what you grant ({})",
            names.join(", "),
            each.join(" ")
        )
    }
}

/// What a manifest asks for, for a person. Its text is the component's, so it is not believed.
pub(super) fn request(manifest: &Manifest, grants: &Grants) -> String {
    let mut text = String::new();
    if !manifest.description.is_empty() {
        text.push_str(&format!("it says of itself: {}\n", printable(&manifest.description)));
    }
    if !grants.is_empty() {
        text.push_str("it asks for:\n");
        grants.iter().for_each(|grant| text.push_str(&format!("  {}\n", grant.name())));
    }
    let limits = manifest.limits_in_words();
    if !limits.is_empty() {
        text.push_str(&format!("it asks for these limits: {limits}\n"));
    }
    text
}

fn answers_yes(request: &str) -> anyhow::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{request}Grant all of it? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

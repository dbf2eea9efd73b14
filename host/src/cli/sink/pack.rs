//! `basin sink pack`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use super::places::read_component;
use crate::cli::table::print;
use crate::registry::manifest::{Manifest, SECTION, pack};

/// Arguments of `basin sink pack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A manifest is JSON:
  { \"description\": \"Adds a field.\", \"events\": [\"on-end-of-data\"],
    \"grants\": [\"edit-headers\"], \"limits\": { \"memory\": \"64MiB\" } }
Example:
  basin sink pack stamp.wasm --manifest stamp.json --out stamp-packed.wasm")]
pub(super) struct Pack {
    /// The component, a .wasm file.
    file: PathBuf,
    /// The manifest, a JSON file.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Where to write the component with its manifest.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Pack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let component = read_component(&self.file)?;
        let manifest = self.manifest.display();
        let text = fs::read(&self.manifest).with_context(|| format!("cannot read the manifest {manifest}"))?;
        Manifest::parse(&text).map_err(|why| anyhow!("cannot use the manifest {manifest}: {why}"))?;
        let packed = pack(&component, &text).ok_or_else(|| {
            anyhow!("{}: this is no component, or not all of it; build it for wasm32-wasip2", self.file.display())
        })?;
        fs::write(&self.out, packed).with_context(|| format!("cannot write {}", self.out.display()))?;
        print(format!("{} has the manifest in its section {SECTION}\n", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

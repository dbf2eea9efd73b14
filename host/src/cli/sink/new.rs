//! `basin sink new`: a project that builds and has a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};

use crate::cli::table::print;
use crate::registry::words::check_sink_name;

/// Languages with a template.
const LANGUAGES: &[&str] = &["rust"];

/// Files of the template for Rust: where each goes, and its text.
const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../../guest-sdk/rust/template/Cargo.toml.tmpl")),
    ("README.md", include_str!("../../../../guest-sdk/rust/template/README.md")),
    ("src/lib.rs", include_str!("../../../../guest-sdk/rust/template/src/lib.rs")),
    (".cargo/config.toml", include_str!("../../../../guest-sdk/rust/template/.cargo/config.toml")),
    (".gitignore", include_str!("../../../../guest-sdk/rust/template/.gitignore")),
];

/// Arguments of `basin sink new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  basin sink new my-filter && cd my-filter && cargo test && \\
      cargo build --release --target wasm32-wasip2")]
pub(super) struct New {
    /// Name of the sink; also of the folder, which must not exist.
    name: String,
    /// Language of the project.
    #[arg(long, default_value = "rust")]
    lang: String,
    /// Where to put the folder.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    into: PathBuf,
    /// Folder of the SDK (guest-sdk/rust of Basin's sources); the one that this basin was built from where it is
    /// still there.
    #[arg(long, value_name = "DIRECTORY")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        check_sink_name(&self.name).map_err(|error| anyhow!(error))?;
        if !LANGUAGES.contains(&self.lang.as_str()) {
            bail!(
                "there is no template for {:?}; there is one for {}. A sink in another language is a component that \
                 exports an event of basin:sink (wit/ in Basin's sources)",
                self.lang,
                LANGUAGES.join(", ")
            );
        }
        let sdk = find_sdk(self.sdk.as_deref())?;
        let folder = self.into.join(&self.name);
        write_project(&folder, &self.name, &sdk)?;
        let folder = folder.display();
        print(format!(
            "made {folder}\nnext:\n  cd {folder}\n  cargo test\n  rustup target add wasm32-wasip2\n  cargo build --release \
             --target wasm32-wasip2\nREADME.md there says how to register it\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn find_sdk(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/rust");
    let sdk = named.unwrap_or(&built_from);
    if !sdk.join("Cargo.toml").is_file() {
        bail!("{} has no SDK; name the folder guest-sdk/rust of Basin's sources with --sdk", sdk.display());
    }
    sdk.canonicalize().with_context(|| format!("cannot find the SDK {}", sdk.display()))
}

fn write_project(folder: &Path, name: &str, sdk: &Path) -> anyhow::Result<()> {
    // `create_dir` refuses a folder that exists, so nothing of anybody's is overwritten.
    fs::create_dir(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // The text of a path in TOML: a literal string holds all but a quote and control characters.
    let sdk = sdk.to_str().filter(|path| !path.contains('\'') && !path.chars().any(char::is_control));
    let sdk = sdk.ok_or_else(|| anyhow!("the path of the SDK has characters that Cargo.toml cannot hold"))?;
    for (path, text) in RUST {
        let path = folder.join(path);
        let text = text
            .replace("{{name}}", name)
            .replace("{{crate_name}}", &name.replace('-', "_"))
            .replace("{{sdk}}", &format!("{{ path = '{sdk}' }}"));
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_no_placeholder_left_and_overwrites_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = dir.path().join("my-filter");
        let sdk = find_sdk(None).expect("the tests run in the sources");
        write_project(&folder, "my-filter", &sdk).expect("the directory is there");
        for (path, _) in RUST {
            let text = fs::read_to_string(folder.join(path)).expect("it was written");
            assert!(!text.contains("{{"), "{path}: {text}");
        }
        let cargo = fs::read_to_string(folder.join("Cargo.toml")).expect("it was written");
        let cargo: toml::Table = cargo.parse().expect("Cargo.toml is TOML");
        assert_eq!(cargo["package"]["name"].as_str(), Some("my-filter"));
        let path = cargo["dependencies"]["basin-sink"]["path"].as_str().expect("a path");
        assert_eq!(Path::new(path), sdk);
        assert!(write_project(&folder, "my-filter", &sdk).is_err());
    }

    #[test]
    fn the_template_is_taken_in_whole() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/rust/template");
        let mut folders = vec![template.clone()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the template is in the tree") {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(&template).expect("below it").display().to_string();
                    found.push(path.trim_end_matches(".tmpl").to_owned());
                }
            }
        }
        found.sort();
        let mut taken: Vec<_> = RUST.iter().map(|(path, _)| (*path).to_owned()).collect();
        taken.sort();
        assert_eq!(found, taken);
    }
}

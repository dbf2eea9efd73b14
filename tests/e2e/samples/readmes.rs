//! What the READMEs of the samples tell a reader to type.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use basin_tests::server::{TestServer, binary, guest, tree};
use basin_tests::settings::Settings;

use crate::Outcome;

/// Where a reader stands who has built the samples: what they type names components below it.
fn workshop(server: &TestServer) -> io::Result<PathBuf> {
    let top = server.home().join("sample-sinks");
    fs::create_dir_all(top.join("target/wasm32-wasip2"))?;
    let built = guest("welcome").parent().map(Path::to_owned).unwrap_or_default();
    symlink(built, top.join("target/wasm32-wasip2/release"))?;
    Ok(top)
}

/// The shell blocks of a README, without the lines that build.
fn commands(readme: &str) -> String {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines()).filter(|line| !line.starts_with("cargo "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn names() -> io::Result<Vec<String>> {
    let entries = fs::read_dir(tree().join("sample-sinks"))?.collect::<Result<Vec<_>, _>>()?;
    let samples = entries.into_iter().filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = samples.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

#[test]
fn what_the_readmes_say_can_be_typed() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let top = workshop(&server)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = binary().parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&path)));
    let path = path.map_err(io::Error::other)?;
    for name in names()? {
        let script = commands(&fs::read_to_string(tree().join("sample-sinks").join(&name).join("README.md"))?);
        for command in ["basin sink add ", "basin sink test "] {
            assert_eq!(script.matches(command).count(), 1, "{name}: {command}");
        }
        assert!(script.contains(" --expect "), "{name}: its test says what should come of it");
        let mut shell = Command::new("sh");
        shell.args(["-euc", &script]).current_dir(&top);
        let output = shell.env("PATH", &path).env("BASIN_CONFIG", server.config_path()).output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{script}\n{out}{err}", output.status);
    }
    let listed = server.basin_ok(&["sink", "list"])?;
    for sink in [
        "stamp",
        "block-attachment",
        "welcome",
        "memo",
        "auth",
        "recipients",
        "greylist",
        "dnsbl",
        "dmarc",
        "no-send",
        "remote-501",
        "memo-out",
    ] {
        assert!(listed.contains(sink), "{sink} is not in\n{listed}");
    }
    // All samples are compiled when it starts, which takes a build without optimisation longer than the usual patience.
    server.launch_without_waiting()?;
    server.wait_ready().or_else(|_| server.wait_ready())?;
    let ehlo = server.client()?.command("EHLO client.example")?.require(250)?;
    assert!(ehlo.says("XMEMO 2048") && ehlo.says("XWELCOME"), "{}", ehlo.wire());
    Ok(())
}

#[test]
fn every_sample_is_listed_and_linked_from_the_page_of_an_event() -> Outcome {
    let list = fs::read_to_string(tree().join("sample-sinks/README.md"))?;
    let mut pages = String::new();
    for page in fs::read_dir(tree().join("docs/events"))? {
        pages.push_str(&fs::read_to_string(page?.path())?);
    }
    for name in names()? {
        assert!(list.contains(&format!("[{name}]({name}/)")), "{name} is not in the list");
        assert!(
            pages.contains(&format!("(../../sample-sinks/{name}/README.md)")),
            "no page of an event tells of {name}"
        );
    }
    Ok(())
}

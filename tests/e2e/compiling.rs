//! Components are compiled apart from the server: whatever that costs, mail goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};
use sha2::{Digest as _, Sha256};

use crate::{HELLO, Outcome, SENDER, USER};

/// Values that live at the same time in the one function of [`costly`]; for the compiler's allocator of registers that is
/// minutes and gigabytes.
const VALUES: usize = 700_000;

// A number as WebAssembly writes it.
fn leb(mut number: usize, into: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        into.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    leb(content.len(), &mut section);
    section.extend_from_slice(content);
    section
}

/// A component of some megabytes that is right, and costs the compiler more than any useful one.
fn costly() -> Vec<u8> {
    let mut body = vec![0];
    for number in 0..VALUES {
        // local.get 0, i32.const, i32.rotl: all on the stack, so all live at once.
        body.extend([0x20, 0, 0x41]);
        leb(number % 0x20, &mut body);
        body.push(0x77);
    }
    // i32.sub of them all, the last two first.
    body.extend(std::iter::repeat_n(0x6b, VALUES - 1));
    body.push(0x0b);
    let mut code = vec![1];
    leb(body.len(), &mut code);
    code.extend(body);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in [(1, [1, 0x60, 1, 0x7f, 1, 0x7f].as_slice()), (3, &[1, 0]), (10, &code)] {
        module.extend(section(id, content));
    }
    [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &module)].concat()
}

fn costly_file(server: &TestServer) -> std::io::Result<PathBuf> {
    let path = server.home().join("costly.wasm");
    fs::write(&path, costly())?;
    Ok(path)
}

fn prepared(limits: &str) -> std::io::Result<TestServer> {
    TestServer::prepare(Settings { limits: limits.to_owned(), ..Settings::usual() })
}

fn refusal(server: &TestServer, file: &Path) -> String {
    server.sink_add(file, "costly", "on-end-of-data", &[]).expect_err("it is costly").to_string()
}

#[test]
fn a_component_that_takes_too_long_or_too_much_to_compile_is_refused() -> Outcome {
    let server = prepared("compile-time = \"1s\"")?;
    let file = costly_file(&server)?;
    let start = Instant::now();
    let why = refusal(&server, &file);
    assert!(why.contains("is not compiled after 1 s") && why.contains("limits.compile-time"), "{why}");
    println!("refused after {:?}", start.elapsed());
    let server = prepared("compile-memory = \"256MiB\"\ncompile-time = \"5m\"")?;
    let why = refusal(&server, &file);
    assert!(why.contains("takes more than 256 MiB of memory") && why.contains("limits.compile-memory"), "{why}");
    // The least that is allowed is enough for what is usual.
    server.sink_add(&guest("stamp-header"), "stamp", "on-end-of-data", &[])?;
    Ok(())
}

#[test]
fn a_running_server_keeps_taking_mail_while_it_compiles_what_it_will_refuse() -> Outcome {
    let mut server = prepared("compile-time = \"3s\"")?;
    server.sink_add(&guest("stamp-header"), "stamp", "on-end-of-data", &["--grant", "edit-headers"])?;
    server.launch()?;
    // By hand, because the command would refuse it.
    let octets = costly();
    let digest: String = Sha256::digest(&octets).iter().map(|octet| format!("{octet:02x}")).collect();
    fs::write(server.home().join(format!("registry/components/{digest}.wasm")), octets)?;
    let path = server.home().join("registry/registry.toml");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, format!("{text}\n[[sink]]\nname = \"costly\"\ndigest = \"{digest}\"\n"))?;
    let is_refused = || server.log().contains("cannot load sink costly: the component is not compiled after 3 s");
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    let start = Instant::now();
    while !is_refused() && start.elapsed() < PATIENCE {
        let begun = Instant::now();
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        (sent, slowest) = (sent + 1, slowest.max(begun.elapsed()));
    }
    assert!(is_refused(), "{}", server.log());
    println!("{sent} messages meanwhile, the slowest in {slowest:?}");
    let mails = server.maildir("user").wait_for(sent, PATIENCE)?;
    assert!(mails.iter().all(|mail| mail.header("X-Basin-Sink").is_some()), "the other sink is asked throughout");
    assert!(sent > 3, "{sent} messages in 3 s");
    Ok(())
}

#[test]
fn compiled_code_is_used_again_and_what_is_damaged_is_compiled_again() -> Outcome {
    // A place of its own, below the server's home.
    let mut server = TestServer::prepare(Settings { cache: Some("cache".to_owned()), ..Settings::usual() })?;
    server.sink_add(&guest("stamp-header"), "stamp", "on-end-of-data", &["--grant", "edit-headers"])?;
    let code = |server: &TestServer| -> std::io::Result<String> {
        let shown = server.basin_ok(&["sink", "show", "stamp"])?;
        let line = shown.lines().find_map(|line| line.strip_prefix("code")).unwrap_or_default();
        Ok(line.trim().split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let mut found = Vec::new();
    for is_damaged in [false, false, true] {
        if is_damaged {
            damage(&server.home().join("cache"))?;
        }
        server.launch()?;
        found.push(code(&server)?);
        assert!(server.terminate()?.success());
    }
    assert_eq!(found, ["compiled in", "from the", "compiled in"]);
    assert!(server.log().contains("compiled code is damaged; it is compiled again"), "{}", server.log());
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    assert!(wait::until_true(PATIENCE, || server.maildir("user").read().is_ok_and(|mails| mails.len() == 1)));
    Ok(())
}

fn damage(cache: &Path) -> Outcome {
    for folder in fs::read_dir(cache)?.flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(folder.path())?.flatten() {
            let mut octets = fs::read(file.path())?;
            if let Some(last) = octets.last_mut() {
                *last ^= 1;
            }
            fs::write(file.path(), octets)?;
        }
    }
    Ok(())
}

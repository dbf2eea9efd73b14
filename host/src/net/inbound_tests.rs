use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use basin_core::network::Prefixes;
use basin_core::smtp::Connection;

use super::*;
use crate::config::Rates;
use crate::harness::Harness;
use crate::net::crowd::{Crowd, CrowdLimits};

async fn connect(harness: &Harness) -> (TcpStream, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).await.expect("connects");
    let (stream, peer) = listener.accept().await.expect("accepts");
    let connection = Connection {
        id: "s1".to_owned(),
        client: peer,
        server: address,
        started: now(),
        random: 42,
        client_name: None,
        tls: None,
    };
    let wire = Wire::new(stream, harness.services.stopper.subscribe());
    let (rates, prefixes) = (Rates::default(), Prefixes::default());
    let crowd = Crowd::new(CrowdLimits { connections: 1, per_client: 1, rates, prefixes });
    let place = crowd.enter().expect("a place");
    let session = Inbound::serve(harness.services.clone(), harness.door.clone(), wire, connection, place);
    (client, tokio::spawn(session))
}

/// Sends everything at once and reads to the end: a client that pipelines as hard as it can.
async fn converse(harness: &Harness, input: &[u8]) -> String {
    let (mut client, session) = connect(harness).await;
    client.write_all(input).await.expect("sent");
    let mut output = String::new();
    client.read_to_string(&mut output).await.expect("replies are ASCII");
    session.await.expect("no panic");
    output
}

fn codes(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect()
}

const START: &str = "EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_from_the_socket_into_the_mailbox() {
    let harness = Harness::start();
    let _workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    let output = converse(&harness, format!("{START}Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n").as_bytes()).await;
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354", "250", "221"], "{output}");
    harness.wait_for_messages(0).await;
    let mails = harness.mails("alice");
    let text = String::from_utf8_lossy(&mails[0]).into_owned();
    assert!(
        text.starts_with("Return-Path: <a@client.example>\nDelivered-To: alice@basin.example\nReceived: "),
        "{text}"
    );
    assert!(text.ends_with("Subject: x\n\n.dot\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_passes_through_a_draft_file_unchanged() {
    let harness = Harness::start();
    let _workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    let body = "0123456789abcdef\r\n".repeat(40_000);
    let output = converse(&harness, format!("{START}Subject: x\r\n\r\n{body}.\r\nQUIT\r\n").as_bytes()).await;
    assert_eq!(codes(&output).get(5), Some(&"250"), "{output}");
    harness.wait_for_messages(0).await;
    let mails = harness.mails("alice");
    assert!(mails[0].ends_with(body.replace("\r\n", "\n").as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused_and_the_session_goes_on() {
    let harness = Harness::start();
    let body = "0123456789abcdef\r\n".repeat(60_000);
    let output = converse(&harness, format!("{START}\r\n{body}.\r\nNOOP\r\nQUIT\r\n").as_bytes()).await;
    assert_eq!(codes(&output), ["220", "250", "250", "250", "354", "552", "250", "221"], "{output}");
    assert_eq!(harness.services.spool.statistics().live_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_behind_a_refused_data_is_never_run_as_commands() {
    let harness = Harness::start();
    let input = "EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<nobody@basin.example>\r\nDATA\r\n\
                 RSET\r\nMAIL FROM:<b@c.example>\r\nRCPT TO:<alice@basin.example>\r\n.\r\n";
    let output = converse(&harness, input.as_bytes()).await;
    assert_eq!(codes(&output), ["220", "250", "250", "550", "554", "554"], "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let harness = Harness::start();
    let (mut client, session) = connect(&harness).await;
    client.write_all(format!("{START}Subject: half of it\r\n\r\n").as_bytes()).await.expect("sent");
    drop(client);
    session.await.expect("no panic");
    assert_eq!(harness.services.spool.statistics().commits, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_finishes_the_message_and_says_421() {
    let harness = Harness::start();
    let (mut client, session) = connect(&harness).await;
    client.write_all(START.as_bytes()).await.expect("sent");
    let mut seen = Vec::new();
    while !seen.ends_with(b"own\r\n") {
        client.read_buf(&mut seen).await.expect("replies");
    }
    harness.services.stopper.advance(Phase::Draining);
    client.write_all(b"Subject: x\r\n\r\ntext\r\n.\r\n").await.expect("sent");
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.expect("replies");
    assert_eq!(codes(&rest), ["250", "421"], "{rest}");
    session.await.expect("no panic");
    assert_eq!(harness.services.spool.statistics().live_messages, 1, "nobody works on it, and it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_spool_answers_451_and_the_client_keeps_the_message() {
    let harness = Harness::start();
    harness.services.spool.close();
    let output = converse(&harness, format!("{START}Subject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n").as_bytes()).await;
    assert_eq!(codes(&output).get(5), Some(&"451"), "{output}");
}

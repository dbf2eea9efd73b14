//! What arrives is what was given, whichever way it goes.

use basin_core::smtp::client::Chunking;
use basin_core::transport::TlsDemand;
use basin_outbound::{Outbound, OutboundOptions};

use crate::feed::{Messages, content, options, outgoing, route};
use crate::peer::{Peer, Plan, Recorded};

async fn sent(body: &[u8], chunking: Chunking, offers: Vec<&'static str>) -> Recorded {
    let peer = Peer::start(Plan { offers, ..Plan::default() }).await;
    let outbound = Outbound::new(OutboundOptions { chunking, ..options() }).expect("good options");
    let mut messages = Messages::default();
    messages.waiting.push_back(outgoing(0, body.to_vec()));
    let visit = outbound.visit(&route(&[peer.address], TlsDemand::Opportunistic), &mut messages).await;
    assert_eq!(messages.accepted(), 2, "{visit:?} {:?}", messages.sent);
    peer.messages().pop().expect("one message")
}

fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        ".\r\n",
        "..\r\n.\r\n\r\n.\r\n",
        "a\r\n.\r\nMAIL FROM:<evil@example>\r\n",
        "\r\n\r\n\r\n",
        "ends with a dot.\r\n.",
    ]
    .iter()
    .map(|text| format!("{text}\r\n").into_bytes())
    .collect();
    bodies.push(Vec::new());
    // Dots at every place where one slice of the content may end and the next begin.
    bodies.push(b".\r\n..\r\n".repeat(100_000));
    bodies
        .push((0..40_000).flat_map(|number| format!("{}.{number}\r\n", ".".repeat(number % 3)).into_bytes()).collect());
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn content_by_data_and_by_chunks_is_what_was_given() {
    let offers = vec!["PIPELINING", "CHUNKING", "8BITMIME", "SIZE 100000000", "DSN"];
    for body in bodies() {
        let by_data = sent(&body, Chunking::Never, offers.clone()).await;
        let by_chunks = sent(&body, Chunking::Preferred, offers.clone()).await;
        let plain = sent(&body, Chunking::Preferred, Vec::new()).await;
        assert!(!by_data.is_chunked && by_chunks.is_chunked && !plain.is_chunked);
        assert!(by_data.content == content(&body), "by DATA, {} octets", body.len());
        assert!(by_chunks.content == content(&body), "by BDAT, {} octets", body.len());
        assert!(plain.content == content(&body), "without extensions, {} octets", body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_bit_content_keeps_its_octets() {
    let body: Vec<u8> = (128..=255).chain(*b"\r\n").collect();
    let recorded = sent(&body, Chunking::Never, vec!["8BITMIME"]).await;
    assert_eq!(recorded.content, content(&body));
    let mail = recorded.commands.first().expect("MAIL");
    assert!(mail.contains("BODY=8BITMIME"), "{mail}");
}

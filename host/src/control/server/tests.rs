use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, mpsc};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State as Standing};
use basin_spool::{Options, RealStorage, Spool};
use tempfile::TempDir;

use super::*;
use crate::control::queue::{Row, Shown};
use crate::control::{Activity, Changing, Client, ClientError, socket_path};
use crate::registry::Loaded;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Fake {
    spool: Spool,
    activity: Activity,
}

impl ServerState for Fake {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::new(Loaded::empty(NOW))
    }

    fn activity(&self) -> &Activity {
        &self.activity
    }

    fn spool(&self) -> &Spool {
        &self.spool
    }

    fn release(&self, id: basin_core::mail::MessageId) -> Changing<'_> {
        Box::pin(async move { if self.spool.contains(&id) { Ok(()) } else { Err(ChangeError::Unknown(id)) } })
    }

    fn delete(&self, id: basin_core::mail::MessageId) -> Changing<'_> {
        Box::pin(async move { Err(ChangeError::Busy(id)) })
    }
}

fn message() -> Message {
    let mut envelope = Envelope::new(Some(Address::parse("a@client.example").expect("an address")));
    envelope.add(Address::parse("b@basin.example").expect("an address"), String::new());
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: NOW,
        listener: "smtp".to_owned(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
    };
    let mut message = Message::new(MessageId::new(NOW, 7), arrival, envelope);
    let header = basin_core::mail::HeaderBlock::parse(&bytes::Bytes::from_static(b"Subject: hello\r\n"));
    message.header = Arc::new(header.expect("a header"));
    message.body = Body::from_bytes(&b"text\r\n"[..]);
    message
}

fn server(dir: &TempDir) -> Fake {
    let opened = Spool::open(&dir.path().join("spool"), Options::default(), Arc::new(RealStorage));
    let (spool, _) = opened.expect("a new spool");
    let held = Stage::Held { reason: "to look at".to_owned(), then: Box::new(Stage::Delivery) };
    let (done, committed) = mpsc::channel();
    let state = Standing { stage: held, ..Standing::default() };
    spool.commit(message(), state, move |result| done.send(result.map(drop)).expect("the test waits"));
    committed.recv().expect("the writer answers").expect("the disk has room");
    Fake { spool, activity: Activity::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_listed_shown_and_changed_through_the_socket() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = socket_path(dir.path());
    let listener = bind(&path).expect("the directory is there");
    assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
    assert!(matches!(bind(&path), Err(SocketError::InUse(_))), "a second server on this spool is refused");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let served = tokio::spawn(serve(listener, path.clone(), Arc::new(server(&dir)), shutdown));
    let client = Client::new(dir.path());
    let asked = tokio::task::spawn_blocking(move || {
        let rows: Vec<Row> = client.get("/v1/queue").expect("the server runs");
        assert_eq!((rows.len(), rows[0].stage.as_str(), rows[0].recipient_count), (1, "held", 1));
        assert_eq!(rows[0].reason.as_deref(), Some("to look at"));
        let id = rows[0].id.clone();
        let shown: Shown = client.get(&format!("/v1/queue/{id}")).expect("it is there");
        assert_eq!((shown.header.as_str(), shown.size), ("Subject: hello\r\n", 24));
        let content = client.get_octets(&format!("/v1/queue/{id}/content")).expect("it is there");
        assert_eq!(&content[..], b"Subject: hello\r\n\r\ntext\r\n");
        client.post(&format!("/v1/queue/{id}/release")).expect("it is there");
        let refused = |result: Result<(), ClientError>| match result {
            Err(ClientError::Refused(why)) => why,
            other => unreachable!("{other:?}"),
        };
        let unknown = refused(client.post("/v1/queue/0-1/release"));
        assert_eq!(unknown, "there is no message 0-1 in the queue; it may have been delivered meanwhile");
        let busy = refused(client.post(&format!("/v1/queue/{id}/delete")));
        assert!(busy.ends_with("is being delivered at this moment; try again"), "{busy}");
        let no_id = refused(client.get::<Shown>("/v1/queue/a_b").map(drop));
        assert_eq!(no_id, "\"a_b\" is no message id; `basin queue list` shows them");
        let state: RegistryState = client.get("/v1/registry").expect("the server runs");
        assert_eq!((state.generation, state.since, state.now), (0, NOW, NOW));
        client
    });
    let client = asked.await.expect("the assertions hold");
    stop.send(()).expect("the server waits for it");
    served.await.expect("it does not panic").expect("the socket works");
    assert!(!path.exists(), "a server that ended takes its socket away");
    let asked = tokio::task::spawn_blocking(move || client.get::<RegistryState>("/v1/registry").map(drop));
    assert!(matches!(asked.await.expect("it does not panic"), Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn the_socket_of_a_server_that_was_killed_is_taken_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = socket_path(dir.path());
    drop(bind(&path).expect("the directory is there"));
    assert!(path.exists(), "nobody took the socket away");
    bind(&path).expect("nobody answers there any more");
}

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, mpsc};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, RouteTable, Stage, State as Standing};
use basin_spool::{Options, RealStorage, Spool, SpoolFault};
use tempfile::TempDir;

use super::*;
use crate::control::queue::Shown;
use crate::control::queue::act::ActReport;
use crate::control::queue::ask::{Changes, Page, Summary};
use crate::control::queue::destinations::{DestinationRow, HoldReport};
use crate::control::{Activity, Client, ClientError, QueueState, Soon, socket_path};
use crate::registry::Loaded;
use crate::sink_tables::SinkTables;
use crate::timer::{Ran, RunRefused};
use crate::transport::{Action, Done, Holds, LiveIndex, Meant};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Fake {
    spool: Spool,
    index: LiveIndex,
    activity: Activity,
    holds: Mutex<Holds>,
    tables: SinkTables,
}

impl QueueState for Fake {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn spool(&self) -> &Spool {
        &self.spool
    }

    fn index(&self) -> &LiveIndex {
        &self.index
    }

    fn routes(&self) -> Arc<RouteTable> {
        Arc::default()
    }

    fn act<'a>(&'a self, _: MessageId, action: &'a Action, _: &'a Meant, _: &'a str) -> Soon<'a, Done> {
        let done = if *action == Action::Delete { Done::Busy } else { Done::Changed };
        Box::pin(async move { done })
    }

    fn destinations(&self) -> Vec<DestinationRow> {
        let holds = self.holds.lock().expect("nobody panicked");
        holds.destinations().map(|destination| DestinationRow::held(&destination)).collect()
    }

    fn hold_destination(&self, destination: &Destination, is_held: bool) -> io::Result<bool> {
        self.holds.lock().expect("nobody panicked").set(destination, is_held)
    }

    fn import<'a>(&'a self, message: Message, _: Standing, _: &'a str) -> Soon<'a, Result<bool, SpoolFault>> {
        let is_new = !self.spool.contains(&message.id);
        Box::pin(async move { Ok(is_new) })
    }
}

impl ServerState for Fake {
    fn loaded(&self) -> Arc<Loaded> {
        Arc::new(Loaded::empty(NOW))
    }

    fn activity(&self) -> &Activity {
        &self.activity
    }

    fn timer(&self, _: &str) -> Option<basin_core::event::TimerFacts> {
        None
    }

    fn run_timer<'a>(&'a self, binding: &'a str) -> Soon<'a, Result<Ran, RunRefused>> {
        Box::pin(async move { Err(RunRefused::Running(binding.to_owned())) })
    }

    fn look_at_registry(&self) -> Soon<'_, bool> {
        Box::pin(async { false })
    }

    fn tables(&self) -> &SinkTables {
        &self.tables
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
        vouched: Default::default(),
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
    let index = LiveIndex::unfilled();
    index.fill(&spool);
    let holds = Mutex::new(Holds::open(dir.path()).expect("readable"));
    Fake { spool, index, activity: Activity::default(), holds, tables: SinkTables::none() }
}

fn mail_for_a_held_destination_says_so(client: &Client, id: &MessageId) {
    let hold = serde_json::json!({ "destination": "basin.example", "is_held": true });
    assert!(client.post::<HoldReport>("/v1/queue/hold-destination", &hold).expect("it runs").is_changed);
    let page: Page = client.post("/v1/queue/list", &serde_json::json!({ "limit": 10 })).expect("the server runs");
    let held = [DestinationRow::held(&Destination::domain("basin.example"))];
    assert_eq!(page.rows[0].waits_for, held);
    let shown: Shown = client.get(&format!("/v1/queue/{id}")).expect("it is there");
    assert_eq!(shown.waits_for, held);
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
        let all = serde_json::json!({ "filter": "state=held", "limit": 10 });
        let page: Page = client.post("/v1/queue/list", &all).expect("the server runs");
        let rows = page.rows;
        assert_eq!((rows.len(), rows[0].state.word(), rows[0].recipient_count), (1, "held", 1));
        assert_eq!((rows[0].destinations.as_slice(), page.next), (&["basin.example".to_owned()][..], None));
        assert_eq!(rows[0].reason.as_deref(), Some("to look at"));
        let id = rows[0].id.clone();
        let shown: Shown = client.get(&format!("/v1/queue/{id}")).expect("it is there");
        assert_eq!((shown.header.as_str(), shown.size), ("Subject: hello\r\n", 24));
        let content = client.get_octets(&format!("/v1/queue/{id}/content")).expect("it is there");
        assert_eq!(&content[..], b"Subject: hello\r\n\r\ntext\r\n");
        let release = serde_json::json!({ "action": "release", "filter": format!("id={id}") });
        let report: ActReport = client.post("/v1/queue/act", &release).expect("the server runs");
        assert_eq!((report.matched, report.changed.as_slice()), (1, &[id.clone()][..]));
        let delete = serde_json::json!({ "action": "delete", "filter": "size<1M", "busy_wait_ms": 60 });
        let report: ActReport = client.post("/v1/queue/act", &delete).expect("the server runs");
        assert_eq!((report.changed.len(), report.busy.as_slice()), (0, &[id.clone()][..]), "a busy message is named");
        let delete = serde_json::json!({ "action": "delete", "filter": "", "is_dry_run": true });
        let report: ActReport = client.post("/v1/queue/act", &delete).expect("the server runs");
        assert_eq!((report.matched, report.busy.len()), (1, 0));
        let hold = serde_json::json!({ "destination": "Slow.Example", "is_held": true });
        assert!(client.post::<HoldReport>("/v1/queue/hold-destination", &hold).expect("it runs").is_changed);
        let by = serde_json::json!({ "filter": "", "by": "reply", "limit": 10 });
        let summary: Summary = client.post("/v1/queue/summary", &by).expect("the server runs");
        assert_eq!((summary.total.messages, summary.groups[0].name.as_str()), (1, "to look at"));
        assert_eq!(summary.destinations, [DestinationRow::held(&Destination::domain("slow.example"))]);
        mail_for_a_held_destination_says_so(&client, &id);
        let changes: Changes = client.get("/v1/queue/changes/0").expect("the server runs");
        assert_eq!((changes.changes.len(), changes.next, changes.missed), (1, 1, 0));
        let packet = client.get_octets(&format!("/v1/queue/{id}/export")).expect("it is there");
        let again: Imported = client.post_octets("/v1/queue/import", packet.clone()).expect("the server runs");
        assert_eq!(again, Imported { is_new: false });
        let mut other = packet.to_vec();
        other.push(b'x');
        let why = |result: Result<(), ClientError>| match result {
            Err(ClientError::Refused(why)) => why,
            other => unreachable!("{other:?}"),
        };
        let bad = why(client.post_octets::<Imported>("/v1/queue/import", other.into()).map(drop));
        assert!(bad.contains("is not what was exported"), "{bad}");
        let unknown = why(client.get::<Shown>("/v1/queue/0-1").map(drop));
        assert_eq!(unknown, "there is no message 0-1 in the queue; it may have been delivered meanwhile");
        let bad =
            why(client.post::<Page>("/v1/queue/list", &serde_json::json!({ "filter": "x=y", "limit": 1 })).map(drop));
        assert!(bad.starts_with("there is no filter field \"x\""), "{bad}");
        let hold = serde_json::json!({ "destination": "a b", "is_held": true });
        let bad = why(client.post::<HoldReport>("/v1/queue/hold-destination", &hold).map(drop));
        assert!(bad.starts_with("\"a b\" is no destination"), "{bad}");
        let no_id = why(client.get::<Shown>("/v1/queue/a_b").map(drop));
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

//! What events between two sessions and with other servers are about.

use std::sync::Arc;
use std::time::Duration;

use basin_core::event::{
    BudgetOverride, DestinationFacts, EventKind, Occasion, OutCommand, OutFacts, OutSession, ResponseFacts, SentFirst,
    TrackFacts,
};
use basin_core::mail::{Message, RecipientId};
use basin_core::reply::Reply;

use crate::stage::{Call, NOW, probe};

/// Facts of such an event.
#[derive(Default)]
pub(crate) struct Scene {
    recipient: Option<RecipientId>,
    destination: Option<DestinationFacts>,
    subject: Option<Message>,
    track: Option<TrackFacts>,
    outbound: Option<OutFacts>,
    response: Option<ResponseFacts>,
    pub(crate) out_command: Option<OutCommand>,
}

impl Scene {
    pub(crate) fn occasion(&self, event: EventKind) -> Occasion {
        Occasion {
            recipient: self.recipient,
            destination: self.destination.clone().map(Arc::new),
            subject: self.subject.clone().map(Arc::new),
            track: self.track.clone().map(Arc::new),
            outbound: self.outbound.clone().map(Arc::new),
            response: self.response.clone().map(Arc::new),
            ..Occasion::of(event, NOW)
        }
    }
}

/// A call of the probe about the second recipient.
pub(crate) fn about_recipient(event: EventKind, script: &str) -> Call {
    let mut call = probe(script).at(event);
    call.scene.recipient = Some(1);
    call
}

/// A call about a destination that failed once, to which the second recipient goes.
pub(crate) fn about_destination(event: EventKind, script: &str) -> Call {
    let mut call = patient(probe(script).at(event));
    let failures = vec![("host mx1.a.example:25".to_owned(), Reply::with(451, 4, 1, "no route"))];
    call.scene.destination = Some(DestinationFacts { domain: "a.example".into(), failures, recipients: vec![1] });
    call
}

/// A call about a notification, of which `subject` is the cause.
pub(crate) fn about_notification(script: &str, subject: Message) -> Call {
    let mut call = probe(script).at(EventKind::OnNotification);
    call.scene.subject = Some(subject);
    call
}

/// A call about a tracking record.
pub(crate) fn about_track(script: &str) -> Call {
    let mut call = patient(probe(script).at(EventKind::OnTrack));
    call.scene.track = Some(TrackFacts {
        kind: "delivered".into(),
        at: NOW,
        message_id: "m1".into(),
        sender: "a@client.example".into(),
        recipient: Some("b@basin.example".into()),
        remote: Some("192.0.2.9:25".parse().expect("an address")),
        reply: Some(Reply::new(250, None, "taken")),
        size: 17,
        elapsed: Duration::from_millis(1_500),
    });
    call
}

// Their own time is short; a machine that is busy with other tests has less of it.
fn patient(call: Call) -> Call {
    call.budget(BudgetOverride { deadline_ms: Some(20_000), ..BudgetOverride::default() })
}

fn facts() -> OutFacts {
    let session = OutSession {
        id: "o1".into(),
        host: "mx.next.example".into(),
        remote: Some("192.0.2.9:25".parse().expect("an address")),
        local: None,
    };
    let first = SentFirst { verb: "AUTH".into(), reply: Reply::new(334, None, "go on"), rounds: 1 };
    OutFacts {
        session: Arc::new(session),
        attempt: 2,
        banner: "mx.next.example ESMTP".into(),
        extensions: vec!["SIZE 1000".into(), "DSN".into()],
        tls: Some("TLSv1.3".into()),
        first: [("probe/test".to_owned(), first)].into(),
        ..OutFacts::default()
    }
}

/// A call before a command to another server.
pub(crate) fn before(event: EventKind, line: &str, script: &str) -> Call {
    let mut call = patient(about_recipient(event, script));
    let facts = facts();
    call.scene.out_command = Some(OutCommand::new(line, facts.extensions.clone().into()));
    call.scene.outbound = Some(facts);
    call
}

/// A call about what another server said to RCPT.
pub(crate) fn answered(code: u16, script: &str) -> Call {
    let mut call = patient(about_recipient(EventKind::OnServerResponse, script));
    call.scene.outbound = Some(facts());
    call.scene.response = Some(ResponseFacts {
        keyword: "RCPT".into(),
        line: "RCPT TO:<b@basin.example>".into(),
        reply: Reply::new(code, None, "said"),
        is_pipelined: true,
        is_last: false,
    });
    call
}

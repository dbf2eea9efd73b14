//! The function of each event, with the arguments that the contract gives it.

use basin_core::event::{EventKind, FailureKind, Occasion, Verdict};
use basin_core::mail::RecipientId;
use wasmtime::Store;
use wasmtime::component::{Instance, Resource};

use crate::Component;
use crate::convert_verdict::IntoVerdict;
use crate::ended::Ended;
use crate::exports::Exports;
use crate::host_api::Recipient;
use crate::state::State;

/// Verdict or the sink's own error, at one event.
pub(crate) type Answered = Result<Result<Verdict, Ended>, String>;

/// Calls an event's function: looks it up, hands the arguments over, and makes what it answers a verdict.
macro_rules! handle {
    ($call:ident, $module:ident $(, $argument:expr)*) => {{
        let Call { store, exports, instance, event, .. } = $call;
        let indices = exports.$module.as_ref().ok_or_else(|| missing(event))?;
        let guest = indices.load(&mut *store, instance)?;
        let answer = guest.call_handle(&mut *store $(, $argument)*).await?;
        Ok(answer.map(|verdict| verdict.into_verdict(store.data_mut())))
    }};
}

/// A call of an event's function.
struct Call<'a> {
    store: &'a mut Store<State>,
    exports: &'a Exports,
    instance: &'a Instance,
    event: EventKind,
    occasion: &'a Occasion,
    has_message: bool,
}

/// Calls the function of the event.
pub(crate) async fn invoke(
    store: &mut Store<State>,
    component: &Component,
    instance: &Instance,
    event: EventKind,
) -> wasmtime::Result<Answered> {
    let (occasion, has_message) = (store.data().occasion.clone(), store.data().overlay.message.is_some());
    let call = Call { store, exports: &component.exports, instance, event, occasion: &occasion, has_message };
    match event {
        EventKind::OnConnect
        | EventKind::OnAuthenticated
        | EventKind::OnInboundCommand
        | EventKind::OnInboundInput
        | EventKind::OnEndOfHeaders
        | EventKind::OnMaxMsgSize
        | EventKind::OnEndOfData
        | EventKind::OnReject
        | EventKind::OnDisconnect => inbound(call).await,
        EventKind::OnSubmission
        | EventKind::OnPreCategorize
        | EventKind::OnCategorize
        | EventKind::OnPostCategorize
        | EventKind::OnRoute
        | EventKind::OnDnsResolve
        | EventKind::OnLocalDelivery
        | EventKind::OnNotification
        | EventKind::OnTrack
        | EventKind::OnTimer => between(call).await,
        EventKind::OnSessionStart
        | EventKind::OnMessageStart
        | EventKind::OnPerRecipient
        | EventKind::OnBeforeData
        | EventKind::OnSessionEnd
        | EventKind::OnServerResponse => outbound(call).await,
    }
}

/// Events of a client's session.
#[expect(clippy::wildcard_enum_match_arm, reason = "`invoke` names them all and hands over those of its kind")]
async fn inbound(call: Call<'_>) -> wasmtime::Result<Answered> {
    let of = call.store.data().of_each();
    let (occasion, event) = (call.occasion, call.event);
    let msg = call.has_message.then(|| of.one());
    match event {
        EventKind::OnConnect => handle!(call, on_connect, of.one(), of.one()),
        EventKind::OnAuthenticated => handle!(call, on_authenticated, of.one(), of.one()),
        EventKind::OnInboundCommand => handle!(call, on_inbound_command, of.one(), msg, of.one(), of.one()),
        EventKind::OnInboundInput => {
            handle!(call, on_inbound_input, of.one(), msg, of.one(), occasion.input.reveal(), of.one())
        }
        EventKind::OnEndOfHeaders => handle!(call, on_end_of_headers, of.one(), of.one(), of.one()),
        EventKind::OnMaxMsgSize => {
            let limit = call.store.data().overlay.size.map_or(0, |size| size.limit);
            handle!(call, on_max_msg_size, of.one(), of.one(), limit, of.one())
        }
        EventKind::OnEndOfData => handle!(call, on_end_of_data, of.one(), of.one(), of.one()),
        EventKind::OnReject => handle!(call, on_reject, of.one(), &occasion.line, of.one()),
        EventKind::OnDisconnect => handle!(call, on_disconnect, of.one(), of.one()),
        _ => Err(missing(event).into()),
    }
}

/// Events between two sessions.
#[expect(clippy::wildcard_enum_match_arm, reason = "`invoke` names them all and hands over those of its kind")]
async fn between(call: Call<'_>) -> wasmtime::Result<Answered> {
    let of = call.store.data().of_each();
    let event = call.event;
    match event {
        EventKind::OnSubmission => handle!(call, on_submission, of.one(), of.one()),
        EventKind::OnPreCategorize => handle!(call, on_pre_categorize, of.one(), of.one()),
        EventKind::OnCategorize => {
            let recipient = call.recipient()?;
            handle!(call, on_categorize, of.one(), recipient, of.one())
        }
        EventKind::OnPostCategorize => handle!(call, on_post_categorize, of.one(), of.one()),
        EventKind::OnRoute => handle!(call, on_route, of.one(), of.one(), of.one()),
        EventKind::OnDnsResolve => handle!(call, on_dns_resolve, of.one(), of.one()),
        EventKind::OnLocalDelivery => {
            let recipient = call.recipient()?;
            handle!(call, on_local_delivery, of.one(), recipient, of.one())
        }
        EventKind::OnNotification => {
            let subject = call.store.data().subject()?;
            handle!(call, on_notification, subject, of.one(), of.one())
        }
        EventKind::OnTrack => handle!(call, on_track, of.one(), of.one()),
        EventKind::OnTimer => handle!(call, on_timer, of.one()),
        _ => Err(missing(event).into()),
    }
}

/// Events of a session in which this server is the client.
#[expect(clippy::wildcard_enum_match_arm, reason = "`invoke` names them all and hands over those of its kind")]
async fn outbound(call: Call<'_>) -> wasmtime::Result<Answered> {
    let of = call.store.data().of_each();
    let event = call.event;
    match event {
        EventKind::OnSessionStart => handle!(call, on_session_start, of.one(), of.one(), of.one()),
        EventKind::OnMessageStart => handle!(call, on_message_start, of.one(), of.one(), of.one(), of.one()),
        EventKind::OnPerRecipient => {
            let recipient = call.recipient()?;
            handle!(call, on_per_recipient, of.one(), of.one(), recipient, of.one(), of.one())
        }
        EventKind::OnBeforeData => handle!(call, on_before_data, of.one(), of.one(), of.one(), of.one()),
        EventKind::OnSessionEnd => handle!(call, on_session_end, of.one(), of.one(), of.one()),
        EventKind::OnServerResponse => {
            let msg = call.has_message.then(|| of.one());
            let recipient = call.occasion.recipient.map(|id| call.recipient_of(id)).transpose()?;
            handle!(call, on_server_response, of.one(), msg, recipient, of.one(), of.one())
        }
        _ => Err(missing(event).into()),
    }
}

impl Call<'_> {
    // The recipient that the event is about.
    fn recipient(&self) -> Result<Resource<Recipient>, Ended> {
        let id = self.occasion.recipient.ok_or_else(|| Ended::host("the event names no recipient"))?;
        self.recipient_of(id)
    }

    fn recipient_of(&self, id: RecipientId) -> Result<Resource<Recipient>, Ended> {
        self.store.data().main_recipient(id)
    }
}

fn missing(event: EventKind) -> Ended {
    Ended::new(FailureKind::Load, format!("it does not export {event}"))
}

//! The function of each event, with the arguments that the contract gives it.

use basin_core::event::{EventKind, FailureKind, Verdict};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::Component;
use crate::convert::IntoVerdict;
use crate::ended::Ended;
use crate::state::State;

/// Verdict or the sink's own error, at one event.
pub(crate) type Answered = Result<Result<Verdict, Ended>, String>;

/// Calls the function of the event.
pub(crate) async fn invoke(
    store: &mut Store<State>,
    component: &Component,
    instance: &Instance,
    event: EventKind,
) -> wasmtime::Result<Answered> {
    let exports = &component.exports;
    let missing = || Ended::new(FailureKind::Load, format!("it does not export {event}"));
    let (occasion, message) = (store.data().occasion.clone(), store.data().overlay.message.is_some());
    let of = store.data().of_each();
    let answered = match event {
        EventKind::OnConnect => {
            let guest = exports.on_connect.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one()).await?)
        }
        EventKind::OnAuthenticated => {
            let guest = exports.on_authenticated.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one()).await?)
        }
        EventKind::OnInboundCommand => {
            let guest = exports.on_inbound_command.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), message.then(|| of.one()), of.one(), of.one()).await?)
        }
        EventKind::OnInboundInput => {
            let guest = exports.on_inbound_input.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            let (msg, input) = (message.then(|| of.one()), occasion.input.reveal());
            verdict_of(guest.call_handle(store, of.one(), msg, of.one(), input, of.one()).await?)
        }
        EventKind::OnEndOfHeaders => {
            let guest = exports.on_end_of_headers.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one(), of.one()).await?)
        }
        EventKind::OnMaxMsgSize => {
            let guest = exports.on_max_msg_size.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            let limit = store.data().overlay.size.map_or(0, |size| size.limit);
            verdict_of(guest.call_handle(store, of.one(), of.one(), limit, of.one()).await?)
        }
        EventKind::OnEndOfData => {
            let guest = exports.on_end_of_data.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one(), of.one()).await?)
        }
        EventKind::OnReject => {
            let guest = exports.on_reject.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), &occasion.line, of.one()).await?)
        }
        EventKind::OnDisconnect => {
            let guest = exports.on_disconnect.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one()).await?)
        }
        EventKind::OnSubmission => {
            let guest = exports.on_submission.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, of.one(), of.one()).await?)
        }
        EventKind::OnPreCategorize
        | EventKind::OnCategorize
        | EventKind::OnPostCategorize
        | EventKind::OnRoute
        | EventKind::OnDnsResolve
        | EventKind::OnLocalDelivery
        | EventKind::OnSessionStart
        | EventKind::OnMessageStart
        | EventKind::OnPerRecipient
        | EventKind::OnBeforeData
        | EventKind::OnSessionEnd
        | EventKind::OnServerResponse
        | EventKind::OnNotification
        | EventKind::OnTrack
        | EventKind::OnTimer => {
            return Err(Ended::host(format!("this version of basin does not raise {event}")).into());
        }
    };
    Ok(answered)
}

fn verdict_of<V: IntoVerdict>(answer: Result<V, String>) -> Answered {
    answer.map(IntoVerdict::into_verdict)
}

//! The events that a component answers.

use basin_core::event::EventKind;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut, Store};

use crate::bindings::events;
use crate::state::State;

/// Package and version of the contract that this host has.
pub(crate) const CONTRACT: &str = "basin:sink@0.1.0";

/// Makes everything that has one thing for each event. The `match` has no wildcard, so an event of the core
/// that is missing here does not compile.
macro_rules! exports {
    ($( $variant:ident => $module:ident, )*) => {
        /// Where the events of a component are; looked up once, when it is loaded.
        #[derive(Default)]
        pub(crate) struct Exports { $( pub(crate) $module: Option<events::$module::GuestIndices>, )* }

        impl Exports {
            /// Looks an event up that the component exports by name.
            pub(crate) fn find(&mut self, event: EventKind, pre: &InstancePre<State>) -> wasmtime::Result<()> {
                match event {
                    $( EventKind::$variant => self.$module = Some(events::$module::GuestIndices::new(pre)?), )*
                }
                Ok(())
            }

            /// Compares the types of everything that was found with the contract.
            pub(crate) fn check(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
                $( if let Some(indices) = &self.$module { indices.load(store.as_context_mut(), instance)?; } )*
                Ok(())
            }
        }
    };
}

exports! {
    OnConnect => on_connect,
    OnAuthenticated => on_authenticated,
    OnInboundCommand => on_inbound_command,
    OnInboundInput => on_inbound_input,
    OnEndOfHeaders => on_end_of_headers,
    OnEndOfData => on_end_of_data,
    OnMaxMsgSize => on_max_msg_size,
    OnReject => on_reject,
    OnDisconnect => on_disconnect,
    OnSubmission => on_submission,
    OnPreCategorize => on_pre_categorize,
    OnCategorize => on_categorize,
    OnPostCategorize => on_post_categorize,
    OnRoute => on_route,
    OnDnsResolve => on_dns_resolve,
    OnLocalDelivery => on_local_delivery,
    OnSessionStart => on_session_start,
    OnMessageStart => on_message_start,
    OnPerRecipient => on_per_recipient,
    OnBeforeData => on_before_data,
    OnSessionEnd => on_session_end,
    OnServerResponse => on_server_response,
    OnNotification => on_notification,
    OnTrack => on_track,
    OnTimer => on_timer,
}

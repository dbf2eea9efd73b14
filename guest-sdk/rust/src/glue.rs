//! Turns one line of the table in `events` into a trait, and on WebAssembly into the export behind it.
//!
//! Each event gets bindings of its own world, whose types are those of [`crate::bindings`]. Their export macro
//! places the description of that one world in the sink's crate, and the linker merges the worlds of a sink,
//! so that a component exports exactly what `export!` names. The server registers by exports.

/// The type of an argument as a sink sees it.
macro_rules! argument {
    (shared $ty:ident) => { &$ty };
    (unique $ty:ident) => { &mut $ty };
    (option $ty:ident) => { Option<&mut $ty> };
    (octets $ty:ident) => { &[u8] };
    (number $ty:ident) => { $ty };
}

/// The type of the same argument as the contract has it.
#[cfg(target_family = "wasm")]
macro_rules! raw_argument {
    (shared $ty:ident) => { <$ty as $crate::glue::Wraps>::Raw };
    (unique $ty:ident) => { <$ty as $crate::glue::Wraps>::Raw };
    (option $ty:ident) => { Option<<$ty as $crate::glue::Wraps>::Raw> };
    (octets $ty:ident) => { Vec<u8> };
    (number $ty:ident) => { $ty };
}

/// Takes a raw argument into the wrapper that owns it for the length of the call.
#[cfg(target_family = "wasm")]
macro_rules! own_argument {
    ($raw:ident: shared $ty:ident) => {
        $ty::from_raw($raw)
    };
    ($raw:ident: unique $ty:ident) => {
        $ty::from_raw($raw)
    };
    ($raw:ident: option $ty:ident) => {
        $raw.map($ty::from_raw)
    };
    ($raw:ident: $kind:ident $ty:ident) => {
        $raw
    };
}

/// Lends an owned argument to the sink.
#[cfg(target_family = "wasm")]
macro_rules! lend_argument {
    ($own:ident: shared $ty:ident) => {
        &$own
    };
    ($own:ident: unique $ty:ident) => {
        &mut $own
    };
    ($own:ident: option $ty:ident) => {
        $own.as_mut()
    };
    ($own:ident: octets $ty:ident) => {
        &$own
    };
    ($own:ident: number $ty:ident) => {
        $own
    };
}
pub(crate) use argument;
#[cfg(target_family = "wasm")]
pub(crate) use {lend_argument, own_argument, raw_argument};

/// A wrapper and the handle that it owns.
#[cfg(target_family = "wasm")]
pub trait Wraps {
    type Raw;
}

/// The answer to an event in the words of the contract.
///
/// It can fail, because a plain value such as a next hop is checked by the server only now.
#[cfg(target_family = "wasm")]
pub trait Lower {
    type Raw;
    fn lower(self) -> Result<Self::Raw, crate::Error>;
}

#[cfg(target_family = "wasm")]
impl Lower for () {
    type Raw = ();
    fn lower(self) -> Result<(), crate::Error> {
        Ok(())
    }
}

/// Makes the trait, and on WebAssembly the export, of one event.
macro_rules! event {
    (
        $(#[$doc:meta])*
        $event:ident, $name:ident, $world:tt, ($($arg:ident: $kind:ident $ty:ident),*) -> $verdict:ty
    ) => {
        $(#[$doc])*
        pub trait $event {
            /// Answers the event. An `Err` counts as a failure of the sink: none of its edits is kept, and
            /// the failure policy of the binding decides.
            fn $name($($arg: $crate::glue::argument!($kind $ty),)* call: &Call) -> Result<$verdict>;
        }

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        pub mod $name {
            use super::*;
            use $crate::glue::Lower;

            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod world {
                wit_bindgen::generate!({
                    path: "wit",
                    world: $world,
                    pub_export_macro: true,
                    with: {
                        "basin:sink/types@0.1.0": crate::bindings::basin::sink::types,
                        "basin:sink/message@0.1.0": crate::bindings::basin::sink::message,
                        "basin:sink/inbound@0.1.0": crate::bindings::basin::sink::inbound,
                        "basin:sink/outbound@0.1.0": crate::bindings::basin::sink::outbound,
                        "basin:sink/transport@0.1.0": crate::bindings::basin::sink::transport,
                        "basin:sink/log@0.1.0": crate::bindings::basin::sink::log,
                        "basin:sink/config@0.1.0": crate::bindings::basin::sink::config,
                        "basin:sink/metrics@0.1.0": crate::bindings::basin::sink::metrics,
                        "basin:sink/server@0.1.0": crate::bindings::basin::sink::server,
                        "basin:sink/state@0.1.0": crate::bindings::basin::sink::state,
                        "basin:sink/dns@0.1.0": crate::bindings::basin::sink::dns,
                        "basin:sink/message-auth@0.1.0": crate::bindings::basin::sink::message_auth,
                    },
                });
            }

            /// Stands between the contract and a sink's trait.
            #[derive(Debug)]
            pub struct Adapter<S>(core::marker::PhantomData<S>);

            impl<S: super::$event> world::exports::basin::sink::$name::Guest for Adapter<S> {
                #[allow(unused_mut, reason = "only some events lend their arguments for change")]
                fn handle(
                    $($arg: $crate::glue::raw_argument!($kind $ty),)*
                    call: $crate::bindings::basin::sink::types::Call,
                ) -> core::result::Result<<$verdict as Lower>::Raw, String> {
                    $(let mut $arg = $crate::glue::own_argument!($arg: $kind $ty);)*
                    let call = Call::from_raw(call);
                    let verdict = S::$name($($crate::glue::lend_argument!($arg: $kind $ty),)* &call);
                    verdict.and_then(|verdict| Ok(verdict.lower()?)).map_err(|failure| failure.to_string())
                }
            }
        }
    };
}
pub(crate) use event;

/// Makes a wrapper out of the handle that the server passed.
macro_rules! wraps {
    ($($wrapper:ident: $raw:ty),+) => {
        $(
            impl $wrapper {
                pub(crate) fn from_raw(raw: $raw) -> Self {
                    Self { raw }
                }
            }
            #[cfg(target_family = "wasm")]
            impl $crate::glue::Wraps for $wrapper {
                type Raw = $raw;
            }
        )+
    };
}
pub(crate) use wraps;

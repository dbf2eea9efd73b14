//! Binds one misbehaviour to a protocol event, an event before acceptance and one after it, because their
//! budgets and failure policies differ.

/// Exports a sink that runs this function at on-inbound-command, on-end-of-data and on-submission, and says
/// `next` should the function return.
#[macro_export]
macro_rules! misbehave {
    ($run:path) => {
        /// The sink.
        #[derive(Debug)]
        pub struct Hostile;

        impl $crate::sink::OnInboundCommand for Hostile {
            fn on_inbound_command(
                _session: &$crate::sink::Session,
                _message: Option<&mut $crate::sink::Message>,
                _command: &$crate::sink::Command,
                call: &$crate::sink::Call,
            ) -> $crate::sink::Result<$crate::sink::CommandVerdict> {
                $run(call)?;
                Ok($crate::sink::CommandVerdict::Next)
            }
        }

        impl $crate::sink::OnEndOfData for Hostile {
            fn on_end_of_data(
                _session: &$crate::sink::Session,
                _message: &mut $crate::sink::Message,
                call: &$crate::sink::Call,
            ) -> $crate::sink::Result<$crate::sink::DataVerdict> {
                $run(call)?;
                Ok($crate::sink::DataVerdict::Next)
            }
        }

        impl $crate::sink::OnSubmission for Hostile {
            fn on_submission(
                _message: &mut $crate::sink::Message,
                call: &$crate::sink::Call,
            ) -> $crate::sink::Result<$crate::sink::MessageVerdict> {
                $run(call)?;
                Ok($crate::sink::MessageVerdict::Next)
            }
        }

        basin_sink::export!(Hostile: OnInboundCommand, OnEndOfData, OnSubmission);
    };
}

#[doc(hidden)]
pub use basin_sink as sink;

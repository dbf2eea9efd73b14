//! A timer's call: nobody asked a question, and the sink may do something all the same.

use std::sync::Arc;

use basin_core::event::{Answer, Binding, Mode, Occasion, Overlay};

use super::{Ask, Asking};
use crate::registry::Loaded;

impl Ask {
    /// Calls the sink of a timer. What it does is in the overlay of the answer; who called writes it.
    pub(crate) async fn call_timer(
        &self,
        loaded: &Loaded,
        binding: &Arc<Binding>,
        occasion: &Arc<Occasion>,
        overlay: Overlay,
    ) -> Answer {
        let is_read_only = binding.mode == Mode::Observe;
        let asking = Asking { occasion, overlay: Box::new(overlay), is_read_only, scopes: None };
        Box::pin(self.call(loaded, binding, asking, self.transaction_time(), |said| said)).await
    }

    /// What sinks keep.
    pub(crate) fn tables(&self) -> &crate::sink_tables::SinkTables {
        &self.tables
    }
}

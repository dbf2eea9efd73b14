//! One call of one sink.

use basin_core::event::{Answer, Failure, FailureKind};

use crate::{CallReport, CallRequest, Engine, Usage};

impl Engine {
    /// Asks a sink at an event, in a fresh instance, within its budget.
    ///
    /// Never fails itself: what goes wrong is a [`basin_core::event::Failure`] in the report. Dropping the future
    /// ends the call without a trace.
    pub async fn call(&self, request: CallRequest<'_>) -> CallReport {
        let permit = self.shared.permits.acquire().await;
        let detail = format!("cannot call sink {}: {:?}", request.sink.name, permit.map(drop));
        let failure =
            Failure { kind: FailureKind::Host, detail, backtrace: Vec::new(), stderr: String::new(), fuel: 0 };
        CallReport {
            answer: Answer::Failed(failure),
            usage: Usage::default(),
            stdout: String::new(),
            stderr: String::new(),
        }
    }
}

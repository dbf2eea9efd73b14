//! Waiting for the outside world: how long, how often, and that it is not the sink's own time.

use basin_core::event::Grant;

use super::{ErrorValue, Refused};
use crate::state::State;
use crate::{ServiceError, Waiting};

/// Questions to others of one call. A sink asks some lists about some addresses; who asks more is looking through
/// the domain name system on this server's account.
const QUESTIONS_MAX: usize = 100;

/// What a call has asked so far.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    questions: usize,
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => ErrorValue::NotFound,
            ServiceError::Invalid(why) => ErrorValue::Invalid(why),
            ServiceError::Limit(what) => ErrorValue::Limit(what),
            ServiceError::Unavailable(why) => ErrorValue::Unavailable(why),
        }
        .into()
    }
}

impl State {
    /// Answers `denied` unless the service is granted.
    pub(super) fn service(&mut self, grant: Grant) -> Result<(), Refused> {
        if self.has(grant) {
            return Ok(());
        }
        Err(self.deny(format!("needs the grant {grant} (--grant {grant} gives it)")))
    }

    /// Waits for an answer within the time that is left for waiting. Where it is over, the answer is
    /// `unavailable`: a name server that is down must not make the sink fail.
    pub(super) async fn wait_for<T>(
        &mut self,
        answer: impl FnOnce(&dyn crate::SinkHost) -> Waiting<'_, T>,
    ) -> Result<T, Refused> {
        self.tariff.asked();
        self.waited.questions += 1;
        if self.waited.questions > QUESTIONS_MAX {
            return Err(ErrorValue::Limit(format!("a call asks at most {QUESTIONS_MAX} questions")).into());
        }
        let (left, host) = (self.patience(), self.host.clone());
        let answered = tokio::time::timeout(left, answer(host.as_ref())).await;
        let seconds = self.budget.wait.as_secs();
        let late = || ServiceError::Unavailable(format!("no answer within the {seconds} s that a call may wait"));
        Ok(answered.unwrap_or_else(|_| Err(late()))?)
    }
}

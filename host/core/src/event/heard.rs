//! Who hears of an event: whom to ask, and whom to tell when it is decided.

use std::sync::Arc;

use crate::event::{Asked, Behind, Chain, ChainStep, Occasion, Question, Registry, Verdict};

/// Who hears of an event.
#[derive(Debug)]
pub struct Heard {
    plan: Plan,
    told: Told,
}

#[derive(Debug)]
enum Plan {
    /// All who are bound to the event, from the first on.
    Whole(Vec<Asked>),
    /// The one that hears the input which it asked for, and those behind it in the chain that it interrupted.
    Rest(Asked, Behind),
}

impl Heard {
    /// Looks up who hears of this question, in one generation of the registry.
    ///
    /// # Errors
    /// The name of the binding that asked for input and is gone.
    pub fn of(registry: &Registry, question: &Question, firings: &dyn Fn(&str) -> u64) -> Result<Self, String> {
        let (now, facts) = (question.occasion.now, question.facts());
        let (plan, about) = match &question.only {
            None => {
                let mut plan = registry.plan(question.occasion.event, &facts, now, firings);
                if let Some(rest) = &question.rest {
                    plan.retain(|asked| rest.contains(&asked.binding.name));
                }
                (Plan::Whole(plan), question.occasion.clone())
            }
            Some(name) => {
                let by = registry.active(name).ok_or_else(|| name.clone())?;
                let occasion = Arc::new(question.occasion.without_input());
                let plan = registry.plan_behind(&by.binding, &facts, now, firings);
                (Plan::Rest(by, Behind { occasion: occasion.clone(), plan }), occasion)
            }
        };
        let observers = registry.observers(about.event, &facts, now, firings);
        Ok(Self { plan, told: Told { observers, about } })
    }

    /// Begins the chain.
    pub fn begin(self, question: Question) -> (ChainStep, Told) {
        let Question { occasion, overlay, can_fail, .. } = question;
        let step = match self.plan {
            Plan::Whole(plan) => Chain::start(occasion, plan, overlay, can_fail),
            Plan::Rest(by, behind) => Chain::go_on(occasion, by, behind, overlay, can_fail),
        };
        (step, self.told)
    }
}

/// Who is told when a chain is decided, and of what.
#[derive(Debug)]
pub struct Told {
    /// Those who are bound in the mode observe.
    pub observers: Vec<Asked>,
    /// The occasion.
    pub about: Arc<Occasion>,
}

impl Told {
    /// Observers hear the final decision: a command that waits for input has none yet, and they hear of it when the
    /// chain that goes on with the input is decided.
    pub fn once_decided(self, verdict: &Verdict) -> Self {
        let waits = matches!(verdict, Verdict::AwaitInput(_) | Verdict::AwaitOctets(..));
        if waits { Self { observers: Vec::new(), ..self } } else { self }
    }
}

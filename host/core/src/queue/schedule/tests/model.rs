//! Random sequences of everything that can happen to a schedule, beside a model that is too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["x.example", "y.example", "z.example"];
const CONNECTIONS_MAX: u32 = 4;
const PER_DESTINATION: u32 = 2;

#[derive(Debug, Clone)]
enum Step {
    Put { message: u8, to: [bool; 3], due: u8, priority: i8 },
    Next,
    Another(u8),
    Reached(u8),
    Close { visit: u8, is_failed: bool },
    Sent { lease: u8, again: Option<u8> },
    Retry(u8),
    Hold(u8, bool),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8, any::<[bool; 3]>(), any::<u8>(), -9..=9_i8)
            .prop_map(|(message, to, due, priority)| Step::Put { message, to, due, priority }),
        6 => Just(Step::Next),
        3 => any::<u8>().prop_map(Step::Another),
        2 => any::<u8>().prop_map(Step::Reached),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(visit, is_failed)| Step::Close { visit, is_failed }),
        4 => (any::<u8>(), any::<Option<u8>>()).prop_map(|(lease, again)| Step::Sent { lease, again }),
        1 => (0..8_u8).prop_map(Step::Retry),
        1 => (0..3_u8, any::<bool>()).prop_map(|(place, is_held)| Step::Hold(place, is_held)),
        2 => (0..400_u16).prop_map(Step::Pass),
    ]
}

/// What must be so.
struct Model {
    schedule: Schedule,
    now: i64,
    jobs: BTreeMap<(MessageId, Destination), Job>,
    leases: Vec<Lease>,
    visits: Vec<Visit>,
    held: BTreeSet<Destination>,
}

impl Model {
    fn new() -> Self {
        let schedule = schedule(CONNECTIONS_MAX, limits(PER_DESTINATION));
        let (jobs, held) = (BTreeMap::new(), BTreeSet::new());
        Self { schedule, now: 0, jobs, leases: Vec::new(), visits: Vec::new(), held }
    }

    fn put(&mut self, message: &MessageId, jobs: Vec<Job>) {
        self.schedule.put(message, &jobs, at(self.now));
        self.jobs.retain(|(of, _), _| of != message);
        self.jobs.extend(jobs.into_iter().map(|job| ((job.message.clone(), job.destination.clone()), job)));
    }

    fn is_leased(&self, key: &(MessageId, Destination)) -> bool {
        self.leases.iter().any(|lease| lease.message == key.0 && lease.destination == key.1)
    }

    fn took(&mut self, lease: Lease, is_due: impl Fn(&Job) -> bool) {
        let key = (lease.message.clone(), lease.destination.clone());
        assert!(!self.is_leased(&key), "{key:?} is with two");
        let is_ghost = |lease: &&Lease| {
            lease.message == key.0 && !self.jobs.contains_key(&(lease.message.clone(), lease.destination.clone()))
        };
        assert_eq!(self.leases.iter().find(is_ghost), None, "{key:?} is still on its way to where it went before");
        let job = self.jobs.get(&key).expect("nobody takes a job that is not there");
        assert!(is_due(job), "{job:?} at {}", self.now);
        self.leases.push(lease);
    }

    fn next(&mut self) -> bool {
        let now = at(self.now);
        match self.schedule.next(now) {
            Next::Visit(visit, lease) => {
                let to = lease.destination.clone();
                let is_there = |visit: &&Visit| visit.route.destination == to;
                let there = u32::try_from(self.visits.iter().filter(is_there).count()).expect("few");
                assert!(there < PER_DESTINATION && self.visits.len() < CONNECTIONS_MAX as usize);
                assert!(!self.held.contains(&to), "it is held");
                let state = self.schedule.destination(&to).expect("it has a job").state;
                if let DestinationState::Down { until, .. } = state {
                    assert!(there == 0 && until <= now, "one probe at its time");
                }
                self.took(lease, |job| job.due <= now && job.expires > now);
                self.visits.push(visit);
            }
            Next::Expire(lease, _) => self.took(lease, |job| job.expires <= now),
            Next::TellDelay(lease, _) => self.took(lease, |job| job.tell_delay.is_some_and(|tell| tell <= now)),
            Next::Wait(until) => {
                assert!(until > now, "a wait that is over is a busy loop");
                return false;
            }
            Next::Idle => return false,
        }
        true
    }

    fn sent(&mut self, index: u8, again: Option<i64>) {
        if self.leases.is_empty() {
            return;
        }
        let lease = self.leases.remove(usize::from(index) % self.leases.len());
        let of_message = |key: &&(MessageId, Destination)| key.0 == lease.message;
        let keys: Vec<_> = self.jobs.keys().filter(of_message).cloned().collect();
        let mut jobs = Vec::new();
        for key in keys {
            let Some(job) = self.jobs.get(&key).cloned() else { continue };
            match (key.1 == lease.destination, again) {
                (true, None) => {}
                (true, Some(due)) => {
                    jobs.push(Job {
                        due: at(due),
                        tell_delay: None,
                        expires: job.expires.max(at(self.now + 1)),
                        ..job
                    });
                }
                (false, _) => jobs.push(job),
            }
        }
        let message = lease.message.clone();
        self.put(&message, jobs);
        self.schedule.finish(lease, at(self.now));
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Put { message, to, due, priority } => {
                let message = id(&format!("m{message}"));
                let places = NAMES.iter().zip(to).filter(|(_, is_there)| *is_there);
                let new = |(name, _): (&&str, bool)| Job {
                    priority: i32::from(priority),
                    tell_delay: Some(at(self.now + 500)),
                    expires: at(self.now + 2_000),
                    ..job(message.as_str(), name, &format!("s{}", due % 3), self.now + i64::from(due) - 100)
                };
                let jobs = places.map(new).collect();
                self.put(&message, jobs);
            }
            Step::Next => drop(self.next()),
            Step::Another(index) if !self.visits.is_empty() => {
                let visit = self.visits.swap_remove(usize::from(index) % self.visits.len());
                if let Another::Job(lease) = self.schedule.another(&visit, at(self.now)) {
                    assert_eq!(lease.destination, visit.route.destination);
                    assert!(!self.held.contains(&lease.destination));
                    let now = at(self.now);
                    self.took(lease, |job| job.due <= now);
                }
                self.visits.push(visit);
            }
            Step::Reached(index) if !self.visits.is_empty() => {
                let visit = &self.visits[usize::from(index) % self.visits.len()];
                self.schedule.reached(visit, at(self.now));
            }
            Step::Close { visit, is_failed } if !self.visits.is_empty() => {
                let visit = self.visits.swap_remove(usize::from(visit) % self.visits.len());
                let end = if is_failed { refused() } else { VisitEnd::Reached };
                let until = self.schedule.close(visit, end, at(self.now), MIDDLE);
                assert_eq!(until.is_some(), is_failed);
            }
            Step::Sent { lease, again } => self.sent(lease, again.map(|wait| self.now + i64::from(wait))),
            Step::Retry(message) => {
                let message = id(&format!("m{message}"));
                self.schedule.retry(&message, at(self.now));
                let now = at(self.now);
                let jobs = self.jobs.iter_mut().filter(|((of, _), _)| *of == message);
                jobs.for_each(|(_, job)| job.due = job.due.min(now));
            }
            Step::Hold(place, is_held) => {
                let name = destination(NAMES[usize::from(place)]);
                self.schedule.hold(&name, is_held, at(self.now));
                if is_held {
                    self.held.insert(name)
                } else {
                    self.held.remove(&name)
                };
            }
            Step::Pass(seconds) => self.now += i64::from(seconds),
            Step::Another(_) | Step::Reached(_) | Step::Close { .. } => {}
        }
    }

    fn check(&self) {
        let totals = self.schedule.totals();
        // A job that was taken out while it was in hand is there until it is finished.
        let ghosts =
            self.leases.iter().filter(|l| !self.jobs.contains_key(&(l.message.clone(), l.destination.clone())));
        assert_eq!(totals.jobs, self.jobs.len() + ghosts.count(), "no job is lost");
        assert_eq!((totals.leased, totals.visits), (self.leases.len(), self.visits.len()));
        let sum = |of: fn(&DestinationView) -> u32| self.schedule.destinations().map(|view| of(&view)).sum::<u32>();
        assert_eq!((sum(|view| view.jobs) as usize, sum(|view| view.due) as usize), (totals.jobs, totals.due));
        assert_eq!(sum(|view| view.visits) as usize, totals.visits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_job_is_lost_or_leased_twice_and_limits_hold(steps in prop::collection::vec(step(), 1..150)) {
        let mut model = Model::new();
        for step in steps {
            model.act(step);
            model.check();
        }
        // Then everything works: every job that is left ends, in bounded time.
        NAMES.iter().for_each(|name| model.schedule.hold(&destination(name), false, at(model.now)));
        model.held.clear();
        for round in 0..20_000 {
            prop_assert!(round < 10_000, "{} jobs starve", model.jobs.len());
            while !model.visits.is_empty() {
                model.act(Step::Reached(0));
                model.act(Step::Close { visit: 0, is_failed: false });
            }
            while !model.leases.is_empty() {
                model.sent(0, None);
            }
            if model.jobs.is_empty() {
                break;
            }
            if !model.next() {
                model.now += 100;
            }
        }
        model.check();
        prop_assert_eq!(model.schedule.totals(), Totals { destinations: model.schedule.totals().destinations, ..Totals::default() });
    }
}

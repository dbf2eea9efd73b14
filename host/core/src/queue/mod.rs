//! When a stored message is worked on again.
//!
//! [`Timetable`] is for messages that wait for a time; [`Schedule`] for mail to other servers, which waits
//! for a connection too.

pub mod index;
pub mod job;
pub mod retry;
pub mod schedule;
pub mod successors;
pub mod timetable;

pub use index::Index;
pub use job::Job;
pub use retry::RetryPolicy;
pub use schedule::{
    Another, DestinationState, DestinationView, Lease, Next, Schedule, SchedulePolicy, Totals, Visit, VisitEnd,
};
pub use successors::Successors;
pub use timetable::Timetable;

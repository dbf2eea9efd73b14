//! What operators see of the schedule and do to it.

use super::place::Place;
use super::rows::{Key, millis};
use super::{DestinationView, Schedule, Totals, place_mut};
use crate::mail::MessageId;
use crate::time::Timestamp;
use crate::transport::Destination;

impl Schedule {
    /// Makes the jobs of a message due now, and lets their destinations be probed; false where it has none.
    pub fn retry(&mut self, message: &MessageId, now: Timestamp) -> bool {
        let now = millis(now);
        let rows = self.rows.of(&Key::of(message));
        for (number, row) in &rows {
            let is_listed = self.rows.get(*row).is_some_and(|row| !row.is_leased && !row.is_free());
            self.unlist(*number, *row);
            if let Some(row) = self.rows.get_mut(*row) {
                row.due = row.due.min(now);
            }
            if is_listed {
                self.list(*number, *row, now);
            }
            if let Some(place) = place_mut(&mut self.places, *number) {
                place.probe(now);
            }
            self.refresh(*number, now);
        }
        !rows.is_empty()
    }

    /// Whether a message has a job.
    pub fn contains(&self, message: &MessageId) -> bool {
        !self.rows.of(&Key::of(message)).is_empty()
    }

    /// Whether a message is in somebody's hand, perhaps on its way to a server at this moment.
    pub fn is_in_hand(&self, message: &MessageId) -> bool {
        let rows = self.rows.of(&Key::of(message));
        rows.iter().any(|(_, row)| self.rows.get(*row).is_some_and(|row| row.is_leased))
    }

    /// Lets a destination that is down be probed now.
    pub fn probe(&mut self, destination: &Destination, now: Timestamp) {
        let Some(number) = self.numbers.get(destination).copied() else { return };
        if let Some(place) = place_mut(&mut self.places, number) {
            place.probe(millis(now));
        }
        self.refresh(number, millis(now));
    }

    /// Holds a destination or lets it go on: no visits; what expires expires all the same.
    pub fn hold(&mut self, destination: &Destination, is_held: bool, now: Timestamp) {
        let number = self.place_of(destination);
        if let Some(place) = place_mut(&mut self.places, number) {
            place.is_held = is_held;
        }
        self.refresh(number, millis(now));
    }

    /// Every destination that has jobs, or is down, or is held; in no order.
    pub fn destinations(&self) -> impl Iterator<Item = DestinationView> {
        self.places.iter().flatten().map(Place::view)
    }

    /// Those of them where mail does not go now: they are down, or held.
    pub fn closed(&self) -> impl Iterator<Item = DestinationView> {
        self.places.iter().flatten().filter(|place| place.is_closed()).map(Place::view)
    }

    /// One destination.
    pub fn destination(&self, destination: &Destination) -> Option<DestinationView> {
        self.numbers.get(destination).and_then(|number| self.place(*number)).map(Place::view)
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        Totals {
            jobs: self.rows.len(),
            due: self.rows.ready.len(),
            leased: self.rows.leased,
            visits: self.visits.len(),
            destinations: self.numbers.len(),
        }
    }
}

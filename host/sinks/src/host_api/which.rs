//! Which message a handle stands for. An event comes with one, or with two; forks are further ones.
//!
//! Functions about a message, a recipient or a part begin by saying which message they are about, and the helpers
//! behind them work on that. Recipients and parts of the main message carry their own number; those of others carry a
//! place in a table, because a handle has too few bits for both.

use std::collections::BTreeMap;

use basin_core::mail::{Message, RecipientId};
use wasmtime::component::Resource;

use super::{ErrorValue, MailMsg, Part, Recipient, Refused};
use crate::ended::Ended;
use crate::state::State;

/// The message that the event is about.
pub(crate) const MAIN: u32 = 0;

/// The message that a notification is about; nobody changes it.
pub(crate) const SUBJECT: u32 = 1;

/// The first fork, by its place in the overlay; the others follow.
const FORKS: u32 = 2;

/// Numbers from here on are places in the table of things of other messages.
const OTHERS: u32 = 1 << 19;

/// Recipients and parts of other messages than the main one, each by its message and its own number.
#[derive(Debug, Default)]
pub(crate) struct Others {
    things: Vec<(u32, u32)>,
    places: BTreeMap<(u32, u32), u32>,
}

impl Others {
    fn place(&mut self, message: u32, number: u32) -> Result<u32, Ended> {
        if let Some(place) = self.places.get(&(message, number)) {
            return Ok(*place);
        }
        let place = u32::try_from(self.things.len()).ok().filter(|place| *place < OTHERS);
        let place = place.ok_or_else(|| Ended::quota("it named too many recipients and parts in one call"))?;
        self.things.push((message, number));
        self.places.insert((message, number), place);
        Ok(place)
    }
}

impl State {
    /// The host call is about the message of that handle.
    pub(super) fn about(&mut self, msg: &Resource<MailMsg>) -> Result<(), Ended> {
        self.message_number = self.number(msg)?;
        Ok(())
    }

    /// Whether the host call is about the message that the event is about.
    pub(super) fn is_main(&self) -> bool {
        self.message_number == MAIN
    }

    /// Whether the host call is about the message that a notification is about.
    pub(crate) fn is_about_subject(&self) -> bool {
        self.message_number == SUBJECT
    }

    /// A handle to the message that a notification is about.
    pub(crate) fn subject(&self) -> Result<Resource<MailMsg>, Ended> {
        self.handle(SUBJECT)
    }

    /// A handle to a fork, by its place in the overlay.
    pub(super) fn fork_handle(&self, place: usize) -> Result<Resource<MailMsg>, Ended> {
        self.handle(u32::try_from(place).unwrap_or(u32::MAX).saturating_add(FORKS))
    }

    /// The message that the host call is about. An event without one hands out no handle to it.
    pub(crate) fn message(&self) -> wasmtime::Result<&Message> {
        self.message_at(self.message_number)
    }

    /// The message, to change; `read-only` for the one that a notification is about.
    pub(crate) fn message_mut(&mut self) -> Result<&mut Message, Refused> {
        let found = match self.message_number {
            MAIN => self.overlay.message.as_mut(),
            SUBJECT => return Err(ErrorValue::ReadOnly.into()),
            fork => self.overlay.forks.get_mut(place_of(fork)).map(|fork| &mut fork.message),
        };
        found.ok_or_else(|| no_message().into())
    }

    fn message_at(&self, number: u32) -> wasmtime::Result<&Message> {
        let found = match number {
            MAIN => self.overlay.message.as_ref(),
            SUBJECT => self.occasion.subject.as_deref(),
            fork => self.overlay.forks.get(place_of(fork)).map(|fork| &fork.message),
        };
        found.ok_or_else(|| no_message().into())
    }

    /// A handle to a recipient of the message that the event is about.
    pub(crate) fn main_recipient(&self, id: RecipientId) -> Result<Resource<Recipient>, Ended> {
        main_number(id).and_then(|id| self.handle(id))
    }

    /// A handle to a recipient of the message that the host call is about.
    pub(super) fn recipient_handle(&mut self, id: RecipientId) -> Result<Resource<Recipient>, Ended> {
        self.thing(id)
    }

    /// A handle to a part of that message.
    pub(super) fn part_handle(&mut self, index: u32) -> Result<Resource<Part>, Ended> {
        self.thing(index)
    }

    /// The host call is about that recipient's message; its id. One that a fork took along is found there.
    pub(super) fn about_recipient(&mut self, recipient: &Resource<Recipient>) -> Result<RecipientId, Ended> {
        let id = self.about_thing(recipient)?;
        let is_of = |message: &Message| message.envelope.recipient(id).is_some();
        if self.message_number == MAIN && !self.overlay.message.as_ref().is_some_and(is_of) {
            let fork = self.overlay.forks.iter().position(|fork| is_of(&fork.message));
            let fork = fork.and_then(|place| u32::try_from(place).ok());
            self.message_number = fork.map_or(MAIN, |place| place.saturating_add(FORKS));
        }
        Ok(id)
    }

    /// The host call is about that part's message; its number.
    pub(super) fn about_part(&mut self, part: &Resource<Part>) -> Result<u32, Ended> {
        self.about_thing(part)
    }

    fn thing<T: 'static>(&mut self, number: u32) -> Result<Resource<T>, Ended> {
        if self.message_number != MAIN {
            let place = self.others.place(self.message_number, number)?;
            return self.handle(OTHERS + place);
        }
        self.handle(main_number(number)?)
    }

    fn about_thing<T: 'static>(&mut self, handle: &Resource<T>) -> Result<u32, Ended> {
        let number = self.number(handle)?;
        let Some(place) = number.checked_sub(OTHERS) else {
            self.message_number = MAIN;
            return Ok(number);
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let found = self.others.things.get(place).ok_or_else(|| Ended::host("there is no such thing"))?;
        let (message, number) = *found;
        self.message_number = message;
        Ok(number)
    }
}

fn main_number(number: u32) -> Result<u32, Ended> {
    let is_own = number < OTHERS;
    is_own.then_some(number).ok_or_else(|| Ended::host(format!("a call can name {OTHERS} recipients or parts")))
}

fn place_of(fork: u32) -> usize {
    usize::try_from(fork.saturating_sub(FORKS)).unwrap_or(usize::MAX)
}

fn no_message() -> Ended {
    Ended::host("there is no message at this event")
}

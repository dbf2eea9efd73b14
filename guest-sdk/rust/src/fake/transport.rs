//! Destinations and tracking records.

use super::world::world;
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Reply};

#[derive(Debug)]
pub(crate) struct Destination;

/// Of the first message, as it was accepted.
#[derive(Debug)]
pub(crate) struct TrackRecord;

impl Destination {
    pub(crate) fn domain(&self) -> String {
        world(|world| world.destination.clone())
    }
    pub(crate) fn failures(&self) -> Vec<(String, Reply)> {
        world(|world| world.failures.clone())
    }
}

impl TrackRecord {
    fn message() -> super::message::MailMsg {
        super::message::MailMsg(0)
    }
    pub(crate) fn kind(&self) -> String {
        world(|world| world.track_kind.clone())
    }
    pub(crate) fn at(&self) -> Datetime {
        super::session::now()
    }
    pub(crate) fn message_id(&self) -> String {
        Self::message().id()
    }
    pub(crate) fn sender(&self) -> String {
        Self::message().sender()
    }
    pub(crate) fn recipient(&self) -> Option<String> {
        Self::message().recipient_addresses().into_iter().next()
    }
    pub(crate) fn remote(&self) -> Option<Endpoint> {
        Self::message().client()
    }
    pub(crate) fn reply(&self) -> Option<Reply> {
        world(|world| world.call.response.clone())
    }
    pub(crate) fn size(&self) -> u64 {
        Self::message().size()
    }
    pub(crate) fn elapsed_ms(&self) -> u64 {
        0
    }
}

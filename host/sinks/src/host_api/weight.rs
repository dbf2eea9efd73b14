//! How many octets a value takes on its way to the sink.

use wasmtime::component::Resource;

use crate::bindings::basin::sink::types::{Header, Reply};
use crate::state::State;

/// Octets of a list element beyond its own: pointer and length.
const ELEMENT_OCTETS: usize = 8;

/// A value that is copied into the sink.
pub(crate) trait Weight {
    /// Octets of it.
    fn weight(&self) -> usize;
}

impl Weight for String {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<T> Weight for Resource<T> {
    fn weight(&self) -> usize {
        ELEMENT_OCTETS
    }
}

impl Weight for Header {
    fn weight(&self) -> usize {
        self.name.len() + self.value.len() + 2 * ELEMENT_OCTETS
    }
}

impl Weight for Reply {
    fn weight(&self) -> usize {
        self.lines.iter().map(|line| line.len() + ELEMENT_OCTETS).sum()
    }
}

impl Weight for Vec<(String, Reply)> {
    fn weight(&self) -> usize {
        self.iter().map(|(text, reply)| text.len() + ELEMENT_OCTETS + reply.weight()).sum()
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, T::weight)
    }
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl Weight for Vec<String> {
    fn weight(&self) -> usize {
        self.iter().map(|text| text.len() + ELEMENT_OCTETS).sum()
    }
}

impl Weight for Vec<Header> {
    fn weight(&self) -> usize {
        self.iter().map(Weight::weight).sum()
    }
}

impl<T> Weight for Vec<Resource<T>> {
    fn weight(&self) -> usize {
        self.len() * ELEMENT_OCTETS
    }
}

impl State {
    /// Hands a value to the sink and notes what it weighs.
    pub(crate) fn give<T: Weight>(&mut self, value: T) -> wasmtime::Result<T> {
        self.tariff.copied(value.weight());
        Ok(value)
    }

    /// Notes an argument that came from the sink.
    pub(crate) fn taken(&mut self, argument: &(impl Weight + ?Sized)) {
        self.tariff.copied(argument.weight());
    }
}

//! Handles of the contract: good for the call that they came with, and for no later one.
//!
//! A sink whose instance is kept can keep a handle with it, and to wasmtime it is still a good one. So every handle
//! carries the number of its call beside the number of its thing, and a function that is given one of an earlier
//! call ends the call (`wit/types.wit`, "Handles").

use wasmtime::component::Resource;

use crate::ended::Ended;
use crate::state::State;

/// Bits of a handle that say which thing it is: a recipient's id, a part's place. The rest says which call.
const NUMBER_BITS: u32 = 20;

/// Calls that one instance can tell apart; then it is replaced.
pub(crate) const CALLS_MAX: u32 = 1 << (u32::BITS - NUMBER_BITS);

/// The handles of one call to things of which it has one: session, message, command and the occasion itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneOfEach(u32);

impl OneOfEach {
    /// The handle.
    pub(crate) fn one<T: 'static>(self) -> Resource<T> {
        Resource::new_own(self.0 << NUMBER_BITS)
    }
}

impl State {
    /// The handles that an event comes with.
    pub(crate) fn of_each(&self) -> OneOfEach {
        OneOfEach(self.call_number)
    }

    /// Makes a handle of this call for the thing of that number.
    pub(crate) fn handle<T: 'static>(&self, number: u32) -> Result<Resource<T>, Ended> {
        if number >> NUMBER_BITS != 0 {
            return Err(Ended::host(format!("a call can name {} things of a kind", 1_u32 << NUMBER_BITS)));
        }
        Ok(Resource::new_own(self.call_number << NUMBER_BITS | number))
    }

    /// The number of the thing, where the handle is one of this call.
    pub(crate) fn number<T: 'static>(&self, handle: &Resource<T>) -> Result<u32, Ended> {
        if handle.rep() >> NUMBER_BITS != self.call_number {
            return Err(Ended::stale("a handle of an earlier call"));
        }
        Ok(handle.rep() & ((1 << NUMBER_BITS) - 1))
    }

    /// Ends the call where the handle is one of an earlier call.
    pub(crate) fn live<T: 'static>(&self, handle: &Resource<T>) -> Result<(), Ended> {
        self.number(handle).map(drop)
    }
}

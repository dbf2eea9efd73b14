//! What host calls cost, in fuel.
//!
//! Fuel counts the sink's own instructions. Without a tariff a unit of fuel buys up to 450 times more of the
//! host's time than of the sink's (measured), and a flood of host calls would run until the deadline.

/// Fuel for each host call.
pub(crate) const CALL_FUEL: u64 = 2_500;

/// Fuel for each octet that is copied between sink and host, either way.
pub(crate) const OCTET_FUEL: u64 = 1;

/// Fuel for each octet that the host looks through to find the parts of a message, decodes or hashes for a sink.
pub(crate) const SCAN_FUEL: u64 = 20;

/// Fuel for each question that the server asks others for a sink.
pub(crate) const QUESTION_FUEL: u64 = 100_000;

/// What a call owes for host calls and has not paid yet.
///
/// The debt is paid on the way back into the sink (`store::settle`), so that the sink never runs one instruction
/// on credit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tariff {
    owed: u64,
    calls: u64,
}

impl Tariff {
    /// Notes one host call.
    pub(crate) fn call(&mut self) {
        self.calls += 1;
        self.owed = self.owed.saturating_add(CALL_FUEL);
    }

    /// Notes octets that were copied.
    pub(crate) fn copied(&mut self, octets: usize) {
        self.owed = self.owed.saturating_add((octets as u64).saturating_mul(OCTET_FUEL));
    }

    /// Notes octets that were looked through or decoded.
    pub(crate) fn scanned(&mut self, octets: u64) {
        self.owed = self.owed.saturating_add(octets.saturating_mul(SCAN_FUEL));
    }

    /// Notes a question to others.
    pub(crate) fn asked(&mut self) {
        self.owed = self.owed.saturating_add(QUESTION_FUEL);
    }

    /// Takes what is owed; nothing is owed afterwards.
    pub(crate) fn take(&mut self) -> u64 {
        core::mem::take(&mut self.owed)
    }

    /// Host calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }
}

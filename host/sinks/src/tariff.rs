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

/// Fuel for each operation with a file: a look at the disk by another thread.
pub(crate) const OPERATION_FUEL: u64 = 20_000;

/// What a call owes for host calls and has not paid yet.
///
/// The debt is paid on the way back into the sink (`store::settle`), so that the sink never runs one instruction
/// on credit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tariff {
    owed: u64,
    calls: u64,
    /// How deep the sink's code runs: once for the event, once more where it makes room for an answer of the host.
    depth: u32,
    /// How deep it ran when that was owed which is.
    owed_at: u32,
}

impl Tariff {
    /// Notes one host call.
    pub(crate) fn call(&mut self) {
        self.calls += 1;
        self.owe(CALL_FUEL);
    }

    /// Notes octets that were copied.
    pub(crate) fn copied(&mut self, octets: usize) {
        self.owe((octets as u64).saturating_mul(OCTET_FUEL));
    }

    /// Notes octets that were looked through or decoded.
    pub(crate) fn scanned(&mut self, octets: u64) {
        self.owe(octets.saturating_mul(SCAN_FUEL));
    }

    /// Notes a question to others.
    pub(crate) fn asked(&mut self) {
        self.owe(QUESTION_FUEL);
    }

    /// Notes an operation with a file.
    pub(crate) fn operated(&mut self) {
        self.owe(OPERATION_FUEL);
    }

    fn owe(&mut self, fuel: u64) {
        self.owed = self.owed.saturating_add(fuel);
        self.owed_at = self.depth;
    }

    /// The sink's code begins to run, inside of what ran before.
    pub(crate) fn enter(&mut self) {
        self.depth = self.depth.saturating_add(1);
    }

    /// It is left again.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Takes what is to be paid on the way back into the sink's code.
    ///
    /// Nothing where that code runs inside of the host call that owes it, to make room for the answer: compiled code
    /// keeps its fuel to itself while it grows a memory or lets the clock look at it, and what is taken out of the
    /// store then is not missed. A sink could have made its host calls free that way, and one on which the clock looked
    /// at that moment had more fuel than in another run.
    pub(crate) fn due(&mut self) -> u64 {
        if self.depth > self.owed_at { 0 } else { self.take() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_call_owes_is_paid_when_the_sink_that_made_it_goes_on() {
        let mut tariff = Tariff::default();
        tariff.enter();
        assert_eq!(tariff.due(), 0, "the clock looks at the sink before it owes anything");
        tariff.call();
        tariff.copied(4);
        tariff.enter();
        assert_eq!(tariff.due(), 0, "room for the answer grows a memory");
        tariff.leave();
        assert_eq!(tariff.due(), CALL_FUEL + 4);
        assert_eq!(tariff.due(), 0, "once");
        tariff.leave();
        tariff.call();
        assert_eq!((tariff.take(), tariff.calls()), (CALL_FUEL, 2));
    }
}

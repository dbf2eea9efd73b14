//! How often what happened.

/// How often what happened, so that a run that tests nothing is seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Copies that arrived.
    pub delivered: u64,
    /// Copies that arrived again because an acknowledgement was lost.
    pub duplicates: u64,
    /// Notifications of failure that arrived.
    pub failures_told: u64,
    /// Notifications of delay that arrived.
    pub delays_told: u64,
    /// Restarts after a power cut.
    pub power_cuts: u64,
    /// Storage operations that failed.
    pub disk_faults: u64,
    /// Connections to other servers.
    pub visits: u64,
    /// Connections that broke.
    pub broken: u64,
    /// What operators did.
    pub operations: u64,
    /// Calls of sinks.
    pub calls: u64,
    /// Those that failed.
    pub failed_calls: u64,
    /// Calls that nobody waited for.
    pub notices: u64,
    /// Messages that sinks split off.
    pub forks: u64,
    /// Messages that sinks submitted and that came to their end.
    pub children: u64,
    /// Addresses that sinks expanded.
    pub expansions: u64,
    /// Events that sinks counted in their tables.
    pub remembered: u64,
    /// Events whose values were taken back, because a crash had cut them off.
    pub taken_back: u64,
    /// Calls of timers that are written.
    pub timers: u64,
    /// Blobs that sinks sent to another server, and that arrived.
    pub blobs: u64,
    /// Clients that logged in.
    pub logins: u64,
    /// Messages that sinks let through though they are too large.
    pub waived: u64,
    /// Messages that gave way to later ones.
    pub superseded: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.failures_told += other.failures_told;
        self.delays_told += other.delays_told;
        self.power_cuts += other.power_cuts;
        self.disk_faults += other.disk_faults;
        self.visits += other.visits;
        self.broken += other.broken;
        self.operations += other.operations;
        self.calls += other.calls;
        self.failed_calls += other.failed_calls;
        self.notices += other.notices;
        self.forks += other.forks;
        self.children += other.children;
        self.expansions += other.expansions;
        self.remembered += other.remembered;
        self.taken_back += other.taken_back;
        self.timers += other.timers;
        self.blobs += other.blobs;
        self.logins += other.logins;
        self.waived += other.waived;
        self.superseded += other.superseded;
    }
}

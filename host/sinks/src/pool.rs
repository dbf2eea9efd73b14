//! How wasmtime is set up, and how many instances there is room for.

use core::num::NonZeroUsize;

use basin_core::event::budget::MEMORY_MAX;
use rustix::process::{Resource, getrlimit};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

/// Stack of the sink's own code, in octets; more is a `stack` failure.
const WASM_STACK_BYTES: usize = 512 * 1024;

/// Stack of the fiber that a call runs on, in octets. What the wasm stack leaves is for host functions.
const FIBER_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Frames of a backtrace that are kept.
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(20).unwrap();

/// Memory maps that one pooled instance takes, measured: four, and two more when its slots are made.
const MAPS_PER_CALL: u64 = 6;

/// Memory maps left to the rest of the process: libraries, threads, code of sinks, the spool.
const MAPS_RESERVED: u64 = 16_000;

/// `vm.max_map_count` where it cannot be read; the default of Linux.
const MAPS_DEFAULT: u64 = 65_530;

/// Address space that one pooled call reserves: two memories of 4 GiB with their guards.
const ADDRESS_SPACE_PER_CALL: u64 = 9 << 30;

/// Core instances of one component; toolchains with adapters make some ten.
const CORE_INSTANCES_PER_COMPONENT: u32 = 32;

/// Octets of a linear memory that are cleared in place when an instance is given back, not unmapped.
const MEMORY_KEEP_RESIDENT: usize = 256 * 1024;

/// Octets of a table that are cleared in place.
const TABLE_KEEP_RESIDENT: usize = 64 * 1024;

/// Reservation of one linear memory where the address space is limited. Memories then move when they grow and
/// every access is checked, which costs the sink up to a third of its speed.
const SMALL_RESERVATION: u64 = 16 << 20;

/// Guard behind such a memory.
const SMALL_GUARD: u64 = 64 << 10;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Out of a pool for so many calls at once.
    Pool { calls: u32 },
    /// Mapped for each call, because the address space of the process is limited.
    OnDemand { calls: u32 },
}

impl Plan {
    /// How many calls may run at once.
    pub(crate) fn calls(self) -> u32 {
        match self {
            Self::Pool { calls } | Self::OnDemand { calls } => calls,
        }
    }

    /// The code that such instances run.
    pub(crate) fn code(self) -> Code {
        match self {
            Self::Pool { .. } => Code::Reserved,
            Self::OnDemand { .. } => Code::Checked,
        }
    }

    /// How many instances there is room for beside those of the calls that run: a quarter of them. Each takes its
    /// place of the pool as long as it is kept.
    pub(crate) fn kept(self) -> u32 {
        self.calls().div_ceil(4)
    }

    /// Chooses by what the machine allows.
    pub(crate) fn choose(calls_max: u32) -> Self {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        let maps = maps.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_DEFAULT);
        Self::fit(calls_max, maps, getrlimit(Resource::As).current)
    }

    fn fit(calls_max: u32, maps: u64, address_space: Option<u64>) -> Self {
        // Of five places of the pool four are for calls that run, and one for an instance that is kept between two.
        let by_maps = maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_CALL * 4 / 5;
        let calls = u64::from(calls_max.max(1)).min(by_maps.max(1));
        // A quarter of a limited address space is the most that sinks may take of it, kept instances included.
        let by_space = address_space.map_or(u64::MAX, |limit| limit / 5 / ADDRESS_SPACE_PER_CALL);
        let count = |calls: u64| u32::try_from(calls).unwrap_or(u32::MAX);
        if by_space >= calls {
            Self::Pool { calls: count(calls) }
        } else {
            let room = address_space.map_or(calls, |limit| limit / 2 / (2 * MEMORY_MAX));
            Self::OnDemand { calls: count(calls.min(room.max(1))) }
        }
    }
}

/// What compiled code takes linear memories to be. Code of the one kind does not run in an engine of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// 4 GiB of address space lie behind each memory, so accesses need no check.
    Reserved,
    /// The address space is limited: accesses are checked.
    Checked,
}

impl Code {
    /// Its name on a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Checked => "checked",
        }
    }

    /// Reads the name.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Reserved, Self::Checked].into_iter().find(|code| code.word() == word)
    }
}

/// The configuration of the one engine of the process.
pub(crate) fn config(plan: Plan) -> wasmtime::Result<Config> {
    let mut config = code(plan.code())?;
    match plan {
        Plan::Pool { calls } => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(calls.saturating_add(plan.kept()))));
        }
        Plan::OnDemand { .. } => {}
    }
    Ok(config)
}

/// All that compiled code depends on, for an engine that reserves nothing by itself.
///
/// Proposals that no sink of the supported toolchains needs are compiled in and switched off: builds of wasmtime 48
/// without the `gc` and `threads` features let a guest abort the host, and what is off cannot be attacked.
pub(crate) fn code(code: Code) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .native_unwind_info(false)
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_tail_call(true)
        .memory_init_cow(true)
        // The default checks the major version alone, so machine code from before a fix of the compiler would be
        // taken from the cache after it.
        .module_version(ModuleVersionStrategy::Custom(format!(
            "wasmtime-48.0.8/basin-{}",
            env!("CARGO_PKG_VERSION")
        )))?;
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    match code {
        Code::Reserved => {}
        Code::Checked => {
            config.memory_reservation(SMALL_RESERVATION).memory_guard_size(SMALL_GUARD);
        }
    }
    Ok(config)
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(8).max(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(instances.saturating_mul(2).max(8))
        .total_tables(instances.saturating_mul(3).max(16))
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(4 << 20)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(8)
        .max_tables_per_component(16)
        .table_elements(100_000)
        .max_memory_size(usize::try_from(MEMORY_MAX).unwrap_or(usize::MAX))
        .max_unused_warm_slots(100)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_stays_within_the_maps_of_the_machine() {
        assert_eq!(Plan::fit(1_000, 65_530, None), Plan::Pool { calls: 1_000 });
        assert_eq!(Plan::fit(100_000, 65_530, None), Plan::Pool { calls: 6_604 });
        assert_eq!(Plan::fit(100, 1_000, None), Plan::Pool { calls: 1 });
    }

    #[test]
    fn a_limited_address_space_turns_the_pool_off() {
        assert_eq!(Plan::fit(1_000, 65_530, Some(16 << 30)), Plan::OnDemand { calls: 8 });
        assert_eq!(Plan::fit(1_000, 65_530, Some(1 << 30)), Plan::OnDemand { calls: 1 });
        assert_eq!(Plan::fit(4, 65_530, Some(1 << 46)), Plan::Pool { calls: 4 });
    }
}

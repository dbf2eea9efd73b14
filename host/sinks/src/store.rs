//! The store of a call: the one place that puts every limit in force.

use basin_core::event::FailureKind;
use wasmtime::{CallHook, Engine, Store, StoreContextMut, Trap, UpdateDeadline};

use crate::clock::OwnTime;
use crate::ended::Ended;
use crate::state::State;

/// Makes a store in which everything that a sink can use up has its limit.
///
/// # Errors
/// The engine refused; a fault of the host.
pub(crate) fn make(engine: &Engine, state: State, time: OwnTime) -> wasmtime::Result<Store<State>> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.call_hook(settle);
    // Before instantiation: start functions are the sink's code too.
    arm(&mut store, time)?;
    Ok(store)
}

/// Gives the store what one call may use up; a kept one gets it anew for each.
///
/// # Errors
/// The engine refused; a fault of the host.
pub(crate) fn arm(store: &mut Store<State>, time: OwnTime) -> wasmtime::Result<()> {
    let budget = store.data().budget;
    store.set_fuel(budget.fuel)?;
    store.set_hostcall_fuel(budget.host_call_bytes);
    store.set_max_component_handles(budget.handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| tick(&time, budget.time));
    Ok(())
}

/// Takes what host calls cost out of the fuel, on the way back into the sink.
///
/// The hook also sees returns that are no host call of ours (growing a memory, the epoch). Nothing is paid then
/// ([`Tariff::due`](crate::tariff::Tariff::due)), so the fuel of a call stays the same in every repetition.
pub(crate) fn settle(mut store: StoreContextMut<'_, State>, hook: CallHook) -> wasmtime::Result<()> {
    let tariff = &mut store.data_mut().tariff;
    let owed = match hook {
        CallHook::CallingHost => 0,
        CallHook::CallingWasm => {
            tariff.enter();
            0
        }
        CallHook::ReturningFromWasm => {
            tariff.leave();
            0
        }
        CallHook::ReturningFromHost => tariff.due(),
    };
    if owed == 0 {
        return Ok(());
    }
    let left = store.get_fuel()?;
    match left.checked_sub(owed) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

// Every 10 ms of computing: enough is enough, or let the others run.
fn tick(time: &OwnTime, limit: core::time::Duration) -> wasmtime::Result<UpdateDeadline> {
    let spent = time.spent_so_far();
    if spent > limit {
        let detail = format!(
            "it ran for {} ms, the limit is {} ms (--deadline raises it)",
            spent.as_millis(),
            limit.as_millis()
        );
        return Err(Ended::new(FailureKind::Deadline, detail).into());
    }
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

//! What the store of one call holds.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::event::{Binding, Budget, EventKind, Grant, Occasion, Overlay, SinkEntry};
use basin_core::mail::Recipient;
use tracing::{info, warn};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::SinkHost;
use crate::clock::OwnTime;
use crate::ended::Ended;
use crate::files::{Allowance, Files, Gate, Opened};
use crate::host_api::{AuthResults, Drafts, ErrorValue, Hops, MAIN, Others, Parts, Refused, Waited, Writers};
use crate::http::Http;
use crate::limiter::Limiter;
use crate::tariff::Tariff;
use crate::wasi::Wasi;

/// What is logged under this name goes into that part of the audit log which is for clients and sinks.
const AUDIT: &str = "basin::audit::traffic";

/// Audit lines of one call; a sink that tries for ever must not fill the log.
const AUDIT_LINES_MAX: u32 = 4;

/// Things of WASI that a call holds at a time: streams, pollables, requests, lists of header fields. Each may be worth
/// 64 KiB of the host's memory, and a sink needs a handful.
pub(crate) const WASI_HANDLES_MAX: usize = 256;

/// One call: who calls, about what, and what it has used and changed so far.
///
/// There is one session, one command and one message in a call, so the handles of the contract carry no pointers:
/// they are zeros, recipient ids and part numbers, looked up here, beside the number of the call (`handle`). The store
/// may serve another call afterwards; nothing of this one is left in it then but what the sink itself remembers.
pub(crate) struct State {
    pub(crate) sink: Arc<SinkEntry>,
    pub(crate) binding: Arc<Binding>,
    pub(crate) occasion: Arc<Occasion>,
    /// What the sink sees and edits; taken when the call succeeds, dropped with the store when it does not.
    pub(crate) overlay: Box<Overlay>,
    pub(crate) host: Arc<dyn SinkHost>,
    pub(crate) is_read_only: bool,
    pub(crate) budget: Budget,
    pub(crate) limiter: Limiter,
    pub(crate) tariff: Tariff,
    pub(crate) quota: Quota,
    pub(crate) parts: Parts,
    pub(crate) writers: Writers,
    pub(crate) auth_results: AuthResults,
    pub(crate) waited: Waited,
    pub(crate) drafts: Drafts,
    pub(crate) hops: Hops,
    pub(crate) others: Others,
    /// Which message the host call is about (`host_api::which`).
    pub(crate) message_number: u32,
    /// Recipients that the call removed, each with its message; their handles still tell what they were.
    pub(crate) removed: Vec<(u32, Recipient)>,
    pub(crate) denied: u32,
    // A signature was broken in this call, and it was said.
    has_broken: bool,
    // A client was named in this call, and it was said.
    has_identified: bool,
    /// Which call of its instance it is, from 0.
    pub(crate) call_number: u32,
    /// How long the call has been running and waiting.
    pub(crate) time: OwnTime,
    /// Directories that are granted, open.
    pub(crate) opened: Opened,
    /// Where the sink's work with files is done.
    pub(crate) gate: Gate,
    allowance: Arc<Allowance>,
    table: ResourceTable,
    wasi: Option<Wasi>,
    http: Option<Http>,
}

/// What the call has added so far; each has its limit in `basin_core::limits` or in the budget.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// Fields and octets of header blocks, for each message: whoever splits one into a thousand may write to each.
    pub(crate) headers: BTreeMap<u32, (usize, usize)>,
    pub(crate) recipients: usize,
    pub(crate) log_bytes: usize,
    pub(crate) log_lines: usize,
    pub(crate) property_bytes: usize,
    pub(crate) is_log_cut: bool,
    pub(crate) metric_calls: usize,
}

impl State {
    pub(crate) fn new(
        sink: Arc<SinkEntry>,
        binding: Arc<Binding>,
        occasion: Arc<Occasion>,
        overlay: Box<Overlay>,
        host: Arc<dyn SinkHost>,
        budget: Budget,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_HANDLES_MAX);
        let allowance = Arc::<Allowance>::default();
        allowance.renew(host.message_bytes_max(None));
        Self {
            // Whoever is called because it is time has come to do something.
            is_read_only: occasion.event.is_notice() && occasion.event != EventKind::OnTimer,
            limiter: Limiter::new(budget.memory, budget.table_elements, budget.instances),
            sink,
            binding,
            occasion,
            overlay,
            host,
            budget,
            tariff: Tariff::default(),
            quota: Quota::default(),
            parts: Parts::default(),
            writers: Writers::default(),
            auth_results: AuthResults::default(),
            waited: Waited::default(),
            drafts: Drafts::default(),
            hops: Hops::default(),
            others: Others::default(),
            message_number: MAIN,
            removed: Vec::new(),
            denied: 0,
            has_broken: false,
            has_identified: false,
            call_number: 0,
            time: OwnTime::new(),
            opened: Opened::default(),
            gate: Gate::default(),
            allowance,
            table,
            wasi: None,
            http: None,
        }
    }

    /// Makes room for the next call of a kept instance. What belongs to the instance goes over: the memory that it has
    /// grown to, and WASI's streams, which runtimes open once and print to for ever.
    pub(crate) fn renew(&mut self, next: Self) {
        let old = core::mem::replace(self, next);
        self.call_number = old.call_number + 1;
        self.limiter = old.limiter.with_limit(self.budget.memory);
        self.table = old.table;
        // Streams that the instance has kept count on the one that they know.
        self.allowance = old.allowance;
        self.allowance.renew(self.host.message_bytes_max(None));
        if let Some(mut wasi) = old.wasi {
            wasi.renew(self.occasion.now, &self.seed(), &self.sink.grants);
            self.wasi = Some(wasi);
        }
    }

    /// The state, with one more host call noted; every function of the linker goes through it.
    pub(crate) fn counted(&mut self) -> &mut Self {
        self.tariff.call();
        self.message_number = MAIN;
        self
    }

    /// The event of the call.
    pub(crate) fn event(&self) -> EventKind {
        self.occasion.event
    }

    /// Whether the binding grants it.
    pub(crate) fn has(&self, grant: Grant) -> bool {
        self.sink.grants.has(grant)
    }

    /// Ends the call unless the grant is given: nothing is answered empty in place of what is forbidden.
    pub(crate) fn read(&mut self, grant: Grant, what: &str) -> wasmtime::Result<()> {
        if self.has(grant) {
            return Ok(());
        }
        let why = format!("it read {what} without the grant {grant} (--grant {grant} gives it)");
        self.audit(&why);
        Err(Ended::denied(why).into())
    }

    /// Answers `read-only` or `denied` unless the thing may be changed here.
    pub(crate) fn edit(&mut self, grant: Grant) -> Result<(), Refused> {
        self.writable()?;
        if self.has(grant) {
            return Ok(());
        }
        Err(self.deny(format!("needs the grant {grant}")))
    }

    /// Answers `read-only` where the call may change nothing.
    pub(crate) fn writable(&self) -> Result<(), Refused> {
        if self.is_read_only || self.is_about_subject() { Err(ErrorValue::ReadOnly.into()) } else { Ok(()) }
    }

    /// An answer `denied`, counted.
    pub(crate) fn deny(&mut self, why: impl Into<String>) -> Refused {
        let why = why.into();
        self.audit(&why);
        ErrorValue::Denied(why).into()
    }

    /// Counts a denied call and writes its audit line, the first few of a call in full.
    pub(crate) fn audit(&mut self, why: &str) {
        self.denied = self.denied.saturating_add(1);
        if self.denied <= AUDIT_LINES_MAX {
            let message_id = self.overlay.message.as_ref().map(|message| message.id.as_str());
            let (sink, binding, event) = (&self.sink.name, &self.binding.name, self.event().name());
            warn!(target: AUDIT, sink, binding, event, message_id, why, "denied");
        }
    }

    /// Writes the audit line of a call that breaks a signature and may, once. What becomes of the edit the decision says.
    pub(crate) fn signature_broken(&mut self, what: &str) {
        if !core::mem::replace(&mut self.has_broken, true) {
            let message_id = self.overlay.message.as_ref().map(|message| message.id.as_str());
            let (sink, binding, event) = (&self.sink.name, &self.binding.name, self.event().name());
            info!(target: AUDIT, sink, binding, event, message_id, what, "a sink edits what is signed");
        }
    }

    /// Writes the audit line of a sink that says who a client is, once in a call: the last name counts, and the first is
    /// enough to look for. Whether the client is logged in the decision says.
    pub(crate) fn identified(&mut self, user: &str, mechanism: &str) {
        if !core::mem::replace(&mut self.has_identified, true) {
            let (sink, binding) = (&self.sink.name, &self.binding.name);
            let session = self.occasion.session.as_ref().map(|session| session.id.as_str());
            info!(target: AUDIT, sink, binding, session, user, mechanism, "a sink says who a client is");
        }
    }

    /// What WASI keeps for the call, if the sink has used it.
    pub(crate) fn wasi(&self) -> Option<&Wasi> {
        self.wasi.as_ref()
    }

    /// What WASI keeps for the call; made on first use, because most sinks never do.
    pub(crate) fn wasi_mut(&mut self) -> (&mut Wasi, &mut ResourceTable) {
        if self.wasi.is_none() {
            self.wasi = Some(Wasi::new(self.occasion.now, &self.seed(), &self.budget, &self.sink.grants));
        }
        let (occasion, budget, grants) = (&self.occasion, &self.budget, &self.sink.grants);
        (self.wasi.get_or_insert_with(|| Wasi::new(occasion.now, &[], budget, grants)), &mut self.table)
    }

    /// What is left of the time in which the call may wait for the outside world.
    pub(crate) fn patience(&self) -> Duration {
        let waited = self.time.wall().saturating_sub(self.time.spent_so_far());
        self.budget.wait.saturating_sub(waited)
    }

    /// Counts requests over HTTP: what they cost, and those that were denied.
    pub(crate) fn settle_http(&mut self) {
        let Some(http) = &mut self.http else { return };
        let (requests, denials) = (http.unpaid(), http.denials());
        (0..requests).for_each(|_| self.tariff.asked());
        denials.iter().for_each(|why| self.audit(why));
    }

    /// What the call has of files.
    pub(crate) fn files(&mut self) -> Files<'_> {
        self.tariff.call();
        self.settle_files();
        Files { table: &mut self.table, opened: &self.opened, allowance: &self.allowance, gate: &self.gate }
    }

    /// Counts operations with files: what they cost, and those that were denied.
    pub(crate) fn settle_files(&mut self) {
        let bill = self.allowance.bill();
        (0..bill.operations).for_each(|_| self.tariff.operated());
        self.tariff.copied(usize::try_from(bill.octets).unwrap_or(usize::MAX));
        bill.denials.iter().for_each(|why| self.audit(why));
    }

    // What random numbers are made from: the same in every repetition.
    fn seed(&self) -> [String; 3] {
        let message = self.overlay.message.as_ref().map_or("", |message| message.id.as_str());
        [self.sink.name.clone(), self.occasion.idempotency_key.clone(), message.to_owned()]
    }
}

impl WasiView for State {
    // The linker of wasmtime-wasi comes through here once for each of its calls.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.tariff.call();
        self.settle_files();
        let (wasi, table) = self.wasi_mut();
        WasiCtxView { ctx: wasi.context(), table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.tariff.call();
        self.settle_http();
        let patience = self.patience();
        let made = || Http::new(self.sink.clone(), self.host.clone());
        self.http.get_or_insert_with(made).view(&mut self.table, patience)
    }
}

//! Measures one call of a sink that does nothing, at the end of data: a fresh instance each time, everything included.
//!
//! `make hostile && cargo run --release -p basin-sinks --example call_bench [GUEST.wasm] [CALLS]`
//!
//! Prints medians of rounds in microseconds: the whole call as the shell makes it, the instantiation in it, and
//! the same with calls on two threads at once.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basin_core::addr::Address;
use basin_core::event::{
    Answer, Binding, BudgetOverride, EventKind, FailurePolicy, Grants, Mode, Occasion, Overlay, Rule, SessionFacts,
    SinkEntry,
};
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_sinks::{CallRequest, Component, Engine, EngineOptions, LogLevel, LogLine, SinkHost};

/// Rounds of which the median is taken; other work on the machine comes in bursts.
const ROUNDS: usize = 15;

struct Quiet;

impl SinkHost for Quiet {
    fn host_name(&self) -> String {
        "bench.example".into()
    }

    fn is_local_domain(&self, _: &str) -> bool {
        false
    }

    fn is_local_address(&self, _: &str) -> bool {
        false
    }

    fn is_log_enabled(&self, _: &str, _: LogLevel) -> bool {
        false
    }

    fn log(&self, _: &LogLine<'_>) {}

    fn metric_add(&self, _: &str, _: &str, _: u64) {}

    fn metric_observe(&self, _: &str, _: &str, _: f64) {}
}

#[derive(Clone)]
struct Scene {
    engine: Engine,
    component: Arc<Component>,
    sink: Arc<SinkEntry>,
    binding: Arc<Binding>,
    session: Arc<SessionFacts>,
    host: Arc<dyn SinkHost>,
    message: Message,
}

impl Scene {
    // What the shell does for each event: a new occasion, a clone of the overlay, the call, the answer.
    async fn call(&self) -> Result<Duration, Box<dyn Error + Send + Sync>> {
        let occasion = Arc::new(Occasion {
            native_response: Some(Reply::with(250, 0, 0, "taken")),
            session: Some(self.session.clone()),
            ..Occasion::of(EventKind::OnEndOfData, Timestamp::from_seconds(1_800_000_000))
        });
        let overlay = Box::new(Overlay { message: Some(self.message.clone()), ..Overlay::default() });
        let request = CallRequest {
            sink: &self.sink,
            component: &self.component,
            binding: &self.binding,
            occasion: &occasion,
            overlay,
            is_read_only: false,
            scopes: None,
            host: &self.host,
        };
        let report = self.engine.call(request).await;
        match report.answer {
            Answer::Verdict(..) => Ok(report.usage.instantiate),
            Answer::Failed(failure) => Err(format!("{}: {}", failure.kind.word(), failure.detail).into()),
        }
    }

    async fn round(&self, calls: u32) -> Result<Round, Box<dyn Error + Send + Sync>> {
        let (start, processor) = (Instant::now(), processor_time()?);
        let mut instantiate = Duration::ZERO;
        for _ in 0..calls {
            instantiate += self.call().await?;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(calls);
        Ok(Round {
            wall: each(start.elapsed()),
            processor: each(processor_time()?.saturating_sub(processor)),
            instantiate: each(instantiate),
        })
    }
}

/// Microseconds of each call in one round.
#[derive(Clone, Copy)]
struct Round {
    wall: f64,
    processor: f64,
    instantiate: f64,
}

// Of all threads; what other processes take of the machine is not in it.
fn processor_time() -> std::io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += line.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn scene(path: &PathBuf) -> Result<Scene, Box<dyn Error + Send + Sync>> {
    let octets =
        std::fs::read(path).map_err(|error| format!("{}: {error}; `make hostile` builds it", path.display()))?;
    let engine = Engine::new(EngineOptions::default())?;
    let component = engine.load(&octets)?;
    let sink = SinkEntry {
        name: "bench".into(),
        digest: component.digest().to_owned(),
        source: String::new(),
        grants: Grants::everything(),
        budget: BudgetOverride::default(),
        secrets: Default::default(),
        config: BTreeMap::new(),
        is_enabled: true,
    };
    let binding = Binding {
        name: "bench/on-end-of-data".into(),
        sink: "bench".into(),
        event: EventKind::OnEndOfData,
        rule: Rule::default(),
        priority: 0,
        listener: None,
        mode: Mode::Decide,
        instance: Default::default(),
        on_failure: FailurePolicy::Defer,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    };
    let now = Timestamp::from_seconds(1_800_000_000);
    let session = SessionFacts {
        id: "s1".into(),
        listener: "mx".into(),
        client: "192.0.2.7:4000".parse()?,
        server: "192.0.2.1:25".parse()?,
        started: now,
        helo: Some("client.example".into()),
        is_esmtp: true,
        messages: 0,
        errors: 0,
        end_reason: None,
        vouched: Default::default(),
    };
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: now,
        listener: "mx".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(Some(Address::parse("a@client.example")?));
    envelope.add(Address::parse("b@basin.example")?, "b@basin.example".into());
    let mut message = Message::new(MessageId::new(now, 1), arrival, envelope);
    let header = "Received: from a by b\r\nFrom: a@client.example\r\nSubject: bench\r\n".repeat(4);
    message.header = Arc::new(HeaderBlock::parse(&header.into())?);
    message.body = Body::from_bytes(vec![b'x'; 10 * 1024]);
    Ok(Scene {
        engine,
        component,
        sink: Arc::new(sink),
        binding: Arc::new(binding),
        session: Arc::new(session),
        host: Arc::new(Quiet),
        message,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().map_or_else(|| PathBuf::from("target/guests/wasm32-wasip2/release/noop.wasm"), PathBuf::from);
    let calls: u32 = arguments.next().map_or(Ok(2_000), |count| count.parse())?;
    let scene = scene(&path)?;
    println!("{}: {} octets, compiled in {:?}", path.display(), scene.component.size(), scene.component.compile_time());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut single, mut pairs) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        scene.round(calls / 10 + 1).await?;
        for _ in 0..ROUNDS {
            let one = scene.clone();
            single.push(tokio::spawn(async move { one.round(calls).await }).await??);
            let processor = processor_time()?;
            let pair = [scene.clone(), scene.clone()].map(|one| tokio::spawn(async move { one.round(calls).await }));
            for task in pair {
                task.await??;
            }
            pairs.push((processor_time()?.saturating_sub(processor)).as_secs_f64() * 1e6 / f64::from(2 * calls));
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    })?;
    let of = |value: fn(&Round) -> f64| single.iter().map(value).collect::<Vec<_>>();
    let least = of(|round| round.processor).into_iter().fold(f64::INFINITY, f64::min);
    println!(
        "a call:         {:7.2} us of processor time (least round {least:.2})",
        median(of(|round| round.processor))
    );
    println!("                {:7.2} us on the clock", median(of(|round| round.wall)));
    println!("instantiation:  {:7.2} us of that", median(of(|round| round.instantiate)));
    println!("two at a time:  {:7.2} us of processor time each", median(pairs));
    Ok(())
}

//! From what is logged to a line of the audit log.

use core::fmt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{TARGET, TRAFFIC, TRAFFIC_ALONE, Writers, line};

/// Hands what is logged under [`TARGET`] and [`TRAFFIC`] to the journals. Never blocks on the disk.
pub struct AuditLayer {
    writers: Writers,
}

impl AuditLayer {
    pub(super) fn new(writers: Writers) -> Self {
        Self { writers }
    }
}

impl<S: Subscriber> Layer<S> for AuditLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let writer = match event.metadata().target() {
            TARGET => &self.writers.deeds,
            TRAFFIC | TRAFFIC_ALONE => &self.writers.traffic,
            _ => return,
        };
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let what = fields.remove("message");
        let what = what.as_ref().and_then(Value::as_str).unwrap_or_default();
        writer.push(&line(crate::clock::now(), what, fields));
    }
}

/// The fields of what is logged, by their names.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // What there is nothing to say of is not said.
        if !value.is_empty() {
            self.take(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

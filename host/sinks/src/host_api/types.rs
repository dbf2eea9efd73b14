//! `types`: the occasion of a call, and what the server will answer.

use core::time::Duration;

use basin_core::event::{EventKind, Grant};
use basin_core::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, RESPONSE_DELAY_MAX};
use wasmtime::component::Resource;

use super::{Action, Call, ErrorValue, Refused, invalid};
use crate::bindings::basin::sink::types::{Datetime, Error, Host, HostAction, HostCall, Reply};
use crate::convert;
use crate::state::State;

impl Host for State {
    fn convert_error(&mut self, refused: Refused) -> wasmtime::Result<Error> {
        match refused {
            Refused::Answer(value) => Ok(value.0.into()),
            Refused::End(error) => Err(error),
        }
    }
}

impl HostAction for State {
    fn drop(&mut self, _: Resource<Action>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostCall for State {
    fn binding(&mut self, call: Resource<Call>) -> wasmtime::Result<String> {
        self.live(&call)?;
        self.give(self.binding.name.clone())
    }

    fn sink(&mut self, call: Resource<Call>) -> wasmtime::Result<String> {
        self.live(&call)?;
        self.give(self.sink.name.clone())
    }

    fn now(&mut self, call: Resource<Call>) -> wasmtime::Result<Datetime> {
        self.live(&call)?;
        Ok(convert::datetime(self.occasion.now))
    }

    fn raised(&mut self, call: Resource<Call>) -> wasmtime::Result<u32> {
        self.live(&call)?;
        Ok(self.occasion.raised)
    }

    fn idempotency_key(&mut self, call: Resource<Call>) -> wasmtime::Result<String> {
        self.live(&call)?;
        self.give(self.occasion.idempotency_key.clone())
    }

    fn native_response(&mut self, call: Resource<Call>) -> wasmtime::Result<Option<Reply>> {
        self.live(&call)?;
        self.give(self.occasion.native_response.as_ref().map(convert::reply_to_sink))
    }

    fn response(&mut self, call: Resource<Call>) -> wasmtime::Result<Option<Reply>> {
        self.live(&call)?;
        let current = self.overlay.current_response(self.occasion.native_response.as_ref());
        self.give(current.as_ref().map(convert::reply_to_sink))
    }

    fn append_response(&mut self, call: Resource<Call>, text: String) -> Result<(), Refused> {
        self.live(&call)?;
        self.taken(&text);
        self.edit(Grant::Reply)?;
        let native = self.answerable()?;
        let is_line =
            text.len() <= REPLY_LINE_BYTES_MAX && text.bytes().all(|octet| matches!(octet, b'\t' | b' '..=b'~'));
        if !is_line {
            return Err(invalid(format!(
                "a line of a reply is printable ASCII of at most {REPLY_LINE_BYTES_MAX} octets"
            )));
        }
        let present = self.overlay.response.as_ref().map_or(native, |reply| reply.lines().len());
        if present + self.overlay.appended.len() >= REPLY_LINES_MAX {
            return Err(ErrorValue::Limit(format!("a reply has at most {REPLY_LINES_MAX} lines")).into());
        }
        self.overlay.appended.push(convert::reply_line(&text));
        Ok(())
    }

    fn set_response(&mut self, call: Resource<Call>, to: Reply) -> Result<(), Refused> {
        self.live(&call)?;
        self.taken(&to);
        self.edit(Grant::Reply)?;
        self.answerable()?;
        let to = convert::reply_from_sink(to).map_err(invalid)?;
        let native = self.occasion.native_response.as_ref();
        if let Some(native) = native.filter(|native| native.class() != to.class()) {
            let why = format!("the answer is {}, a {} is of another class; use a verdict", native.code(), to.code());
            return Err(invalid(why));
        }
        self.overlay.response = Some(to);
        Ok(())
    }

    fn delay_response(&mut self, call: Resource<Call>, milliseconds: u32) -> Result<(), Refused> {
        self.live(&call)?;
        self.edit(Grant::Reply)?;
        self.answerable()?;
        let delay = self.overlay.delay.saturating_add(Duration::from_millis(u64::from(milliseconds)));
        if delay > RESPONSE_DELAY_MAX {
            let limit = RESPONSE_DELAY_MAX.as_secs();
            return Err(ErrorValue::Limit(format!("the sinks of an event delay an answer by at most {limit} s")).into());
        }
        self.overlay.delay = delay;
        Ok(())
    }

    // There is no answer to say `read-only` in: at a notice, at another event or in observe mode it has no effect.
    fn set_protocol_error(&mut self, call: Resource<Call>) -> wasmtime::Result<()> {
        self.live(&call)?;
        let is_command = matches!(self.event(), EventKind::OnInboundCommand | EventKind::OnInboundInput);
        self.overlay.is_protocol_error |= is_command && !self.is_read_only;
        Ok(())
    }

    fn drop(&mut self, _: Resource<Call>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl State {
    /// Lines of the native answer; `not-found` where no client waits for one that a sink can change.
    fn answerable(&self) -> Result<usize, Refused> {
        let is_asked = matches!(
            self.event(),
            EventKind::OnAuthenticated
                | EventKind::OnInboundCommand
                | EventKind::OnInboundInput
                | EventKind::OnEndOfHeaders
                | EventKind::OnEndOfData
        );
        let native = self.occasion.native_response.as_ref().filter(|_| is_asked).ok_or(ErrorValue::NotFound)?;
        Ok(native.lines().len())
    }
}

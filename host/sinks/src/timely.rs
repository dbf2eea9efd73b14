//! Bodies of answers that are not waited for without end.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// A body that ends in an error when its time is over, whole or between two pieces: a server that sends an octet now
/// and then must not hold a call for longer than one that sends nothing.
pub(crate) struct Timely<B> {
    body: B,
    until: Instant,
    between: Option<Duration>,
    alarm: Pin<Box<Sleep>>,
}

impl<B> Timely<B> {
    /// `until` ends it, and a pause longer than `between` does.
    pub(crate) fn new(body: B, until: Instant, between: Option<Duration>) -> Self {
        Self { body, until, between, alarm: Box::pin(sleep_until(next(until, between))) }
    }
}

fn next(until: Instant, between: Option<Duration>) -> Instant {
    between.and_then(|between| Instant::now().checked_add(between)).map_or(until, |pause| pause.min(until))
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Timely<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            let until = next(self.until, self.between);
            self.alarm.as_mut().reset(until);
            return frame;
        }
        self.alarm.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

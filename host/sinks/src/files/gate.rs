//! Where work with files is done: beside the threads that serve clients, and so much of it at a time.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime_wasi::p2::FsError;

/// Operations with files of one sink at a time. A disk that hangs holds a thread for each, of the five hundred that
/// there are for all such work of the server.
const OPERATIONS_MAX: usize = 16;

/// Lets in so many operations at a time; each sink has one.
///
/// An operation that has begun is not broken off: the system cannot. A call that ends meanwhile does not wait for it, and
/// the operation keeps its place until it is over, so that a sink whose disk hangs holds these threads and no others.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OPERATIONS_MAX)))
    }
}

impl Gate {
    /// Does work that hands what blocks to other threads itself.
    pub(crate) async fn apart<R: Send + 'static>(
        &self,
        work: impl Future<Output = R> + Send + 'static,
    ) -> Result<R, FsError> {
        let places = self.0.clone();
        let working = tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            work.await
        });
        working.await.map_err(FsError::trap)
    }

    /// Begins work that blocks.
    pub(crate) fn begin<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Work<R> {
        let places = self.0.clone();
        Work(tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            spawn_blocking(work).await.ok()
        }))
    }
}

/// Work that has begun.
#[derive(Debug)]
pub(crate) struct Work<R>(JoinHandle<Option<R>>);

impl<R> Work<R> {
    /// Its result; none where the server is ending.
    pub(crate) async fn done(&mut self) -> Option<R> {
        (&mut self.0).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn an_operation_that_hangs_keeps_its_place_when_nobody_waits_for_it_any_more() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let gate = Gate::default();
        runtime.block_on(async {
            let (let_go, held) = channel::<()>();
            let held = Arc::new(std::sync::Mutex::new(held));
            for _ in 0..OPERATIONS_MAX {
                let (held, (begun, has_begun)) = (held.clone(), tokio::sync::oneshot::channel());
                drop(gate.begin(move || {
                    begun.send(()).ok();
                    held.lock().map(|held| held.recv().ok()).ok()
                }));
                has_begun.await.expect("it began");
            }
            assert_eq!(gate.0.available_permits(), 0, "all places are taken by work that was given up");
            let mut next = gate.begin(|| 7);
            drop(let_go);
            assert_eq!(next.done().await, Some(7), "and free again when it is over");
        });
    }
}

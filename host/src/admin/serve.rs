//! The connections of the local HTTP port. Whoever can reach it can open any number and say nothing, so their
//! number and their patience are bounded.

use core::future::Future;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once. A scraper, a watchdog and a few people need no more; what is over it waits in the kernel.
const CONNECTIONS_MAX: usize = 32;

/// How long a request's header may take, the wait for the next request on an open connection included.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Pause after accepting failed, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers under way may take when the server ends.
const ENDING_TIME: Duration = Duration::from_secs(1);

/// Serves pages until `stopped`.
///
/// # Errors
/// The socket cannot be used.
pub(super) async fn serve(
    socket: std::net::TcpListener,
    router: Router,
    stopped: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_patiently(socket, router, HEADER_TIME, stopped).await
}

async fn serve_patiently(
    socket: std::net::TcpListener,
    router: Router,
    header_time: Duration,
    stopped: impl Future<Output = ()>,
) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = GracefulShutdown::new();
    let mut stopped = core::pin::pin!(stopped);
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_time)
            .serve_connection(TokioIo::new(stream), service);
        let watched = open.watch(connection);
        tokio::spawn(async move {
            // What went wrong on one connection is its client's to know.
            drop(watched.await);
            drop(place);
        });
    }
    drop(tokio::time::timeout(ENDING_TIME, open.shutdown()).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_is_sent_away_and_a_request_is_answered() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("can be set");
        let address = socket.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(|| async { "a page" }));
        let served =
            tokio::spawn(serve_patiently(socket, router, Duration::from_secs(1), async { drop(stopped.await) }));
        let mut silent = TcpStream::connect(address).await.expect("connected");
        silent.write_all(b"GET / HT").await.expect("sent");
        let mut asking = TcpStream::connect(address).await.expect("connected");
        asking.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut page = String::new();
        asking.read_to_string(&mut page).await.expect("answered");
        assert!(page.ends_with("a page"), "{page}");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), silent.read_to_end(&mut rest)).await;
        ended.expect("the connection ends").expect("closed in order");
        stop.send(()).expect("it runs");
        served.await.expect("it ends").expect("in order");
    }
}

use basin_core::reply::Reply;
use tokio::net::TcpListener;

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Pair {
    client: TcpStream,
    wire: Wire,
    phase: watch::Sender<Phase>,
}

async fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
    let (stream, _) = listener.accept().await.expect("accepts");
    let (phase, stop) = watch::channel(Phase::Running);
    Pair { client, wire: Wire::new(stream, stop), phase }
}

#[tokio::test]
async fn lines_come_out_one_by_one_however_they_arrive() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    client.write_all(b"EHLO a\r\nMAIL").await.expect("sent");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"EHLO a")));
    assert!(!wire.has_line());
    client.write_all(b" x\r\n\r\na\nb\rc\n\r\n").await.expect("sent");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"MAIL x")));
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"")));
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"a\nb\rc\n")));
    drop(client);
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::None(Pause::Closed)));
}

#[tokio::test]
async fn a_line_over_the_limit_is_dropped_to_its_end_and_takes_no_memory() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    let fits = "a".repeat(COMMAND_LINE_BYTES_MAX - 2);
    let long = "b".repeat(3 * BUFFER_BYTES);
    // Bare line ends do not end it, and its own end may be cut in two wherever the buffer ends.
    let cut = format!("{}\n", "c\r".repeat(BUFFER_BYTES));
    let sent = format!("{fits}\r\n{fits}c\r\n{long}\r\n{cut}NOOP\r\n");
    let send = tokio::spawn(async move {
        client.write_all(sent.as_bytes()).await.expect("sent");
        client
    });
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(line) if line == fits.as_bytes()));
    for _ in 0..3 {
        assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::TooLong));
    }
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"NOOP")));
    assert!(wire.buffer.capacity() <= BUFFER_BYTES);
    assert!(matches!(wire.line(Duration::ZERO, Phase::Draining).await, Line::None(_)));
    assert_eq!(wire.buffer.capacity(), 0, "who waits holds nothing");
    drop(send.await);
}

#[tokio::test]
async fn text_and_the_commands_behind_it_share_the_buffer() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    client.write_all(b"text\r\n.\r\nQUIT\r\n").await.expect("sent");
    let deadline = Instant::now() + LONG;
    assert!(wire.octets(deadline, Phase::Ending).await.expect("input").starts_with(b"text"));
    while !wire.has_line() {
        wire.octets(deadline, Phase::Ending).await.expect("input");
    }
    wire.consume(9);
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"QUIT")));
}

#[tokio::test]
async fn waiting_ends_with_patience_and_with_the_server() {
    let Pair { client, mut wire, phase } = pair().await;
    let short = Duration::from_millis(1);
    assert!(matches!(wire.line(short, Phase::Draining).await, Line::None(Pause::TimedOut)));
    phase.send(Phase::Draining).expect("somebody listens");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::None(Pause::Stopped)));
    drop(client);
}

#[tokio::test]
async fn the_last_reply_arrives_although_input_was_not_read() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    client.write_all(&vec![b'x'; 2 * BUFFER_BYTES]).await.expect("sent");
    let mut outbox = Outbox::new();
    Reply::new(421, None, "closing").encode(&mut outbox.bytes);
    wire.send(&mut outbox).await.expect("sent");
    assert!(outbox.bytes.is_empty());
    let close = tokio::spawn(wire.close(true));
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).await.expect("no reset");
    assert_eq!(String::from_utf8_lossy(&seen), "421 closing\r\n");
    drop(client);
    close.await.expect("closes");
}

#[tokio::test]
async fn input_that_nobody_read_yet_is_noticed() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    assert!(!wire.has_input());
    client.write_all(b"x").await.expect("sent");
    let arrived = async {
        while !wire.has_input() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, arrived).await.expect("it arrives");
}

#[tokio::test]
async fn who_is_turned_away_hears_why() {
    let Pair { mut client, wire, phase: _phase } = pair().await;
    wire.turn_away(b"x\r\n").expect("sent");
    drop(wire);
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.expect("no reset");
    assert_eq!(seen, "x\r\n");
}

#[tokio::test]
async fn who_is_kept_waiting_holds_no_memory_and_waits_once() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    client.write_all(b"NOOP\r\nNO").await.expect("sent");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"NOOP")));
    let mut outbox = Outbox::new();
    Reply::new(250, None, "ok").encode(&mut outbox.bytes);
    outbox.delay = Duration::from_millis(1);
    wire.wait(&mut outbox).await;
    assert!(wire.buffer.capacity() < BUFFER_BYTES && outbox.delay.is_zero());
    wire.send(&mut outbox).await.expect("sent");
    client.write_all(b"OP\r\n").await.expect("sent");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"NOOP")), "what lay there is kept");
}

#[tokio::test]
async fn who_sends_without_a_pause_does_not_keep_a_worker() {
    let Pair { mut client, mut wire, phase: _phase } = pair().await;
    client.write_all(b"EHLO a\r\n").await.expect("sent");
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"EHLO a")));
    client.write_all(b"NOOP\r\n").await.expect("sent");
    tokio::task::yield_now().await;
    // The share of this task is used up; what lies in the socket has to wait for the next turn.
    let has_waited = core::future::poll_fn(|context| {
        while tokio::task::coop::has_budget_remaining() {
            let mut spend = core::pin::pin!(consume_budget());
            if spend.as_mut().poll(context).is_pending() {
                break;
            }
        }
        let mut line = core::pin::pin!(wire.line(LONG, Phase::Draining));
        core::task::Poll::Ready(line.as_mut().poll(context).is_pending())
    })
    .await;
    assert!(has_waited);
    assert!(matches!(wire.line(LONG, Phase::Draining).await, Line::Complete(b"NOOP")));
}

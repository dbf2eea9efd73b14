//! `wasi:http`: whom a sink can ask, what goes over the wire, and what servers that answer badly cost.

use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use basin_core::event::{EventKind, FailureKind, Grant, InstanceMode};

use crate::stage::{Call, ENGINE, Outcome, call, probe};
use crate::web::{Web, dawdle, say};

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

fn grant(address: &str) -> Grant {
    format!("http={address}").parse().expect("a grant")
}

// A call that may speak with loopback at that port.
fn asks(web: &Web, script: &str) -> Call {
    let script = script.replace("HERE", &format!("127.0.0.1:{}", web.port));
    probe(&script).grants(&[grant(&format!("127.0.0.1:{}", web.port))])
}

fn only_line(outcome: &Outcome) -> String {
    outcome.answered();
    assert_eq!(outcome.lines().len(), 1, "{:?}", outcome.lines());
    outcome.lines()[0].to_owned()
}

#[test]
fn a_granted_server_is_asked_and_the_request_is_plain() {
    let web = Web::saying(FINE);
    let call = asks(&web, "http|POST|http://HERE/scan?x=1|X-Id: 7~Content-Length: 5|hello");
    let host = call.host.clone();
    assert_eq!(only_line(&call.run()), "http: ok 200 [fine]");
    let requests = web.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(request.starts_with("POST /scan?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", web.port)), "{request}");
    assert!(request.contains("\r\nx-id: 7\r\n") && request.ends_with("\r\n\r\nhello"), "{request}");
    assert_eq!(*host.connected.lock().unwrap(), [("127.0.0.1".to_owned(), web.port, false, true)]);
}

#[test]
fn without_its_grant_a_request_is_denied_and_counted_and_nobody_is_connected() {
    let web = Web::saying(FINE);
    let port = web.port;
    let here = format!("http|GET|http://127.0.0.1:{port}/");
    let grants: [&[String]; 5] = [
        &[],
        &[format!("127.0.0.1:{}", if port == 1 { 2 } else { 1 })],
        &[format!("127.0.0.2:{port}")],
        &[format!("127.0.0.1:{port}/only*")],
        &[format!("localhost:{port}"), "127.0.0.1".to_owned()],
    ];
    for grants in grants {
        let granted: Vec<Grant> = grants.iter().map(|address| grant(address)).collect();
        let call = probe(&here).grants(&granted);
        let host = call.host.clone();
        let outcome = call.run();
        assert_eq!(only_line(&outcome), "http: failed ErrorCode::HttpRequestDenied", "{grants:?}");
        assert_eq!(outcome.report.usage.denied, 1, "{grants:?}");
        assert!(host.connected.lock().unwrap().is_empty(), "{grants:?}");
    }
    assert!(web.requests().is_empty());
}

#[test]
fn a_component_that_asks_over_http_loads_and_runs_without_the_grant() {
    let outcome = call("rspamd").all_grants().config("url", "http://127.0.0.1:1/").run();
    assert_eq!(outcome.failed().kind, FailureKind::GuestError);
    assert!(outcome.failed().detail.contains("http=127.0.0.1:1"), "{}", outcome.failed().detail);
    assert_eq!(outcome.report.usage.denied, 1);
}

#[test]
fn a_name_that_leads_inside_is_denied_unless_it_is_granted_by_address() {
    let call = probe("http|GET|http://inner.example/\nhttp|GET|http://none.example/").grants(&[
        grant("inner.example"),
        grant("none.example"),
        grant("127.0.0.1"),
    ]);
    let host = call.host.clone();
    let outcome = call.run();
    assert_eq!(
        outcome.lines(),
        ["http: failed ErrorCode::DestinationIpProhibited", "http: failed ErrorCode::DestinationNotFound"]
    );
    assert_eq!(outcome.report.usage.denied, 1);
    let connected = host.connected.lock().unwrap();
    assert!(connected.iter().all(|(_, port, is_tls, may_be_inner)| *port == 80 && !is_tls && !may_be_inner));
}

#[test]
fn https_is_asked_for_and_the_host_field_is_what_was_granted() {
    let call = probe("http|GET|https://scan.example./").grants(&[grant("scan.example")]);
    let host = call.host.clone();
    call.run();
    assert_eq!(*host.connected.lock().unwrap(), [("scan.example".to_owned(), 443, true, false)]);
    let web = Web::saying(FINE);
    let script = format!("http|GET|http://SCAN.example:{}/", web.port);
    probe(&script).grants(&[grant(&format!("scan.example:{}", web.port))]).run();
    let request = web.requests().concat().to_ascii_lowercase();
    assert!(request.contains(&format!("\r\nhost: scan.example:{}\r\n", web.port)), "{request}");
}

#[test]
fn nothing_that_a_sink_writes_makes_a_second_request_or_another_host() {
    let web = Web::saying(FINE);
    for field in ["Host", "Transfer-Encoding", "Connection", "Upgrade", "Proxy-Authorization"] {
        assert_eq!(
            only_line(&asks(&web, &format!("http-field|{field}|x")).run()),
            "http-field: HeaderError::Forbidden"
        );
    }
    for field in ["X-A|b~GET / HTTP/1.1", "X-A~X-B|b", "X A|b", "Content-Length|4, 5", "Content-Length|+4"] {
        let line = only_line(&asks(&web, &format!("http-field|{field}")).run());
        let later = format!("http|POST|http://HERE/|{}|four", field.replace('|', ": "));
        let refused = line == "http-field: HeaderError::InvalidSyntax"
            || (field.starts_with("Content") && !only_line(&asks(&web, &later).run()).contains("ok 200"));
        assert!(refused, "{field}: {line}");
    }
    let user = format!("http|GET|http://evil.example@127.0.0.1:{}/", web.port);
    for (script, answer) in [
        (user.as_str(), "http: failed ErrorCode::HttpRequestUriInvalid"),
        ("http|CONNECT|http://HERE/", "http: failed ErrorCode::HttpRequestMethodInvalid"),
        ("http|GET / HTTP/1.1|http://HERE/", "http: bad method"),
        ("http|GET|http://HERE/a b", "http: bad path"),
        ("http|POST|http://HERE/|Content-Length: 4|", "http: failed ErrorCode::HttpRequestBodySize(Some(0))"),
        ("http|POST|http://HERE/|Content-Length: 4~Content-Length: 9|four", "http: fields HeaderError::InvalidSyntax"),
    ] {
        assert_eq!(only_line(&asks(&web, script).run()), answer, "{script}");
    }
    assert!(web.requests().iter().all(|request| !request.contains("four")), "nothing of these is a request");
}

#[test]
fn no_redirect_is_followed() {
    let web = Web::saying("HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n");
    let call = asks(&web, "http|GET|http://HERE/");
    let host = call.host.clone();
    assert_eq!(only_line(&call.run()), "http: ok 302 http://10.0.0.1/[]");
    assert_eq!(host.connected.lock().unwrap().len(), 1);
}

#[test]
fn a_call_makes_a_bounded_number_of_requests_and_holds_a_bounded_number_of_things() {
    let web = Web::saying(FINE);
    assert_eq!(only_line(&asks(&web, "http-many|12|GET|http://HERE/").run()), "http-many: 10");
    let outcome = asks(&web, "http-requests|5000").run();
    assert!(outcome.failed().detail.contains("more than 256 handles of WASI"), "{}", outcome.failed().detail);
    let scopes = ENGINE.instances().scopes(None);
    let script = "http-many|6|GET|http://HERE/";
    for _ in 0..2 {
        let outcome = asks(&web, script).at(EventKind::OnConnect).instance(InstanceMode::Session, Some(&scopes)).run();
        assert_eq!(only_line(&outcome), "http-many: 6", "each call of an instance has its own");
    }
}

#[test]
fn bodies_have_their_limits_either_way() {
    let web = Web::saying(FINE);
    assert_eq!(only_line(&asks(&web, "http-fill|http://HERE/|3000000").run()), "http-fill: ok 200 [fine]");
    let endless = Web::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        (0..300).for_each(|_| say(stream, &chunk));
    });
    let line = only_line(&asks(&endless, "http|GET|http://HERE/").run());
    assert!(line.contains("broken after 16") && line.contains("exceeds limit: 16777216"), "{line:.200}");
}

#[test]
fn an_answer_that_is_none_is_an_error_of_the_sink_alone() {
    let long = |stream: &mut TcpStream| {
        say(stream, "HTTP/1.1 200 OK\r\n");
        say(stream, &format!("X-A: {}\r\n\r\n", "x".repeat(300_000)));
    };
    let many = |stream: &mut TcpStream| say(stream, &format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(130)));
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nfine12345";
    for (what, web) in [
        ("a long field", Web::start(move |_, stream| long(stream))),
        ("many fields", Web::start(move |_, stream| many(stream))),
        ("two lengths", Web::start(move |_, stream| say(stream, smuggled))),
        ("a body cut off", Web::saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")),
        ("a greeting of SMTP", Web::saying("220 mail.example ESMTP\r\n")),
        ("nothing", Web::saying("")),
    ] {
        let line = only_line(&asks(&web, "http|GET|http://HERE/").run());
        assert!(line.contains("InternalError(Some(") || line.contains("200 broken after 4 octets"), "{what}: {line}");
    }
}

#[test]
fn waiting_for_an_answer_is_no_time_of_the_sink() {
    let web = Web::start(|_, stream| {
        dawdle(Duration::from_millis(400));
        say(stream, FINE);
    });
    // Its own time is a quarter of a second there.
    let outcome = asks(&web, "http|GET|http://HERE/").at(EventKind::OnConnect).run();
    assert_eq!(only_line(&outcome), "http: ok 200 [fine]");
    assert!(
        outcome.report.usage.own < Duration::from_millis(250)
            && outcome.report.usage.wall >= Duration::from_millis(400)
    );
}

// An octet now and then, for longer than anybody waits.
fn trickle(_: &str, stream: &mut TcpStream) {
    say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..100 {
        say(stream, "x");
        dawdle(Duration::from_millis(100));
    }
}

#[test]
fn a_server_that_answers_slowly_ends_in_an_error_within_the_time_for_waiting() {
    let web = Web::start(trickle);
    let outcome = asks(&web, "http|GET|http://HERE/").at(EventKind::OnConnect).run();
    let line = only_line(&outcome);
    assert!(line.starts_with("http: 200 broken after") && line.contains("connection read timeout"), "{line}");
    assert!(outcome.report.usage.wall < Duration::from_secs(6), "{:?}", outcome.report.usage);
}

#[test]
fn a_sink_may_be_less_patient_than_the_server() {
    let silent = Web::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx");
        dawdle(Duration::from_secs(2));
    });
    let line = asks(&silent, "http-patience|100\nhttp|GET|http://HERE/").run().lines()[1].to_owned();
    assert!(line.contains("broken after 1 octets: connection read timeout"), "{line}");
    let mute = Web::start(|_, _| dawdle(Duration::from_secs(2)));
    let line = asks(&mute, "http-patience|100\nhttp|GET|http://HERE/").run().lines()[1].to_owned();
    assert_eq!(line, "http: failed ErrorCode::HttpResponseTimeout");
}

#[test]
fn an_answer_that_nobody_reads_goes_with_its_time() {
    let (told, closed) = channel();
    let web = Web::start(move |_, stream| {
        // Ends when the other side does.
        drop(stream.read(&mut [0]));
        told.send(()).expect("the test waits");
    });
    let scopes = ENGINE.instances().scopes(None);
    let call = asks(&web, "http-leave|GET|http://HERE/").at(EventKind::OnConnect);
    let outcome = call.instance(InstanceMode::Session, Some(&scopes)).run();
    assert_eq!(only_line(&outcome), "http-leave: left");
    // The instance is kept all the while.
    assert_eq!(closed.recv_timeout(Duration::from_secs(8)), Ok(()), "the connection outlives its call");
    drop(scopes);
}

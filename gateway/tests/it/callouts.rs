//! Plugins that call other servers, with real ones.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, config_with_side, settings};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NO: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";

cases! {
    each_engine: [
        the_answer_decides,
        everything_goes_both_ways_but_what_is_the_gateways,
        a_dead_upstream_and_one_that_breaks_off_are_failures,
        a_call_ends_at_its_timeout,
        nothing_is_called_but_what_is_named_or_allowed,
        of_100_calls_at_once_each_is_answered_once,
        a_stream_has_so_many_calls_under_way_and_no_more,
        a_client_that_leaves_ends_its_stream_once,
        an_answer_that_is_too_large_is_a_failure,
        calls_without_end_end_with_the_stream,
        the_builtin_upstream_can_be_called,
    ]
}

const GUEST: &str = "file: ../gateway/tests/guests/callout.wat";

/// A gateway whose plugin may call `side`; `plugin` is the rest of its entry.
fn gateway(engine: &str, plugin: &str, side: SocketAddr, upstream: SocketAddr) -> Gateway {
    let routes = format!("[{{ uri: /*, plugins: {{ tested: }}, upstream: {{ nodes: {{ \"{upstream}\": 1 }} }} }}]");
    let text = config_with_side(&format!("[{{ name: tested, {GUEST}{plugin} }}]"), &routes, side);
    let (settings, sink) = settings(engine, &text).unwrap();
    Gateway::start(settings, sink).unwrap()
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n")
}

fn ask(gateway: &Gateway, fields: &str) -> (u16, String) {
    let mut client = Client::connect(gateway.address);
    client.send(get(fields));
    let response = client.response("GET");
    (response.status, response.text().to_owned())
}

/// What the guest said, without the stream's end.
fn said(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.sink.wait_for("delete", 1);
    let ends = ["done", "log", "delete"];
    let said = lines.into_iter().filter(|line| !ends.contains(&line.callback)).map(|line| line.message).collect();
    gateway.sink.clear();
    said
}

/// An address at which nobody listens.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn passed() -> (u16, String) {
    (200, "ok".to_owned())
}

fn refused() -> (u16, String) {
    (403, "refused".to_owned())
}

fn the_answer_decides(engine: &str) {
    let upstream = Upstream::answering(OK);
    for (answer, expected) in [(OK, passed()), (NO, refused())] {
        let side = Upstream::answering(answer);
        let gateway = gateway(engine, "", side.address, upstream.address);
        for _ in 0..3 {
            assert_eq!(ask(&gateway, "X-Call: side"), expected);
        }
        let requests = side.requests();
        assert_eq!((requests.len(), side.connections()), (3, 1));
        assert_eq!(requests[0].line, "GET /00");
        assert_eq!(requests[0].headers, [("host".to_owned(), "side.test".to_owned())]);
        let word = if answer == OK { "200:ok:" } else { "404:no:" };
        gateway.sink.wait_for("delete", 3);
        assert_eq!(said(&gateway), ["c0", word, "e0"].repeat(3));
    }
    assert_eq!(upstream.requests().len(), 3);
}

fn everything_goes_both_ways_but_what_is_the_gateways(engine: &str) {
    let upstream = Upstream::answering(OK);
    let side = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTrailer: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nt: 7\r\n\r\n",
    );
    let gateway = gateway(engine, "", side.address, upstream.address);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "X-Call: side\r\nX-Full: 1"), passed());
    }
    gateway.sink.wait_for("delete", 2);
    assert_eq!(said(&gateway), ["c0", "200:abcde:7", "e0"].repeat(2));
    assert_eq!(side.connections(), 1);
    let request = &side.requests()[0];
    assert_eq!((request.line.as_str(), request.body.as_slice()), ("POST /00", &b"hello"[..]));
    assert_eq!(request.trailers, [("t".to_owned(), "1".to_owned())]);
    let mut names = request.names();
    names.sort_unstable();
    assert_eq!(names, ["host", "trailer", "transfer-encoding", "x-given"]);
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
}

fn a_dead_upstream_and_one_that_breaks_off_are_failures(engine: &str) {
    let upstream = Upstream::answering(OK);
    let closing = Upstream::start(|mut connection| drop(connection.request()));
    let resetting = Upstream::start(|mut connection| {
        connection.request();
        connection.reset();
    });
    let cut = Upstream::start(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok");
    });
    let garbage = Upstream::start(|mut connection| {
        connection.request();
        connection.send("what?\r\n\r\n");
    });
    for (address, reason) in [
        (dead(), "connection failure"),
        (closing.address, "reset"),
        (resetting.address, "reset"),
        (cut.address, "reset"),
        (garbage.address, "reset"),
    ] {
        let gateway = gateway(engine, "", address, upstream.address);
        assert_eq!(ask(&gateway, "X-Call: side"), refused(), "{reason}");
        assert_eq!(said(&gateway), ["c0", reason, "e0"]);
        assert_eq!(ask(&gateway, "X-Other: 1"), passed());
    }
}

fn a_call_ends_at_its_timeout(engine: &str) {
    let upstream = Upstream::answering(OK);
    let left = Arc::new(AtomicUsize::new(0));
    let silent = Upstream::start({
        let left = Arc::clone(&left);
        move |mut connection| {
            connection.request();
            // Nobody waits for this answer.
            thread::sleep(Duration::from_millis(400));
            connection.send(OK);
            left.fetch_add(usize::from(connection.is_closed_within(Duration::from_secs(5))), Ordering::SeqCst);
        }
    });
    let slow = Upstream::start(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        for _ in 0..100 {
            connection.send("x");
            thread::sleep(Duration::from_millis(20));
        }
    });
    for address in [silent.address, slow.address] {
        let gateway = gateway(engine, ", limits: { callout_timeout: 300ms }", address, upstream.address);
        // 0 is the gateway's own limit.
        for (timeout, limit) in [("200", 200), ("0", 300)] {
            let begin = Instant::now();
            assert_eq!(ask(&gateway, &format!("X-Call: side\r\nX-Timeout: {timeout}")), refused());
            let took = begin.elapsed();
            assert!(took >= Duration::from_millis(limit) && took < Duration::from_secs(3), "{took:?}");
            assert_eq!(said(&gateway), ["c0", "timeout", "e0"]);
        }
        thread::sleep(Duration::from_millis(500));
        assert!(gateway.sink.lines().is_empty());
    }
    assert_eq!(left.load(Ordering::SeqCst), 2);
}

fn nothing_is_called_but_what_is_named_or_allowed(engine: &str) {
    let (upstream, side) = (Upstream::answering(OK), Upstream::answering(OK));
    let address = side.address;
    let closed = gateway(engine, "", dead(), upstream.address);
    for name in [
        address.to_string(),
        format!("http://{address}"),
        format!("side@{address}"),
        format!("{address}/"),
        upstream.address.to_string(),
        "SIDE".to_owned(),
        "side:80".to_owned(),
        "builtin:echo".to_owned(),
        "1".to_owned(),
    ] {
        assert_eq!(ask(&closed, &format!("X-Call: {name}")), refused(), "{name}");
        assert_eq!(said(&closed), ["c2", "e0"]);
    }
    assert_eq!((side.connections(), upstream.connections()), (0, 0));
    let open = gateway(engine, &format!(", allowed_upstreams: [\"{address}\"]"), dead(), upstream.address);
    assert_eq!(ask(&open, &format!("X-Call: {address}")), passed());
    assert_eq!(ask(&open, &format!("X-Call: {}", upstream.address)), refused());
    assert_eq!((side.requests().len(), upstream.requests().len()), (1, 1));
}

fn of_100_calls_at_once_each_is_answered_once(engine: &str) {
    let upstream = Upstream::answering(OK);
    // Those with an odd number break off.
    let side = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            if request.line.ends_with(['1', '3', '5', '7', '9']) {
                return connection.reset();
            }
            connection.send(OK);
        }
    });
    let gateway = gateway(engine, ", limits: { callouts_per_stream: 100 }", side.address, upstream.address);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "X-Call: side\r\nX-Times: 100"), (200, "50".to_owned()));
        let said = said(&gateway);
        let count = |word: &str| said.iter().filter(|line| *line == word).count();
        assert_eq!((count("c0"), count("200:ok:"), count("reset"), count("e0"), said.len()), (100, 50, 50, 1, 201));
    }
    // And from many streams.
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.send(get("X-Call: side"));
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.response("GET").text(), "ok");
    }
    assert!(gateway.sink.crashes().is_empty());
}

fn a_stream_has_so_many_calls_under_way_and_no_more(engine: &str) {
    let (upstream, side) = (Upstream::answering(OK), Upstream::answering(OK));
    let few = gateway(engine, ", limits: { callouts: 3 }", side.address, upstream.address);
    let default = gateway(engine, "", side.address, upstream.address);
    for (gateway, count) in [(few, 3), (default, 32)] {
        assert_eq!(ask(&gateway, "X-Call: side\r\nX-Times: 40"), (200, format!("{count:02}")));
        // 10 in its last digit: over the quota.
        let said = said(&gateway);
        assert_eq!(said.iter().filter(|line| *line == "200:ok:").count(), count);
        assert_eq!(ask(&gateway, "X-Call: side"), passed());
    }
}

fn a_client_that_leaves_ends_its_stream_once(engine: &str) {
    let upstream = Upstream::answering(OK);
    let side = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_millis(500));
        connection.send(OK);
    });
    let gateway = gateway(engine, "", side.address, upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(get("X-Call: side"));
    gateway.sink.wait_for("request_headers", 1);
    thread::sleep(Duration::from_millis(50));
    drop(client);
    gateway.sink.wait_for("delete", 1);
    // The answer finds the plugin, and no stream.
    let lines = gateway.sink.wait_for("http_call_response", 2);
    let story: Vec<_> = lines.iter().map(|line| format!("{}={}", line.callback, line.message)).collect();
    let answer = ["http_call_response=200:ok:", "http_call_response=e2"];
    assert_eq!(story[..4], ["request_headers=c0", "done=d0", "log=l0", "delete=x0"]);
    assert_eq!(story[4..], answer);
    assert_eq!(ask(&gateway, ""), passed());
    assert_eq!(upstream.requests().len(), 1);
}

fn an_answer_that_is_too_large_is_a_failure(engine: &str) {
    let upstream = Upstream::answering(OK);
    let side = Upstream::start(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
        for _ in 0..300 {
            connection.send(&piece);
        }
    });
    let gateway = gateway(engine, "", side.address, upstream.address);
    assert_eq!(ask(&gateway, "X-Call: side"), refused());
    assert_eq!(said(&gateway), ["c0", "response too large", "e0"]);
}

fn calls_without_end_end_with_the_stream(engine: &str) {
    let (upstream, side) = (Upstream::answering(OK), Upstream::answering(OK));
    let gateway = gateway(engine, ", limits: { pause: 500ms }", side.address, upstream.address);
    let begin = Instant::now();
    let looping = thread::spawn({
        let address = gateway.address;
        move || {
            let mut client = Client::connect(address);
            client.send(get("X-Call: side\r\nX-Loop: 1"));
            client.response("GET").status
        }
    });
    // Others have their turn meanwhile.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(&gateway, "X-Call: side"), passed());
    assert_eq!(looping.join().unwrap(), 503);
    assert!(begin.elapsed() < Duration::from_secs(5));
    gateway.sink.wait_for("delete", 2);
    thread::sleep(Duration::from_millis(200));
    let count = side.requests().len();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(side.requests().len(), count);
    assert!(count > 10);
}

fn the_builtin_upstream_can_be_called(engine: &str) {
    let upstream = Upstream::answering(OK);
    let routes =
        format!("[{{ uri: /*, plugins: {{ tested: }}, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let text = crate::config(&format!("[{{ name: tested, {GUEST} }}]"), &routes);
    let text = format!("{text}upstreams: [{{ id: echo, nodes: {{ \"builtin:echo\": 1 }} }}]\n");
    let (settings, sink) = settings(engine, &text).unwrap();
    let gateway = Gateway::start(settings, sink).unwrap();
    assert_eq!(ask(&gateway, "X-Call: echo\r\nX-Full: 1"), passed());
    assert!(said(&gateway)[1].starts_with("200:{\"body\":\"hello\","));
}

//! Plugins that call gRPC servers, with real ones.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::grpc_server::GrpcServer;
use crate::upstream::Upstream;
use crate::{Gateway, config_with_side, settings};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

cases! {
    each_engine: [
        the_answer_of_a_call_decides,
        the_request_is_as_grpc_has_it,
        calls_share_one_connection,
        a_call_that_fails_is_closed_with_status_and_words,
        bad_answers_are_failures,
        messages_may_be_cut_anyhow,
        a_call_ends_at_its_timeout_and_its_server_knows,
        a_stream_goes_both_ways_until_its_end,
        a_stream_may_be_closed_at_once,
        a_stream_that_fails_is_closed_with_its_status,
        what_is_cancelled_is_reset_and_nothing_is_told_of_it,
        a_connection_that_dies_closes_its_streams,
        a_dead_upstream_is_unavailable_and_one_without_http2_too,
        a_server_that_does_not_read_fills_the_quota,
        a_server_that_sends_for_ever_is_stopped_by_its_guest,
        streams_end_with_their_vm,
    ]
}

const GUEST: &str = "file: ../gateway/tests/guests/grpc.wat";

fn gateway(engine: &str, plugin: &str, side: SocketAddr) -> Gateway {
    let upstream = Upstream::answering(OK);
    let routes =
        format!("[{{ uri: /*, plugins: {{ tested: }}, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let text = config_with_side(&format!("[{{ name: tested, {GUEST}{plugin} }}]"), &routes, side);
    let (settings, sink) = settings(engine, &text).unwrap();
    Gateway::start(settings, sink).unwrap()
}

/// Has the guest do this with a method; the client's answer.
fn act(gateway: &Gateway, letters: &str, method: &str, more: &str) -> (u16, String) {
    let mut client = Client::connect(gateway.address);
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\nX-Do: {letters}\r\nX-Method: {method}\r\n{more}\r\n"));
    let response = client.response("GET");
    (response.status, response.text().to_owned())
}

/// What the guest says until so many calls and streams are closed, or have ended with trailing metadata.
fn said(gateway: &Gateway, last: &str) -> Vec<String> {
    let lines = gateway.sink.wait_for(last, 1);
    let said = lines.into_iter().map(|line| line.message).collect();
    gateway.sink.clear();
    said
}

const CLOSE: &str = "grpc_close";
const TRAILING: &str = "grpc_receive_trailing_metadata";

fn refused(words: &str) -> (u16, String) {
    (403, words.to_owned())
}

fn passed() -> (u16, String) {
    (200, "ok".to_owned())
}

fn the_answer_of_a_call_decides(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    for _ in 0..3 {
        assert_eq!(act(&gateway, "cp", "Echo", ""), passed());
        assert_eq!(said(&gateway, TRAILING), ["c0", "1", "hello", "2"]);
    }
    assert_eq!(act(&gateway, "cp", "Only", ""), refused("no way"));
    assert_eq!(said(&gateway, CLOSE), ["c0", "07:no way"]);
}

fn the_request_is_as_grpc_has_it(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "cp", "Echo", "");
    act(&gateway, "sep", "Echo", "");
    let lines = server.lines();
    let fields = |timeout: &str| {
        format!(
            "POST /test.Service/Echo te: trailers, {timeout}content-type: application/grpc, x-given: 1, x-bin: AAE="
        )
    };
    assert_eq!(
        lines[..3],
        ["connection".to_owned(), fields("grpc-timeout: 2000m, "), "message \\x00\\x00\\x00\\x00\\x05hello".to_owned()]
    );
    assert!(lines.contains(&fields("")), "{lines:?}");
}

fn calls_share_one_connection(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    assert_eq!(act(&gateway, "cccccccccccccccccccccccccccccccccc", "Echo", ""), passed());
    let lines = gateway.sink.wait_for(TRAILING, 32);
    // 32 per stream, and no more.
    assert_eq!(lines.iter().filter(|line| line.message == "hello").count(), 32);
    assert_eq!(lines.iter().filter(|line| line.message == "c:").count(), 2);
    assert_eq!(server.lines().iter().filter(|line| *line == "connection").count(), 1);
}

fn a_call_that_fails_is_closed_with_status_and_words(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    for (method, words) in [
        ("Only", "07:no way"),
        ("Failing", "05:none/there"),
        ("Odd", "02:no status"),
        ("Http404", "12:HTTP status 404"),
        ("Http503", "14:HTTP status 503"),
        ("Http401", "16:HTTP status 401"),
        ("Http418", "02:HTTP status 418"),
        ("Refused", "14:reset"),
        ("Calm", "08:reset"),
    ] {
        assert_eq!(act(&gateway, "cp", method, ""), refused(&words[3..]), "{method}");
        assert_eq!(said(&gateway, CLOSE), ["c0", words]);
    }
}

fn bad_answers_are_failures(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    for (method, words) in [
        ("Nothing", "13:no message"),
        ("Several", "13:more than one message"),
        ("Compressed", "13:compressed message"),
        ("Coded", "12:compressed message"),
        ("Invalid", "13:invalid frame"),
        ("Large", "08:message too large"),
        ("Cut", "13:incomplete message"),
    ] {
        assert_eq!(act(&gateway, "cp", method, ""), refused(&words[3..]), "{method}");
        assert_eq!(said(&gateway, CLOSE), ["c0", words]);
    }
    for (method, words) in [
        ("Compressed", "13:compressed message"),
        ("Invalid", "13:invalid frame"),
        ("Large", "08:message too large"),
        ("Cut", "13:incomplete message"),
    ] {
        act(&gateway, "s", method, "");
        assert_eq!(said(&gateway, CLOSE), ["s0", "1", words]);
    }
    // Whatever came on it, the connection is as good as before.
    assert_eq!(act(&gateway, "cp", "Echo", ""), passed());
    assert_eq!(server.lines().iter().filter(|line| *line == "connection").count(), 1);
}

fn messages_may_be_cut_anyhow(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "cp", "Pieces", "");
    assert_eq!(said(&gateway, TRAILING), ["c0", "1", "pieces", "2"]);
    act(&gateway, "s", "Several", "");
    assert_eq!(said(&gateway, CLOSE), ["s0", "1", "a", "", "bc", "2", "00:"]);
}

fn a_call_ends_at_its_timeout_and_its_server_knows(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    let begin = Instant::now();
    assert_eq!(act(&gateway, "cp", "Silent", "X-Timeout: 200\r\n"), refused("timeout"));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(said(&gateway, CLOSE), ["c0", "04:timeout"]);
    server.wait_for("reset CANCEL");
    assert!(server.lines()[1].contains("grpc-timeout: 200m"));
}

fn a_stream_goes_both_ways_until_its_end(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    // Each answer is a reason to send the last message.
    assert_eq!(act(&gateway, "sm", "Echo", "X-Then: e\r\n"), passed());
    let said = said(&gateway, CLOSE);
    assert_eq!(said, ["s0", "m0", "1", "hello", "e0", "hello", "e2", "2", "00:"]);
    server.wait_for("end");
    // The messages are whole, however large they are.
    act(&gateway, "smmmh", "Sum", "");
    assert_eq!(self::said(&gateway, CLOSE), ["s0", "m0", "m0", "m0", "h0", "1", "30", "2", "00:"]);
}

fn a_stream_may_be_closed_at_once(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "sh", "Echo", "");
    assert_eq!(said(&gateway, CLOSE), ["s0", "h0", "1", "2", "00:"]);
    act(&gateway, "se", "Echo", "");
    assert_eq!(said(&gateway, CLOSE), ["s0", "e0", "1", "hello", "2", "00:"]);
}

fn a_stream_that_fails_is_closed_with_its_status(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    for (method, story) in [
        ("Only", &["s0", "2", "07:no way"][..]),
        ("Failing", &["s0", "1", "a", "2", "05:none/there"]),
        ("Odd", &["s0", "1", "a", "2", "02:no status"]),
        ("Http404", &["s0", "12:HTTP status 404"]),
        ("Refused", &["s0", "14:reset"]),
    ] {
        act(&gateway, "s", method, "");
        assert_eq!(said(&gateway, CLOSE), story, "{method}");
    }
}

fn what_is_cancelled_is_reset_and_nothing_is_told_of_it(engine: &str) {
    for letters in ["c", "s", "sm"] {
        let server = GrpcServer::start();
        let gateway = gateway(engine, "", server.address);
        act(&gateway, letters, "Silent", "");
        thread::sleep(Duration::from_millis(100));
        act(&gateway, "x", "Silent", "");
        server.wait_for("reset CANCEL");
        thread::sleep(Duration::from_millis(50));
        let lines = gateway.sink.lines();
        assert!(!lines.iter().any(|line| line.callback.starts_with("grpc")), "{lines:?}");
        assert_eq!(lines.last().unwrap().message, "x0");
    }
}

fn a_connection_that_dies_closes_its_streams(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "s", "Dies", "");
    assert_eq!(said(&gateway, CLOSE), ["s0", "1", "last words", "14:connection ended"]);
    // The next one makes another connection.
    assert_eq!(act(&gateway, "cp", "Echo", ""), passed());
    assert_eq!(server.lines().iter().filter(|line| *line == "connection").count(), 2);
    gateway.sink.clear();
    assert_eq!(act(&gateway, "cp", "Dies", ""), refused("connection ended"));
    assert_eq!(said(&gateway, CLOSE), ["c0", "14:connection ended"]);
}

fn a_dead_upstream_is_unavailable_and_one_without_http2_too(engine: &str) {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let old = Upstream::start(|mut connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        thread::sleep(Duration::from_millis(200));
    });
    for (side, words) in [(dead, "connection failure"), (old.address, "connection ended")] {
        let gateway = gateway(engine, "", side);
        assert_eq!(act(&gateway, "cp", "Echo", ""), refused(words));
        gateway.sink.clear();
        act(&gateway, "s", "Echo", "");
        assert_eq!(said(&gateway, CLOSE), ["s0".to_owned(), format!("14:{words}")]);
    }
}

fn a_server_that_does_not_read_fills_the_quota(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, ", limits: { callout_bytes: 1MiB }", server.address);
    act(&gateway, "sf", "Deaf", "");
    gateway.sink.wait_for("grpc_receive_initial_metadata", 1);
    thread::sleep(Duration::from_millis(200));
    // What the connection has taken made some room, and no more is taken.
    act(&gateway, "f", "Deaf", "");
    thread::sleep(Duration::from_millis(100));
    act(&gateway, "f", "Deaf", "");
    act(&gateway, "x", "Deaf", "");
    server.wait_for("reset CANCEL");
    let said: Vec<_> = gateway.sink.lines().into_iter().map(|line| line.message).collect();
    assert_eq!(said, ["s0", "f:", "1", "f:", "f:", "x0"]);
    // A stream that ends gives back its room; a server that reads takes all.
    act(&gateway, "sfh", "Sum", "");
    gateway.sink.wait_for(CLOSE, 1);
    let sum = gateway.sink.lines().into_iter().rfind(|line| line.callback == "grpc_receive").unwrap();
    // 15 messages of 64 KiB fit, with their frames.
    assert_eq!(sum.message, (15 * (5 + (64 << 10))).to_string());
}

fn a_server_that_sends_for_ever_is_stopped_by_its_guest(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "s", "Endless", "");
    gateway.sink.wait_for("grpc_receive", 200);
    // Others have their turn meanwhile.
    let begin = Instant::now();
    act(&gateway, "x", "Endless", "");
    assert!(begin.elapsed() < Duration::from_secs(2));
    server.wait_for("sent much");
    thread::sleep(Duration::from_millis(100));
    let count = gateway.sink.lines().len();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(gateway.sink.lines().len(), count);
}

fn streams_end_with_their_vm(engine: &str) {
    let server = GrpcServer::start();
    let gateway = gateway(engine, "", server.address);
    act(&gateway, "s", "Silent", "");
    server.wait_for("POST /test.Service/Silent te: trailers, content-type: application/grpc, x-given: 1, x-bin: AAE=");
    act(&gateway, "!", "Silent", "");
    server.wait_for("reset CANCEL");
}

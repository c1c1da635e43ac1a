//! Requests that are refused before anything of them is acted on.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::Gateway;
use crate::client::Client;
use crate::upstream::Upstream;

cases! {
    once: [
        malformed_heads_are_answered_and_reach_no_upstream,
        a_bad_request_behind_good_ones_costs_them_nothing,
        a_client_that_drips_its_head_gets_408,
        limits_on_heads_may_be_higher_than_by_default,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn malformed_heads_are_answered_and_reach_no_upstream() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let (many, long) = ("X: y\r\n".repeat(101), format!("X: {}\r\n", "x".repeat(100 << 10)));
    let uri = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(64 << 10));
    let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (request, status) in [
        (head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        (head("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        (head("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (head("Content-Length: +5\r\n"), 400),
        (head("Content-Length: 5, 5\r\n"), 400),
        (head("Content-Length : 5\r\n"), 400),
        (head("Transfer-Encoding : chunked\r\n"), 400),
        (head("Transfer-Encoding: xchunked\r\n"), 501),
        (head("Host: a\r\n"), 400),
        (head("A: b\r\n c\r\n"), 400),
        (head("A: b\nB: c\r\n"), 400),
        (head("A: b\rB: c\r\n"), 400),
        (head("A: b\0c\r\n"), 400),
        (head("A\0: b\r\n"), 400),
        (head("A b: c\r\n"), 400),
        (head("no colon\r\n"), 400),
        (head(": empty\r\n"), 400),
        (head("\u{fc}: b\r\n"), 400),
        (head(&many), 431),
        (head(&long), 431),
        (uri, 414),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
        ("G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}".into(), 400),
    ] {
        let shown = &request[..request.len().min(70)];
        for pieces in [false, true] {
            let mut client = Client::connect(gateway.address);
            if pieces {
                for piece in request.as_bytes().chunks(request.len().div_ceil(20)) {
                    // The answer may come before the end.
                    let _ = client.socket().write_all(piece);
                    thread::sleep(Duration::from_millis(1));
                }
            } else {
                client.send(&request);
            }
            let response = client.response("POST");
            assert_eq!((response.status, response.complete), (status, true), "{shown:?} {pieces}");
            assert!(client.is_closed(), "{shown:?}");
        }
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(Client::connect(gateway.address).get("/").status, 200);
}

fn a_bad_request_behind_good_ones_costs_them_nothing() {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(50));
            connection.send(OK);
        }
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    let good = "POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    client.send(format!("{good}{good}GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /worse HTTP/1.1\r\n\r\n"));
    assert_eq!(client.response("POST").text(), "ok");
    assert_eq!(client.response("POST").text(), "ok");
    let refused = client.response("GET");
    assert_eq!((refused.status, refused.header("connection")), (400, Some("close")));
    assert!(refused.text().contains("host must be given once"), "{}", refused.text());
    assert!(client.is_closed());
    assert!(upstream.requests().iter().all(|request| request.line == "POST /good"));
    assert_eq!(upstream.requests().len(), 2);
}

fn a_client_that_drips_its_head_gets_408() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::with(
        &format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address),
        |settings| settings.client.head = Duration::from_millis(300),
    );
    // The second time behind a request that was fine.
    for first in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = Client::connect(gateway.address);
        client.send(first);
        if !first.is_empty() {
            assert_eq!(client.response("GET").status, 200);
            thread::sleep(Duration::from_millis(400));
        }
        let mut sender = client.socket().try_clone().unwrap();
        let started = Instant::now();
        let drip = thread::spawn(move || {
            let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
            for byte in bytes.take(200) {
                if sender.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(client.response("GET").status, 408);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_millis(1500), "{took:?}");
        drop(client);
        drip.join().unwrap();
    }
    // Who says nothing is not answered.
    let mut client = Client::connect(gateway.address);
    assert!(client.is_closed());
}

fn limits_on_heads_may_be_higher_than_by_default() {
    let gateway = Gateway::with("[{ uri: /*, upstream: { nodes: { \"builtin:echo\": 1 } } }]", |settings| {
        settings.head.lines = 300;
    });
    for (lines, status) in [(300, 200), (301, 431)] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(lines - 1)));
        assert_eq!(client.response("GET").status, status, "{lines}");
    }
}

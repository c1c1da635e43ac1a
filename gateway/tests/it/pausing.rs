//! Requests that plugins hold back.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

cases! {
    each_engine: [
        a_paused_request_stops_no_other,
        the_timer_resumes_each_request_once,
        continue_within_the_callback_undoes_its_pause,
        a_pause_ends_at_its_limit,
        a_response_that_has_begun_breaks_off_at_the_limit,
        a_client_that_leaves_ends_its_paused_stream,
        a_paused_request_ends_when_the_gateway_stops,
        a_request_whose_response_has_ended_is_not_held,
    ]
}

fn get(act: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\n\r\n")
}

fn a_paused_request_stops_no_other(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, &format!("{SCRIPT}, limits: {{ pause: 500ms }}"), "", upstream.address);
    let mut paused: Vec<Client> = (0..20).map(|_| Client::connect(gateway.address)).collect();
    paused.iter_mut().for_each(|client| client.send(get("p")));
    gateway.sink.wait_for("request_headers", 20);
    let mut client = Client::connect(gateway.address);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(upstream.requests().len(), 20);
    for client in &mut paused {
        assert_eq!(client.response("GET").status, 503);
    }
}

fn the_timer_resumes_each_request_once(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, "file: wat/pause-tick.wat", "", upstream.address);
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let address = gateway.address;
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..5 {
                    assert_eq!(client.get("/").text(), "ok");
                    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
                    assert_eq!(client.response("POST").text(), "ok");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let requests = upstream.requests();
    assert_eq!(requests.len(), 100);
    assert_eq!(requests.iter().filter(|request| request.body == b"hello").count(), 50);
    let lines = gateway.sink.lines();
    assert_eq!(lines.len(), 100);
    assert!(lines.iter().all(|line| line.callback == "tick" && line.message == "continued by the timer"));
}

fn continue_within_the_callback_undoes_its_pause(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    for act in ["k", ".k", "...k", "....k", "kk.kk"] {
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.response("POST").text(), "ok", "{act}");
    }
    assert!(upstream.requests().iter().all(|request| request.body == b"hello"));
    assert_eq!(upstream.requests().len(), 5);
}

fn a_pause_ends_at_its_limit(engine: &str) {
    let upstream = Upstream::answering(OK);
    let limit = Duration::from_millis(200);
    let gateway = Gateway::through(engine, &format!("{SCRIPT}, limits: {{ pause: 200ms }}"), "", upstream.address);
    let mut client = Client::connect(gateway.address);
    // In the request's headers and body, and in the response's as long as it has not begun.
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let sized = "Content-Length: 5\r\n\r\nhello";
    for (act, framing) in [
        ("p", sized),
        (".p", sized),
        (".p", chunked),
        ("pp", sized),
        ("pp", chunked),
        ("...p", sized),
        ("....p", sized),
        ("...pp", chunked),
    ] {
        gateway.sink.clear();
        let begin = Instant::now();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\n{framing}"));
        let response = client.response("POST");
        let took = begin.elapsed();
        assert_eq!((response.status, response.complete), (503, true), "{act}");
        assert!(took >= limit && took < limit * 5, "{act}: {took:?}");
        // The plugin is not shown the answer, and its context is gone.
        let story = gateway.sink.story();
        let shown = if act.starts_with("...") { 1 } else { 0 };
        let responses = story.iter().filter(|line| line.starts_with("response_headers")).count();
        assert_eq!(responses, shown, "{act}: {story:?}");
    }
    assert_eq!(upstream.requests().len(), 3);
    assert!(gateway.sink.crashes().is_empty());
    assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
}

fn a_response_that_has_begun_breaks_off_at_the_limit(engine: &str) {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::through(engine, &format!("{SCRIPT}, limits: {{ pause: 200ms }}"), "", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(get("....p"));
    let response = client.response("GET");
    assert_eq!((response.status, response.body.len(), response.complete), (200, 0, false));
    assert!(client.is_closed());
    gateway.sink.wait_for("delete", 1);
}

fn a_client_that_leaves_ends_its_paused_stream(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    // Paused in each direction; the response's headers and body.
    for act in ["p", "...p", "....p"] {
        gateway.sink.clear();
        let mut client = Client::connect(gateway.address);
        client.send(get(act));
        gateway.sink.wait_for(if act == "p" { "request_headers" } else { "response_headers" }, 1);
        thread::sleep(Duration::from_millis(50));
        let left = Instant::now();
        drop(client);
        let lines = gateway.sink.wait_for("delete", 1);
        assert!(left.elapsed() < Duration::from_secs(1), "{act}");
        let last: Vec<_> = lines[lines.len() - 3..].iter().map(|line| line.callback).collect();
        assert_eq!(last, ["done", "log", "delete"]);
        assert!(lines.iter().all(|line| line.context == lines[0].context));
    }
    assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
}

fn a_paused_request_ends_when_the_gateway_stops(engine: &str) {
    let upstream = Upstream::answering(OK);
    let mut gateway = Gateway::through(engine, &format!("{SCRIPT}, limits: {{ pause: 300ms }}"), "", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(get("p"));
    gateway.sink.wait_for("request_headers", 1);
    let begin = Instant::now();
    gateway.server.take().unwrap().shut_down().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(client.response("GET").status, 503);
    // The last stream's end was told, too.
    assert_eq!(gateway.sink.story()[1..], ["done=1", "log=1", "delete=1", "done=1", "delete=1"]);
}

fn a_request_whose_response_has_ended_is_not_held(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        connection.head();
        connection.send(OK);
        thread::sleep(Duration::from_secs(10));
    });
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    // Its body is held by the plugin when the upstream answers, and nobody waits for it any more.
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nX-Act: .p\r\n{chunked}"));
    assert_eq!(client.response("POST").text(), "ok");
    gateway.sink.wait_for("delete", 1);
}

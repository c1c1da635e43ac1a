//! Answers that plugins give instead of the upstream, and what becomes of the upstream's failures.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const STREAMED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

cases! {
    each_engine: [
        a_plugin_answers_from_any_callback,
        a_response_that_has_begun_cannot_be_answered_any_more,
        an_answer_cancels_the_upstream,
        a_closed_stream_gets_no_answer,
        plugins_see_their_own_answers,
        plugins_see_the_failures_of_the_upstream,
        an_upstream_that_breaks_off_never_looks_complete,
        a_request_that_breaks_off_ends_its_stream,
    ]
}

fn post(act: &str, framing: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\n{framing}")
}

const SIZED: &str = "Content-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\n";

fn a_plugin_answers_from_any_callback(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "teapot", upstream.address);
    let mut client = Client::connect(gateway.address);
    for (act, framing) in [
        ("a", SIZED),
        (".a", SIZED),
        ("pa", SIZED),
        (".a", CHUNKED),
        ("..a", CHUNKED),
        ("...a", SIZED),
        ("....a", SIZED),
    ] {
        client.send(post(act, framing));
        let response = client.response("POST");
        assert_eq!((response.status, response.text()), (418, "teapot"), "{act}");
        assert_eq!(response.header("content-length"), Some("6"), "{act}");
        assert_eq!(client.get("/").text(), "ok", "{act}");
    }
    assert!(gateway.sink.crashes().is_empty());
}

fn a_response_that_has_begun_cannot_be_answered_any_more(engine: &str) {
    let upstream = Upstream::answering(STREAMED);
    let gateway = Gateway::through(engine, SCRIPT, "teapot", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(post("....a", SIZED));
    let response = client.response("POST");
    assert_eq!((response.status, response.text(), response.complete), (200, "ok", true));
    assert_eq!(client.get("/").status, 200);
}

fn an_answer_cancels_the_upstream(engine: &str) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |mut connection| {
        connection.head();
        connection.line();
        connection.line();
        tell.lock().unwrap().send(connection.is_closed_within(Duration::from_secs(5))).unwrap();
    });
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    // The request is under way when its trailers are answered.
    client.send(post("..a", "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    thread::sleep(Duration::from_millis(100));
    client.send("0\r\nx: 1\r\n\r\n");
    assert_eq!(client.response("POST").status, 418);
    assert!(told.recv_timeout(Duration::from_secs(6)).unwrap());
}

fn a_closed_stream_gets_no_answer(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    for act in ["c", ".c", "...c", "....c"] {
        gateway.sink.clear();
        let mut client = Client::connect(gateway.address);
        client.send(post(act, SIZED));
        assert_eq!(client.try_response("POST"), None, "{act}");
        gateway.sink.wait_for("delete", 1);
    }
    assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
}

fn plugins_see_their_own_answers(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::with_plugins(
        engine,
        &format!(
            "[{{ name: first, {SCRIPT}, priority: 3 }}, {{ name: answers, file: rust/prime-auth.wasm, priority: 2 }},
              {{ name: never, {SCRIPT}, priority: 1 }}, {{ name: add, file: rust/add-header.wasm, priority: 4 }}]"
        ),
        &format!(
            "[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }},
                plugins: {{ first: {{}}, answers: {{}}, never: {{}}, add: {{ conf: \"x-added: 1\" }} }} }}]",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    let response = client.get("/");
    assert_eq!((response.status, response.header("x-added")), (403, Some("1")));
    let lines = gateway.sink.wait_for("delete", 1);
    assert!(lines.iter().all(|line| line.plugin == "first"), "{lines:?}");
    assert_eq!(
        gateway.sink.story(),
        ["request_headers=1", "response_headers=0", "response_body=1", "done=1", "log=1", "delete=1"]
    );
    assert!(upstream.requests().is_empty());
}

/// As in Envoy, where an upstream's failure is a local reply that passes the filters on its way back.
fn plugins_see_the_failures_of_the_upstream(engine: &str) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(5));
    });
    let broken = Upstream::start(|mut connection| {
        connection.request();
    });
    for (address, status) in [(closed, 502), (broken.address, 502), (silent.address, 504)] {
        let gateway = Gateway::through(engine, SCRIPT, "teapot", address);
        let mut client = Client::connect(gateway.address);
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = client.response("GET");
        assert_eq!(response.status, status);
        assert!(response.text().starts_with(&format!("{{\"error_msg\":\"{status} ")), "{}", response.text());
        let expected = ["request_headers=1", "response_headers=0", "response_body=1", "done=1", "log=1", "delete=1"];
        assert_eq!(gateway.sink.story(), expected);
        // A plugin can answer in its place, and the connection stays.
        client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Act: ...a\r\n\r\n");
        let response = client.response("GET");
        assert_eq!((response.status, response.text()), (418, "teapot"));
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response("HEAD").status, status);
        client.send(post("", SIZED));
        assert_eq!(client.response("POST").status, status);
    }
}

fn an_upstream_that_breaks_off_never_looks_complete(engine: &str) {
    for (head, status) in
        [("Transfer-Encoding: chunked", 200), ("Content-Length: 100000", 200), ("Content-Length: 100", 502)]
    {
        let upstream = Upstream::start(move |mut connection| {
            connection.request();
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok\r\n"));
        });
        let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
        let mut client = Client::connect(gateway.address);
        let response = client.get("/");
        // What was not begun yet can still be answered.
        assert_eq!((response.status, response.complete), (status, status == 502), "{head}");
        gateway.sink.wait_for("delete", 1);
    }
}

fn a_request_that_breaks_off_ends_its_stream(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    for (framing, status) in [
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloxx5\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nz\r\n", 400),
    ] {
        for act in ["", ".e", "p"] {
            gateway.sink.clear();
            let mut client = Client::connect(gateway.address);
            client.send(post(act, framing));
            assert_eq!(client.response("POST").status, status, "{act}");
            gateway.sink.wait_for("delete", 1);
            assert!(client.is_closed());
        }
    }
    // One that leaves in the middle of its body.
    for act in ["", ".e", "p"] {
        gateway.sink.clear();
        let mut client = Client::connect(gateway.address);
        client.send(post(act, "Content-Length: 100\r\n\r\nhello"));
        gateway.sink.wait_for("request_body", 1);
        drop(client);
        gateway.sink.wait_for("delete", 1);
    }
    assert!(upstream.requests().is_empty());
}

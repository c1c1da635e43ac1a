//! Requests and responses that are as they should be.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::Gateway;
use crate::client::Client;
use crate::upstream::Upstream;

cases! {
    once: [
        a_request_arrives_as_it_was_sent,
        connections_are_kept_on_both_sides,
        no_connection_is_kept_for_no_time_and_any_is_for_very_long,
        pipelined_requests_are_answered_in_order,
        request_bodies_keep_their_framing,
        what_is_meant_for_the_neighbour_is_not_passed_on,
        responses_of_every_framing,
        trailers_pass_both_ways,
        routes_decide_and_what_has_none_is_404,
        old_clients_are_served,
        a_client_that_expects_100_continue_gets_it,
        requests_are_shared_out_by_weight,
        the_built_in_echo_tells_what_it_got,
        large_bodies_stream_both_ways,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn a_request_arrives_as_it_was_sent() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("GET /a/b%20c?x=/../%41&y HTTP/1.1\r\nHost: example.com:8\r\nB: 1\r\nA: 2\r\nb: 3\r\nX-Empty:\r\nX-Bytes: \u{e4}\r\n\r\n");
    assert_eq!(client.response("GET").text(), "ok");
    let request = &upstream.requests()[0];
    assert_eq!(request.line, "GET /a/b%20c?x=/../%41&y");
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(headers, ["host=example.com:8", "b=1", "b=3", "a=2", "x-empty=", "x-bytes=\u{e4}"]);
}

fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    for _ in 0..3 {
        let mut client = Client::connect(gateway.address);
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "ok");
        }
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (60, 1));
}

fn no_connection_is_kept_for_no_time_and_any_is_for_very_long() {
    for (age, connections) in [(Duration::ZERO, 5), (Duration::MAX, 1)] {
        let upstream = Upstream::answering(OK);
        let routes = format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
        let gateway = Gateway::with(&routes, |settings| settings.pool.age = age);
        let mut client = Client::connect(gateway.address);
        (0..5).for_each(|_| assert_eq!(client.get("/").text(), "ok"));
        assert_eq!(upstream.connections(), connections, "{age:?}");
    }
}

fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let body = request.line.split('/').nth(1).unwrap().to_owned();
            if body == "0" {
                thread::sleep(Duration::from_millis(50));
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send((0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>());
    for n in 0..50 {
        assert_eq!(client.response("GET").text(), n.to_string());
    }
}

fn request_bodies_keep_their_framing() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello"));
        assert_eq!(client.response(method).status, 200);
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
        client.send("5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
        assert_eq!(client.response(method).status, 200);
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response(method).status, 200);
        let requests = upstream.requests();
        let [sized, chunked, empty] = &requests[requests.len() - 3..] else { panic!() };
        assert_eq!((sized.header("content-length"), &*sized.body), (Some("005"), &b"hello"[..]), "{method}");
        assert_eq!(
            (chunked.header("transfer-encoding"), &*chunked.body),
            (Some("chunked"), &b"hello!"[..]),
            "{method}"
        );
        assert_eq!((empty.header("content-length"), empty.body.len()), (Some("0"), 0), "{method}");
    }
    assert_eq!(upstream.connections(), 1);
}

fn what_is_meant_for_the_neighbour_is_not_passed_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Up\r\nX-Up: 1\r\nKeep-Alive: timeout=5\r\nX-Stays: 1\r\n\
         Proxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nTE: trailers, gzip\r\n\
         Upgrade: websocket\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nExpect: 100-continue\r\nX-Stays: 1\r\n\r\n",
    );
    let response = client.response("GET");
    let mut names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "x-stays"]);
    let mut request = upstream.requests()[0].clone();
    assert_eq!(request.header("te"), Some("trailers"));
    request.headers.sort();
    assert_eq!(request.names(), ["host", "te", "x-stays"]);
    // An upgrade that nobody took leaves the connection as it was.
    assert_eq!(client.get("/").text(), "ok");
}

fn responses_of_every_framing() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let (_, path) = request.line.split_once(' ').unwrap();
            connection.send(match path {
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                "/identity" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, Chunked\r\n\r\n2\r\nid\r\n0\r\n\r\n",
                "/close" => "HTTP/1.1 200 OK\r\n\r\nuntil the end",
                "/http10" => "HTTP/1.0 200 Fine\r\nContent-Length: 3\r\n\r\nold",
                "/twice" => "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
                "/both" => {
                    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                }
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/same" => "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
                "/early" => "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                _ => panic!("{path}"),
            });
            if matches!(path, "/close" | "/http10") {
                return;
            }
        }
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    for (path, status, body, framing) in [
        ("/chunked", 200, "abcde", "transfer-encoding"),
        ("/identity", 200, "id", "transfer-encoding"),
        ("/close", 200, "until the end", "transfer-encoding"),
        ("/http10", 200, "old", "content-length"),
        ("/twice", 200, "abc", "content-length"),
        ("/both", 200, "a", "transfer-encoding"),
        ("/none", 204, "", ""),
        ("/same", 304, "", ""),
        ("/early", 200, "a", "content-length"),
    ] {
        let response = client.get(path);
        assert_eq!((response.status, response.text(), response.complete), (status, body, true), "{path}");
        let found = response.headers.iter().filter(|(name, _)| name == "content-length" || name == "transfer-encoding");
        let found: Vec<_> = found.map(|(name, _)| name.as_str()).collect();
        assert_eq!(found.join(","), framing, "{path}");
    }
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("HEAD").header("content-length"), Some("1234"));
    assert_eq!(client.get("/chunked").status, 200);
}

fn trailers_pass_both_ways() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-More\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n",
    );
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("2\r\nhi\r\n0\r\nX-Own: 9\r\n\r\n");
    let response = client.response("POST");
    assert_eq!(response.text(), "ok");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(response.trailers, [pair("x-sum", "7"), pair("x-more", "8")]);
    assert_eq!(upstream.requests()[0].trailers, [pair("x-own", "9")]);
    // Who does not take trailers gets none.
    let response = client.get("/");
    assert_eq!((response.text(), response.trailers.len(), response.complete), ("ok", 0, true));
}

fn routes_decide_and_what_has_none_is_404() {
    let (one, two) = (Upstream::answering(OK), Upstream::answering(OK));
    let gateway = Gateway::routes(&format!(
        "[{{ uri: /one/*, methods: [GET], upstream: {{ nodes: {{ \"{}\": 1 }} }} }},
          {{ uri: /two, host: two.example, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]",
        one.address, two.address
    ));
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/one/x").status, 200);
    client.send("GET /two HTTP/1.1\r\nHost: TWO.example:80\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    // The host of an absolute URI counts.
    client.send("GET http://two.example/two?q HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(two.requests()[1].line, "GET /two?q");
    assert_eq!(two.requests()[1].header("host"), Some("two.example"));
    for request in ["GET /two", "POST /one/x", "GET /", "OPTIONS *"] {
        client.send(format!("{request} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
        let response = client.response("GET");
        assert_eq!((response.status, response.text()), (404, "{\"error_msg\":\"404 Route Not Found\"}\n"), "{request}");
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    assert_eq!(client.get("/%zz").status, 400);
    assert_eq!((one.requests().len(), two.requests().len()), (1, 2));
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert_eq!(client.response("CONNECT").status, 405);
}

fn old_clients_are_served() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response("GET");
    assert_eq!((response.text(), response.header("transfer-encoding")), ("ok", None));
    assert_eq!(upstream.requests()[0].header("host"), Some(upstream.address.to_string().as_str()));
    assert!(client.is_closed());
}

fn a_client_that_expects_100_continue_gets_it() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(client.line().unwrap(), "");
    client.send("hello");
    assert_eq!(client.response("POST").text(), "ok");
    assert_eq!(upstream.requests()[0].body, b"hello");
    // Not when the answer is clear without the body.
    client.send("POST /%zz HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 400 Bad Request");
}

fn requests_are_shared_out_by_weight() {
    let (one, two) = (Upstream::answering(OK), Upstream::answering(OK));
    let nodes = format!("{{ \"{}\": 3, \"{}\": 1 }}", one.address, two.address);
    let gateway = Gateway::routes(&format!("[{{ uri: /*, upstream: {{ nodes: {nodes} }} }}]"));
    let mut client = Client::connect(gateway.address);
    (0..40).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((one.requests().len(), two.requests().len()), (30, 10));
}

fn the_built_in_echo_tells_what_it_got() {
    let gateway = Gateway::to("builtin:echo");
    let mut client = Client::connect(gateway.address);
    client.send("PUT /a?b=c HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\nContent-Length: 3\r\n\r\n\u{fc}!");
    let response = client.response("PUT");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let echo: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let expected = serde_json::json!({
        "method": "PUT", "path": "/a?b=c", "body": "\u{fc}!", "body_encoding": "utf-8",
        "headers": [["host", "h"], ["x", "1"], ["x", "2"], ["content-length", "3"]],
    });
    assert_eq!(echo, expected);
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n\xff\xfe");
    let echo: serde_json::Value = serde_json::from_slice(&client.response("POST").body).unwrap();
    assert_eq!((&echo["body"], &echo["body_encoding"]), (&"//4=".into(), &"base64".into()));
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", (1 << 20) + 1));
    let _ = client.socket().write_all(&vec![b'x'; (1 << 20) + 1]);
    assert_eq!(client.response("POST").status, 413);
}

fn large_bodies_stream_both_ways() {
    const SIZE: usize = 20 << 20;
    let upstream = Upstream::start(|mut connection| {
        let request = connection.request().unwrap();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        connection.send(&request.body);
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Client::connect(gateway.address);
    let body: Vec<u8> = (0..SIZE).map(|n| (n * 7 + n / 256) as u8).collect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(&body);
    let response = client.response("POST");
    assert!(response.complete && response.body == body);
}

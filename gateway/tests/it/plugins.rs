//! What plugins do to requests and responses.

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

cases! {
    each_engine: [
        the_prime_authoriser_decides,
        a_request_that_was_sent_has_the_time_for_responses,
        headers_are_added_by_priority_and_in_reverse_on_the_way_back,
        each_route_has_its_own_configuration,
        a_configuration_is_a_string_or_a_mapping,
        methods_and_statuses_without_body,
        a_client_that_expects_100_continue_gets_it_if_its_body_is_wanted,
        what_a_plugin_may_not_ask_for_is_500,
        a_status_without_body_takes_the_body_away,
        a_request_sees_nothing_of_the_ones_before_it,
        properties_tell_of_the_connections,
        plugins_end_with_the_server,
    ]
}

const ENDS: &str = "file: ../gateway/tests/guests/ends.wat, dialect: apisix, root_id: my-root";

fn properties_tell_of_the_connections(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, ENDS, "any", upstream.address);
    let mut last = 0;
    for _ in 0..2 {
        assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
        let (port, upstream) = (gateway.address.port().to_string(), upstream.address.to_string());
        let mut said = gateway.sink.take();
        // Connections are numbered in the whole process.
        let connection: u64 = said.remove(3).parse().unwrap();
        assert!(connection > last);
        last = connection;
        assert_eq!(said, ["127.0.0.1", &port, &upstream, "my-root"]);
    }
}

/// A plugin may defer its end, and has its timer meanwhile.
fn plugins_end_with_the_server(engine: &str) {
    let upstream = Upstream::answering(OK);
    let mut gateway = Gateway::through(engine, ENDS, "any", upstream.address);
    assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
    gateway.sink.take();
    gateway.server.take().unwrap().shut_down().unwrap();
    assert_eq!(gateway.sink.take(), ["deferred", "deleted"]);
}

fn the_prime_authoriser_decides(engine: &str) {
    for file in ["prime-auth", "prime-auth-010"] {
        let upstream = Upstream::answering(OK);
        let gateway = Gateway::through(engine, &format!("file: rust/{file}.wasm"), "", upstream.address);
        // All on one connection, which the plugin's answers leave open.
        let mut client = Client::connect(gateway.address);
        for (token, passes) in [
            (Some(&b"32323"[..]), true),
            (Some(b"323232"), false),
            (None, false),
            (Some(b"abc"), false),
            (Some(b""), false),
            (Some(b"\xff\xfe"), false),
            (Some(b"9223372036854775783"), true),
            (Some(b"2"), true),
        ] {
            let mut request = b"GET / HTTP/1.1\r\nHost: test\r\n".to_vec();
            if let Some(token) = token {
                request.extend([b"Token: ", token, b"\r\n"].concat());
            }
            client.send([&request[..], b"\r\n"].concat());
            let response = client.response("GET");
            if passes {
                assert_eq!((response.status, response.text()), (200, "ok"), "{file} {token:?}");
            } else {
                assert_eq!((response.status, response.text()), (403, "Access forbidden.\n"), "{file} {token:?}");
                assert_eq!(response.header("powered-by"), Some("proxy-wasm"));
                assert_eq!(response.header("content-length"), Some("18"));
            }
        }
        assert_eq!((upstream.requests().len(), upstream.connections()), (3, 1));
        // A body that nobody asked for does not get in the way of the next request.
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").status, 403);
        client.send("POST / HTTP/1.1\r\nHost: test\r\nToken: 2\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").text(), "ok");
        assert_eq!(upstream.requests()[3].body, b"hello");
        assert!(gateway.sink.crashes().is_empty());
    }
}

fn a_request_that_was_sent_has_the_time_for_responses(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(600));
            connection.send(OK);
        }
    });
    let gateway = Gateway::with_plugins(
        engine,
        &format!("[{{ name: script, {SCRIPT} }}]"),
        &format!(
            "[{{ uri: /*, plugins: {{ script: }}, upstream: {{ nodes: {{ \"{}\": 1 }}, timeout: {{ send: 200ms, read: 10s }} }} }}]",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/").text(), "ok");
    let long = "x".repeat(100_000);
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &format!("Content-Length: {}\r\n\r\n{long}", long.len()),
    ] {
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{body}"));
        assert_eq!(client.response("POST").text(), "ok", "{}", &body[..24]);
    }
    assert_eq!(upstream.connections(), 1, "connections are kept");
}

fn headers_are_added_by_priority_and_in_reverse_on_the_way_back(engine: &str) {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nX-Order: upstream\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Gateway::with_plugins(
        engine,
        "[{ name: low, file: rust/add-header.wasm, priority: 1 },
          { name: high, file: rust/add-header.wasm, priority: 2 },
          { name: same, file: rust/add-header.wasm, priority: 1 }]",
        &format!(
            "[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }}, plugins: {{
                same: {{ conf: \"x-order: same\" }}, low: {{ conf: \"x-order: low\" }}, high: {{ conf: \"x-order: high\" }} }} }}]",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Order: client\r\n\r\n");
    let response = client.response("GET");
    let of = |headers: &[(String, String)]| -> Vec<String> {
        headers.iter().filter(|(name, _)| name == "x-order").map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(of(&upstream.requests()[0].headers), ["client", "high", "low", "same"]);
    assert_eq!(of(&response.headers), ["upstream", "same", "low", "high"]);
}

fn each_route_has_its_own_configuration(engine: &str) {
    let upstream = Upstream::answering(OK);
    let to = format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let gateway = Gateway::with_plugins(
        engine,
        "[{ name: add, file: rust/add-header.wasm }, { name: hello, file: rust/hello.wasm }]",
        &format!(
            "[{{ uri: /one, {to}, plugins: {{ add: {{ conf: \"x-from: one\" }}, hello: {{}} }} }},
              {{ uri: /two, {to}, plugins: {{ add: {{ conf: \"x-from: two\" }} }} }},
              {{ uri: /none, {to}, plugins: {{ add: }} }}, {{ uri: /without, {to} }}]"
        ),
    );
    let mut client = Client::connect(gateway.address);
    for (path, expected) in [
        ("/two", Some("two")),
        ("/one", Some("one")),
        ("/none", None),
        ("/without", None),
        ("/two", Some("two")),
        ("/one", Some("one")),
    ] {
        assert_eq!(client.get(path).header("x-from"), expected, "{path}");
        assert_eq!(upstream.requests().last().unwrap().header("x-from"), expected, "{path}");
    }
    let hello: Vec<_> = gateway.sink.lines().into_iter().map(|line| (line.plugin, line.message)).collect();
    assert_eq!(hello, vec![("hello".to_owned(), "on_http_request_headers".to_owned()); 2]);
}

fn a_configuration_is_a_string_or_a_mapping(engine: &str) {
    for (conf, expected) in [
        ("plain", "plain"),
        ("'{\"body\": 1}'", "{\"body\": 1}"),
        (
            "{ body: hello world, http_status: 200, list: [a, ~, 1.5] }",
            r#"{"body":"hello world","http_status":200,"list":["a",null,1.5]}"#,
        ),
        ("\"\\u00e4\\n\"", "\u{e4}\n"),
        ("", ""),
    ] {
        let gateway = Gateway::through(engine, SCRIPT, conf, "builtin:echo");
        let mut client = Client::connect(gateway.address);
        client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Act: a\r\n\r\n");
        let response = client.response("GET");
        assert_eq!((response.status, response.text()), (418, expected));
    }
}

fn methods_and_statuses_without_body(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            connection.send(match &*request.line {
                "HEAD /sized" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                "HEAD /chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "GET /none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "GET /same" => "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 77\r\n\r\n",
                "POST /empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                line => panic!("{line}"),
            });
        }
    });
    // One that does not look at bodies, one that does, one that changes them.
    for (plugin, conf) in [("file: rust/hello.wasm", ""), (SCRIPT, ""), ("file: rust/body-rewrite.wasm", "\"a=>b\"")] {
        let gateway = Gateway::through(engine, plugin, conf, upstream.address);
        let mut client = Client::connect(gateway.address);
        for (line, status, length) in [
            ("HEAD /sized", 200, Some("1234")),
            ("HEAD /chunked", 200, None),
            ("GET /none", 204, None),
            ("GET /same", 304, None),
            ("POST /empty", 200, Some("0")),
        ] {
            client.send(format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n"));
            let response = client.response(line.split(' ').next().unwrap());
            assert_eq!((response.status, response.body.len()), (status, 0), "{plugin} {line}");
            assert_eq!(response.header("content-length"), length, "{plugin} {line}");
        }
        let requests = upstream.requests();
        let post = requests.last().unwrap();
        assert_eq!((post.header("content-length"), post.header("transfer-encoding")), (Some("0"), None), "{plugin}");
    }
    // What a plugin answers to HEAD has the fields that GET would get.
    let gateway = Gateway::through(engine, "file: rust/prime-auth.wasm", "", upstream.address);
    let mut client = Client::connect(gateway.address);
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = client.response("HEAD");
        assert_eq!((response.status, response.header("content-length")), (403, Some("18")));
    }
}

fn a_client_that_expects_100_continue_gets_it_if_its_body_is_wanted(engine: &str) {
    let upstream = Upstream::answering(OK);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    for (plugin, field) in [("file: rust/prime-auth.wasm", "Token: 2"), (SCRIPT, "X-Act: .e")] {
        let gateway = Gateway::through(engine, plugin, "", upstream.address);
        let mut client = Client::connect(gateway.address);
        client.send(format!("{head}{field}\r\n\r\n"));
        assert_eq!(client.line().unwrap(), "HTTP/1.1 100 Continue");
        assert_eq!(client.line().unwrap(), "");
        client.send("hello");
        assert_eq!(client.response("POST").text(), "ok");
        let requests = upstream.requests();
        let request = requests.last().unwrap();
        assert_eq!((&*request.body, request.header("expect")), (&b"hello"[..], None));
    }
    let gateway = Gateway::through(engine, "file: rust/prime-auth.wasm", "", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send(format!("{head}\r\n"));
    assert_eq!(client.line().unwrap(), "HTTP/1.1 403 Forbidden");
}

fn what_a_plugin_may_not_ask_for_is_500(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Act: n\r\n\r\n");
    assert_eq!(client.response("GET").status, 500);
    assert_eq!((client.get("/").text(), upstream.requests().len()), ("ok", 1));
}

fn a_status_without_body_takes_the_body_away(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            connection.send(match &*request.line {
                "GET /chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                _ => OK,
            });
        }
    });
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    for path in ["/sized", "/chunked"] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Act: ...n\r\n\r\n"));
        let response = client.response("GET");
        assert_eq!((response.status, response.header("transfer-encoding")), (204, None), "{path}");
        // Nothing of the body comes where the next response begins.
        if let Some(next) = client.try_request("GET /sized HTTP/1.1\r\nHost: test\r\n\r\n") {
            assert_eq!((next.status, next.text()), (200, "ok"), "{path}");
        }
    }
}

/// Lists of headers are used again, larger and smaller ones in turn.
fn a_request_sees_nothing_of_the_ones_before_it(engine: &str) {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            // Gives back what it got.
            let own = request.headers.iter().filter(|(name, _)| name.starts_with("x-"));
            let own: String = own.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            connection.send(format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 2\r\n\r\nok"));
        }
    });
    let plugins = "[{ name: add, file: rust/add-header.wasm }]";
    let route = format!(
        "[{{ uri: /*, plugins: {{ add: {{ conf: \"x-added: yes\" }} }}, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]",
        upstream.address
    );
    let gateway = Gateway::with_plugins(engine, plugins, &route);
    let mut client = Client::connect(gateway.address);
    for (turn, count) in [40, 0, 3, 60, 1, 0].into_iter().enumerate() {
        let mut own: Vec<_> = (0..count).map(|i| (format!("x-{turn}-{i}"), format!("{turn}"))).collect();
        let fields: String = own.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        let mut seen = client.response("GET").headers;
        seen.retain(|(name, _)| name.starts_with("x-"));
        seen.sort();
        // One on the way there, one on the way back.
        own.extend(vec![("x-added".to_owned(), "yes".to_owned()); 2]);
        own.sort();
        assert_eq!(seen, own, "{turn}");
    }
}

//! The path that decides about the route is the one that plugins and the upstream get.

use std::sync::Arc;

use chassis_gateway::config::EscapedSlashes;

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, config, settings};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Logs the path, and gives the request the one of its header `x-path`; see its first lines.
const PATH: &str = "file: ../gateway/tests/guests/path.wat";

/// A plugin on `/admin/*` alone, everything to one upstream.
fn gateway(engine: &str, upstream: &Upstream, slashes: EscapedSlashes) -> Gateway {
    let to = format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let routes = format!("[{{ uri: /admin/*, plugins: {{ guard: }}, {to} }}, {{ uri: /*, {to} }}]");
    let (mut settings, sink) = settings(engine, &config(&format!("[{{ name: guard, {PATH} }}]"), &routes)).unwrap();
    Arc::make_mut(&mut settings.config).paths.escaped_slashes = slashes;
    Gateway::start(settings, sink).unwrap()
}

/// The path that the plugin saw of a request, if it passed the plugin, and the one that the upstream got.
fn paths(gateway: &Gateway, upstream: &Upstream, request: &str) -> (Option<String>, String) {
    let before = upstream.requests().len();
    gateway.sink.clear();
    let mut client = Client::connect(gateway.address);
    client.send(format!("GET {request} HTTP/1.1\r\nHost: test\r\n\r\n"));
    assert_eq!(client.response("GET").status, 200, "{request}");
    let seen = gateway.sink.lines().into_iter().find(|line| line.callback == "request_headers");
    let requests = upstream.requests();
    assert_eq!(requests.len(), before + 1, "{request}");
    (seen.map(|line| line.message), requests[before].line.strip_prefix("GET ").unwrap().to_owned())
}

cases! {
    each_engine: [
        a_spelling_gets_neither_around_a_plugin_nor_elsewhere,
        escaped_slashes_pass_if_the_configuration_says_so,
        a_plugin_that_changes_the_path_does_not_change_the_route,
    ]
}

fn a_spelling_gets_neither_around_a_plugin_nor_elsewhere(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = gateway(engine, &upstream, EscapedSlashes::Reject);
    for (request, guarded, path) in [
        ("/admin/x", true, "/admin/x"),
        ("/x", false, "/x"),
        ("/admin/../x", false, "/x"),
        ("/admin/%2e%2e/x", false, "/x"),
        ("/admin/.%2E/x?q=/../%2f\\", false, "/x?q=/../%2f\\"),
        ("/x/../admin/y", true, "/admin/y"),
        ("/x/%2e%2e/%61dmin/./y?a/../b", true, "/admin/y?a/../b"),
        ("http://test/x/../admin/y?z", true, "/admin/y?z"),
        ("/admin/%7Ey%20z%2B%c3%bc", true, "/admin/~y%20z%2B%c3%bc"),
        // Slashes are forwarded as they come, and are one to a route, as they are to many an upstream.
        ("//admin//y", true, "//admin//y"),
        ("/x//../admin//", false, "/x/admin//"),
        ("/%2561dmin/x", false, "/%2561dmin/x"),
    ] {
        let (seen, got) = paths(&gateway, &upstream, request);
        assert_eq!((seen.as_deref(), got.as_str()), (guarded.then_some(path), path), "{request}");
    }
    let before = upstream.requests().len();
    for (path, why) in [
        ("/admin/..%2fx", "an encoded slash or backslash"),
        ("/x%2F..%2Fadmin", "an encoded slash or backslash"),
        ("/x%5c..%5Cadmin", "an encoded slash or backslash"),
        ("/x\\..\\admin", "a backslash"),
        ("/x%00", "a control character"),
        ("/x%0d%0aHost:%20y", "a control character"),
        ("/x%7F", "a control character"),
        ("/x/../../admin/", "above the root"),
        ("/x%2", "two hexadecimal digits"),
    ] {
        let mut client = Client::connect(gateway.address);
        let response = client.get(path);
        assert!(response.status == 400 && response.text().contains(why), "{path}: {}", response.text());
        // The request was framed well, and the connection goes on.
        assert_eq!(client.get("/").status, 200, "{path}");
    }
    assert!(upstream.requests()[before..].iter().all(|request| request.line == "GET /"));
}

fn escaped_slashes_pass_if_the_configuration_says_so(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = gateway(engine, &upstream, EscapedSlashes::Keep);
    for (request, guarded, path) in [
        ("/admin/a%2fb%5C", true, "/admin/a%2fb%5C"),
        ("/admin/..%2fx", true, "/admin/..%2fx"),
        ("/admin/%2e%2e/a%2Fb", false, "/a%2Fb"),
        ("/admin%2fx", false, "/admin%2fx"),
    ] {
        let (seen, got) = paths(&gateway, &upstream, request);
        assert_eq!((seen.as_deref(), got.as_str()), (guarded.then_some(path), path), "{request}");
    }
    for path in ["/x\\y", "/x%2f%00"] {
        assert_eq!(Client::connect(gateway.address).get(path).status, 400, "{path}");
    }
}

fn a_plugin_that_changes_the_path_does_not_change_the_route(engine: &str) {
    let (admin, other) = (Upstream::answering(OK), Upstream::answering(OK));
    let to = |upstream: &Upstream| format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let gateway = Gateway::with_plugins(
        engine,
        &format!("[{{ name: guard, {PATH} }}]"),
        &format!("[{{ uri: /a/*, plugins: {{ guard: }}, {} }}, {{ uri: /*, {} }}]", to(&admin), to(&other)),
    );
    let mut client = Client::connect(gateway.address);
    client.send("GET /a/../a/x HTTP/1.1\r\nHost: test\r\nX-Path: /b/./%2f?c\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    // What a plugin says is sent as it says it.
    assert_eq!(admin.requests()[0].line, "GET /b/./%2f?c");
    assert!(other.requests().is_empty());
}

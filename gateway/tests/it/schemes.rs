//! Upstreams that are spoken to in HTTP/2 or through TLS. The one with TLS is another gateway.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use chassis_gateway::Settings;
use chassis_gateway::config::Config;
use http::{HeaderMap, Request};

use crate::client::Client;
use crate::grpc_server::{GrpcServer, framed};
use crate::http2::Http2;
use crate::tls::Authority;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT, config, settings};

cases! {
    each_engine: [grpc_passes_plugins]
    once: [
        a_grpc_stream_goes_both_ways_at_once,
        grpc_failures_keep_their_status,
        a_reset_of_a_grpc_client_reaches_the_server,
        an_upstream_without_http2_is_502,
        upstreams_are_verified,
        upstreams_may_ask_for_a_certificate,
        schemes_that_make_no_sense_are_refused,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn to_grpc(address: SocketAddr) -> Gateway {
    Gateway::routes(&format!("[{{ uri: /*, upstream: {{ scheme: grpc, nodes: {{ \"{address}\": 1 }} }} }}]"))
}

fn call(method: &str) -> Request<()> {
    let request = Request::post(format!("http://test/pkg.Service/{method}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn field<'a>(trailers: &'a Option<HeaderMap>, name: &str) -> Option<&'a str> {
    trailers.as_ref()?.get(name)?.to_str().ok()
}

fn grpc_passes_plugins(engine: &str) {
    let server = GrpcServer::start();
    let routes = format!(
        "[{{ uri: /*, plugins: {{ tested: }}, upstream: {{ scheme: grpc, nodes: {{ \"{}\": 1 }} }} }}]",
        server.address
    );
    let (settings, sink) = settings(engine, &config(&format!("[{{ name: tested, {SCRIPT} }}]"), &routes)).unwrap();
    let gateway = Gateway::start(settings, sink).unwrap();
    let mut client = Http2::connect(gateway.address);
    let (response, mut sending) = client.begin(call("Sum"), false);
    client.runtime.block_on(async { sending.send_data(framed(b"hello").into(), true).unwrap() });
    let answer = client.answer(response).unwrap();
    assert_eq!((answer.status(), answer.body), (200, framed(b"10")));
    assert_eq!(field(&answer.trailers, "grpc-status"), Some("0"));
    assert!(
        server.lines().iter().any(|line| line.starts_with("POST /pkg.Service/Sum ") && line.contains("te: trailers"))
    );
}

fn a_grpc_stream_goes_both_ways_at_once() {
    let server = GrpcServer::start();
    let gateway = to_grpc(server.address);
    let mut client = Http2::connect(gateway.address);
    let (response, mut sending) = client.begin(call("Echo"), false);
    let trailers = client.runtime.block_on(async {
        let mut body = response.await.unwrap().into_body();
        for message in ["one", "two", "three"] {
            sending.send_data(framed(message.as_bytes()).into(), false).unwrap();
            let data = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            assert_eq!(data, framed(message.as_bytes()));
        }
        sending.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        poll_fn(|cx| body.poll_trailers(cx)).await.unwrap()
    });
    assert_eq!(field(&trailers, "grpc-status"), Some("0"));
    // Many calls, one connection.
    for _ in 0..20 {
        let (response, mut sending) = client.begin(call("Sum"), false);
        client.runtime.block_on(async { sending.send_data(framed(b"x").into(), true).unwrap() });
        assert_eq!(client.answer(response).unwrap().body, framed(b"6"));
    }
    assert_eq!(server.lines().iter().filter(|line| *line == "connection").count(), 1);
}

fn grpc_failures_keep_their_status() {
    let server = GrpcServer::start();
    let gateway = to_grpc(server.address);
    let mut client = Http2::connect(gateway.address);
    let answer = client.ask(call("Failing")).unwrap();
    assert_eq!(field(&answer.trailers, "grpc-status"), Some("5"));
    assert_eq!(field(&answer.trailers, "grpc-message"), Some("none%2Fthere"));
    // It has no trailers: what is said is in its head.
    let answer = client.ask(call("Only")).unwrap();
    assert_eq!((answer.head.headers()["grpc-status"].to_str().unwrap(), answer.trailers), ("7", None));
    assert_eq!(client.ask(call("Refused")).unwrap().status(), 502);
}

fn a_reset_of_a_grpc_client_reaches_the_server() {
    let server = GrpcServer::start();
    let gateway = to_grpc(server.address);
    let mut client = Http2::connect(gateway.address);
    let (_response, mut sending) = client.begin(call("Silent"), false);
    let begun = std::time::Instant::now();
    while !server.lines().iter().any(|line| line.contains("/Silent")) {
        assert!(begun.elapsed().as_secs() < 10);
        client.go_on();
    }
    sending.send_reset(h2::Reason::CANCEL);
    client.go_on();
    server.wait_for("reset CANCEL");
}

fn an_upstream_without_http2_is_502() {
    let upstream = Upstream::start(|mut connection| connection.send("HTTP/1.1 400 Bad Request\r\n\r\n"));
    let gateway = to_grpc(upstream.address);
    assert_eq!(Client::connect(gateway.address).get("/").status, 502);
}

/// A gateway to an upstream of this scheme, with these settings for TLS.
fn front(authority: &Authority, scheme: &str, tls: &str, address: SocketAddr) -> Gateway {
    let text = format!(
        "listen: [127.0.0.1:0]\nworkers: 1\nroutes: [{{ uri: /*, upstream: {{ scheme: {scheme}, tls: {{ {tls} }}, \
         nodes: {{ \"{address}\": 1 }} }} }}]\n"
    );
    let config = Config::parse(&text, Path::new(&authority.file("front.yaml"))).unwrap();
    Gateway::start(Settings::new(config, None), std::sync::Arc::default()).unwrap()
}

const ENTRY: &str = "{ cert: a.pem, key: a.key, snis: [a.example] }";

fn upstreams_are_verified() {
    let upstream = Upstream::answering(OK);
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("a", &["a.example"]);
    let (_back, address) = authority.gateway("", ENTRY, upstream.address, |_| {});
    let strange = format!("ca: {}, sni: a.example", stranger.file("ca.pem"));
    for scheme in ["https", "grpcs"] {
        for (tls, status) in [
            ("ca: ca.pem, sni: a.example", 200),
            ("verify: false, sni: a.example", 200),
            (&strange, 502),
            ("ca: ca.pem, sni: b.example", 502),
            ("ca: ca.pem", 502),
        ] {
            let gateway = front(&authority, scheme, tls, address);
            let mut client = Client::connect(gateway.address);
            assert_eq!(client.get("/").status, status, "{scheme} {tls}");
            assert_eq!(client.get("/").status, status, "{scheme} {tls}");
        }
    }
    assert_eq!(upstream.requests().len(), 8);
}

fn upstreams_may_ask_for_a_certificate() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    authority.sign("client", &["client"]);
    let entry = ENTRY.replace(" }", ", client: { ca: ca.pem } }");
    let (_back, address) = authority.gateway("", &entry, upstream.address, |_| {});
    for scheme in ["https", "grpcs"] {
        let tls = "ca: ca.pem, sni: a.example";
        let shown = format!("{tls}, client_cert: client.pem, client_key: client.key");
        assert_eq!(Client::connect(front(&authority, scheme, &shown, address).address).get("/").status, 200);
        assert_eq!(Client::connect(front(&authority, scheme, tls, address).address).get("/").status, 502);
    }
}

fn schemes_that_make_no_sense_are_refused() {
    for (upstream, expected) in [
        ("scheme: https, nodes: { \"a:1\": 1 }", "needs `tls` beside it"),
        ("scheme: https, tls: {}, nodes: { \"a:1\": 1 }", "needs `ca`"),
        ("tls: { verify: false }, nodes: { \"a:1\": 1 }", "is for scheme https or grpcs"),
        ("scheme: grpc, nodes: { \"builtin:echo\": 1 }", "must be http for builtin:echo"),
        ("scheme: https, tls: { verify: false, client_key: x }, nodes: { \"a:1\": 1 }", "are given together"),
        ("scheme: htps, nodes: { \"a:1\": 1 }", "did you mean `https`"),
    ] {
        let text = format!("listen: [127.0.0.1:1]\nroutes: [{{ uri: /*, upstream: {{ {upstream} }} }}]\n");
        let error = Config::parse(&text, Path::new("test.yaml")).unwrap_err().to_string();
        assert!(error.contains(expected), "{upstream}: {error}");
    }
}

//! Plugins that fail: the request is answered, everything else goes on.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chassis_gateway::ServeError;

use crate::client::{Client, Response};
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT, config, place, settings};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The default deadline and what is added to it, with the slack that tests of times have.
const LIMIT: Duration = Duration::from_millis((50 + 100) * 5);

cases! {
    each_engine: [
        a_plugin_that_ends_badly_is_503_and_other_routes_are_served,
        the_next_request_of_the_same_plugin_is_served,
        the_streams_of_a_vm_end_with_it,
        a_crash_after_the_response_has_begun_breaks_it_off,
        a_crash_at_the_end_of_a_stream_costs_it_nothing,
        crashes_on_one_route_cost_others_nothing,
        a_plugin_that_loops_while_it_starts_is_refused,
        streams_end_as_fast_as_they_begin,
    ]
}

fn a_plugin_that_ends_badly_is_503_and_other_routes_are_served(engine: &str) {
    const BAD: [(&str, &str); 7] = [
        ("trap", "request_headers"),
        ("loop", "request_headers"),
        ("grow", "request_headers"),
        ("grow-trap", "request_headers"),
        ("recurse", "request_headers"),
        ("exit", "request_headers"),
        ("loop-allocator", "request_headers"),
    ];
    let upstream = Upstream::answering(OK);
    let to = format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let plugins: String = BAD.iter().map(|(name, _)| format!("{{ name: {name}, file: wat/{name}.wat }}, ")).collect();
    let routes: String =
        BAD.iter().map(|(name, _)| format!("{{ uri: /{name}, plugins: {{ {name}: {{}} }}, {to} }}, ")).collect();
    let gateway = Gateway::with_plugins(
        engine,
        &format!("[{plugins} {{ name: auth, file: rust/prime-auth.wasm }}]"),
        &format!("[{routes} {{ uri: /auth, plugins: {{ auth: {{}} }}, {to} }}, {{ uri: /none, {to} }}]"),
    );
    let mut client = Client::connect(gateway.address);
    for (name, callback) in BAD {
        for round in 0..3 {
            gateway.sink.clear();
            let begin = Instant::now();
            let response = client.get(&format!("/{name}"));
            let took = begin.elapsed();
            assert_eq!((response.status, response.complete), (503, true), "{name} {round}");
            assert!(took < LIMIT, "{name} {round}: {took:?}");
            let crashes = gateway.sink.crashes();
            let [crash] = &crashes[..] else { panic!("{name} {round}: {crashes:?}") };
            assert_eq!((&*crash.plugin, crash.callback), (name, callback), "{crash:?}");
            client.send("GET /auth HTTP/1.1\r\nHost: test\r\nToken: 7\r\n\r\n");
            assert_eq!(client.response("GET").text(), "ok", "{name} {round}");
            assert_eq!(client.get("/none").text(), "ok", "{name} {round}");
        }
    }
    assert_eq!(upstream.requests().len(), BAD.len() * 6);
}

fn send(client: &mut Client, act: &str) -> Option<Response> {
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nX-Act: {act}\r\nContent-Length: 5\r\n\r\nhello"));
    client.try_response("POST")
}

fn the_next_request_of_the_same_plugin_is_served(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    for act in ["t", ".t", "...t", "....t", "l", ".l", "...l", "....l", "pt"] {
        gateway.sink.clear();
        let mut client = Client::connect(gateway.address);
        let begin = Instant::now();
        let response = send(&mut client, act).unwrap();
        let took = begin.elapsed();
        assert_eq!((response.status, response.complete), (503, true), "{act}");
        assert!(took < LIMIT, "{act}: {took:?}");
        assert_eq!(gateway.sink.crashes().len(), 1, "{act}");
        let response = send(&mut client, "").unwrap();
        assert_eq!((response.status, response.text()), (200, "ok"), "{act}");
    }
}

fn the_streams_of_a_vm_end_with_it(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut paused: Vec<Client> = (0..10).map(|_| Client::connect(gateway.address)).collect();
    for client in &mut paused {
        client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Act: p\r\n\r\n");
    }
    gateway.sink.wait_for("request_headers", 10);
    let begin = Instant::now();
    assert_eq!(send(&mut Client::connect(gateway.address), "t").unwrap().status, 503);
    for client in &mut paused {
        assert_eq!(client.response("GET").status, 503);
        assert_eq!(client.get("/").text(), "ok");
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(gateway.sink.crashes().len(), 1);
}

fn a_crash_after_the_response_has_begun_breaks_it_off(engine: &str) {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    for act in ["....t", "....l"] {
        let mut client = Client::connect(gateway.address);
        // How much of it had left the gateway by then is a matter of luck.
        if let Some(response) = send(&mut client, act) {
            assert_eq!((response.status, response.body.len(), response.complete), (200, 0, false), "{act}");
        }
        assert!(client.is_closed());
        assert_eq!(Client::connect(gateway.address).get("/").text(), "ok");
    }
}

fn a_crash_at_the_end_of_a_stream_costs_it_nothing(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "", upstream.address);
    let mut client = Client::connect(gateway.address);
    for (round, act) in ["......t", ".......t", "........t", "......l"].into_iter().enumerate() {
        assert_eq!(send(&mut client, act).unwrap().text(), "ok", "{act}");
        // Its end is told after its response; the next request may come before that or after it.
        let begin = Instant::now();
        while gateway.sink.crashes().len() <= round {
            assert!(begin.elapsed() < Duration::from_secs(5), "{act}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(send(&mut client, "").unwrap().text(), "ok", "{act}");
    }
}

fn crashes_on_one_route_cost_others_nothing(engine: &str) {
    let upstream = Upstream::answering(OK);
    let to = format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let (mut settings, sink) = settings(
        engine,
        &config(
            &format!("[{{ name: bad, {SCRIPT} }}, {{ name: good, file: rust/add-header.wasm }}]"),
            &format!(
                "[{{ uri: /bad, plugins: {{ bad: {{}} }}, {to} }}, {{ uri: /good, plugins: {{ good: {{ conf: \"x-good: 1\" }} }}, {to} }}]"
            ),
        ),
    )
    .unwrap();
    Arc::make_mut(&mut settings.config).workers = NonZeroUsize::new(3);
    let gateway = Gateway::start(settings, sink).unwrap();
    let address = gateway.address;
    let good: Vec<_> = (0..6)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..100 {
                    let response = client.get("/good");
                    assert_eq!((response.text(), response.header("x-good")), ("ok", Some("1")));
                }
            })
        })
        .collect();
    let bad: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..30 {
                    client.send("GET /bad HTTP/1.1\r\nHost: test\r\nX-Act: t\r\n\r\n");
                    assert_eq!(client.response("GET").status, 503);
                }
            })
        })
        .collect();
    good.into_iter().chain(bad).for_each(|client| client.join().unwrap());
    assert!(!gateway.sink.crashes().is_empty() && gateway.sink.crashes().len() <= 90);
    assert_eq!(Client::connect(address).get("/bad").text(), "ok");
}

fn a_plugin_that_loops_while_it_starts_is_refused(engine: &str) {
    let plugins = "[{ name: a, file: wat/loop-initialize.wat }, { name: b, file: wat/loop-start.wat },
        { name: c, file: rust/hello.wasm }]";
    let routes = "[{ uri: /*, upstream: { nodes: { \"builtin:echo\": 1 } }, plugins: { a: {}, b: {}, c: {} } }]";
    let text = config(plugins, routes);
    let (settings, sink) = settings(engine, &text).unwrap();
    let begin = Instant::now();
    let error = Gateway::start(settings, sink).err().unwrap();
    let took = begin.elapsed();
    assert!(matches!(error, ServeError::Plugins(_)), "{error}");
    let error = error.to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    for (line, name, cause) in [
        (lines[0], "a", "wat/loop-initialize.wat: _initialize: deadline exceeded"),
        (lines[1], "b", "wat/loop-start.wat: the start section: deadline exceeded"),
    ] {
        let begin = place(&text, &format!("{{ name: {name}")) + &format!("plugin `{name}`: ");
        assert!(line.starts_with(&begin) && line.ends_with(cause), "{line}");
    }
    // Two plugins with 500 ms each, and 100 ms to say so, with slack.
    assert!(took < Duration::from_millis(2 * 600 * 5), "{took:?}");
}

/// Clients that send as fast as they can leave no growing heap of streams that have yet to be closed.
fn streams_end_as_fast_as_they_begin(engine: &str) {
    const CLIENTS: usize = 30;
    const REQUESTS: usize = 200;
    let gateway = Gateway::through(engine, SCRIPT, "", "builtin:echo");
    let address = gateway.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut sender = client.socket().try_clone().unwrap();
                let sending = thread::spawn(move || {
                    use std::io::Write;
                    let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(REQUESTS);
                    sender.write_all(requests.as_bytes()).unwrap();
                });
                let answered = (0..REQUESTS).filter(|_| client.response("GET").status == 200).count();
                sending.join().unwrap();
                answered
            })
        })
        .collect();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(answered, CLIENTS * REQUESTS);
    let (mut open, mut most) = (0_i32, 0);
    for line in gateway.sink.lines() {
        open += i32::from(line.callback == "request_headers") - i32::from(line.callback == "delete");
        most = most.max(open);
    }
    assert!(most <= 4 * CLIENTS as i32, "{most} streams at once for {CLIENTS} clients");
}

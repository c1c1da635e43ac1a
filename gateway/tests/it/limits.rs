//! What all clients of a worker may have together.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT, config, settings};

const ECHO: &str = "[{ uri: /*, upstream: { nodes: { \"builtin:echo\": 1 } } }]";

/// Long enough for what is sent to arrive.
const WHILE: Duration = Duration::from_millis(400);

/// Whether nothing comes for a while.
fn is_left_waiting(client: &Client) -> bool {
    let socket = client.socket();
    socket.set_read_timeout(Some(WHILE)).unwrap();
    let peeked = socket.peek(&mut [0]);
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    peeked.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn connections_above_the_limit_wait_for_one_to_end() {
    let gateway = Gateway::with(ECHO, |settings| {
        let config = Arc::make_mut(&mut settings.config);
        config.limits.connections = 3;
        // The limit is that of the worker, whatever its listeners.
        config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)); 2];
    });
    let addresses = gateway.server.as_ref().unwrap().addresses().to_vec();
    let mut inside: Vec<Client> = [0, 1, 0].map(|listener| Client::connect(addresses[listener])).into();
    for client in &mut inside {
        assert_eq!(client.get("/").status, 200);
    }
    let mut outside = [0, 1].map(|listener| {
        let mut client = Client::connect(addresses[listener]);
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    });
    assert!(outside.iter().all(is_left_waiting));
    // Those that are inside notice nothing.
    assert!(inside.iter_mut().all(|client| client.get("/").status == 200));
    // One goes, one comes.
    inside.pop();
    thread::sleep(WHILE);
    let waiting = outside.iter().filter(|client| is_left_waiting(client)).count();
    assert_eq!(waiting, 1);
    inside.pop();
    assert!(outside.iter_mut().all(|client| client.response("GET").status == 200));
}

fn a_full_worker_drains() {
    let mut gateway = Gateway::with(ECHO, |settings| {
        Arc::make_mut(&mut settings.config).limits.connections = 1;
    });
    let mut inside = Client::connect(gateway.address);
    assert_eq!(inside.get("/").status, 200);
    let _outside = Client::connect(gateway.address);
    let server = gateway.server.take().unwrap();
    let begin = Instant::now();
    server.shut_down().unwrap();
    assert!(inside.is_closed());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

cases! {
    each_engine: [
        requests_that_are_held_share_a_limit,
        responses_that_are_held_share_a_limit,
    ]
    once: [
        connections_above_the_limit_wait_for_one_to_end,
        a_full_worker_drains,
    ]
}

const LIMIT: usize = 1 << 20;
const HALF: usize = LIMIT / 2;

/// One worker whose streams may hold [`LIMIT`] bytes together.
fn gateway(engine: &str, upstream: &Upstream) -> Gateway {
    let to = format!("upstream: {{ nodes: {{ \"{}\": 1 }} }}", upstream.address);
    let routes = format!("[{{ uri: /*, plugins: {{ tested: }}, {to} }}]");
    let (mut settings, sink) = settings(engine, &config(&format!("[{{ name: tested, {SCRIPT} }}]"), &routes)).unwrap();
    Arc::make_mut(&mut settings.config).limits.buffered_body = LIMIT as u64;
    Gateway::start(settings, sink).unwrap()
}

fn chunk(bytes: usize) -> Vec<u8> {
    [format!("{bytes:x}\r\n").as_bytes(), &vec![b'x'; bytes], b"\r\n"].concat()
}

/// A client that has sent this much of a body, and not its end.
fn sender(gateway: &Gateway, act: &str, bytes: usize) -> Client {
    let mut client = Client::connect(gateway.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nX-Act: {act}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.send(chunk(bytes));
    client
}

/// Answers with as many bytes as the path says, in chunks.
fn upstream() -> Upstream {
    Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let bytes = request.line.split('/').nth(1).unwrap().parse().unwrap_or(1);
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            connection.send(chunk(bytes));
            connection.send("0\r\n\r\n");
        }
    })
}

fn requests_that_are_held_share_a_limit(engine: &str) {
    let upstream = upstream();
    let gateway = gateway(engine, &upstream);
    // Held by the plugin that is shown the body, or behind headers that it paused.
    for act in [".e", "p."] {
        let mut first = sender(&gateway, ".e", HALF);
        assert!(is_left_waiting(&first));
        let mut second = sender(&gateway, act, HALF);
        assert!(is_left_waiting(&second), "{act}: as much as there may be");
        // What is not held goes its way.
        let mut passing = sender(&gateway, "", HALF);
        passing.send("0\r\n\r\n");
        assert_eq!(passing.response("POST").status, 200, "{act}");
        second.send(chunk(1));
        assert_eq!(second.response("POST").status, 413, "{act}");
        // The room is free for others.
        let mut third = sender(&gateway, ".e", HALF);
        assert!(is_left_waiting(&third) && is_left_waiting(&first), "{act}");
        for client in [&mut first, &mut third] {
            client.send("0\r\n\r\n");
            assert_eq!(client.response("POST").status, 200, "{act}");
        }
    }
}

fn responses_that_are_held_share_a_limit(engine: &str) {
    let upstream = upstream();
    let gateway = gateway(engine, &upstream);
    let mut first = sender(&gateway, ".e", HALF);
    assert!(is_left_waiting(&first));
    let get = |bytes: usize, act: &str| {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET /{bytes} HTTP/1.1\r\nHost: a\r\nX-Act: {act}\r\n\r\n"));
        client.response("GET")
    };
    let whole = get(HALF, "....e");
    assert_eq!((whole.status, whole.body.len(), whole.complete), (200, HALF, true));
    let broken = get(HALF + 1, "....e");
    assert_eq!((broken.status, broken.body.len(), broken.complete), (200, 0, false));
    assert_eq!(get(HALF + 1, "...pp").status, 502);
    let passing = get(LIMIT, "");
    assert_eq!((passing.status, passing.body.len(), passing.complete), (200, LIMIT, true));
    first.send("0\r\n\r\n");
    assert_eq!(first.response("POST").status, 200);
    let whole = get(LIMIT, "....e");
    assert_eq!((whole.status, whole.body.len(), whole.complete), (200, LIMIT, true));
}

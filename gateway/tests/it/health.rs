//! Health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chassis_gateway::HealthChecks;

use crate::Gateway;
use crate::client::Client;
use crate::upstream::Upstream;

cases! {
    once: [
        a_node_that_answers_with_a_failure_gets_nothing_until_it_recovers,
        nodes_are_asked_as_the_configuration_says,
        a_node_that_accepts_nothing_or_says_nothing_is_unhealthy,
        if_no_node_serves_all_are_taken_for_ones_that_do,
        requests_tell_of_nodes_too,
        who_is_unhealthy_leaves_its_share_to_lower_priorities,
    ]
}

/// A node that answers `GET /status` with this status, and everything else with 200.
fn node(status: &Arc<AtomicUsize>) -> Upstream {
    let status = status.clone();
    Upstream::start(move |mut connection| {
        while let Some(request) = connection.request() {
            let status = if request.line.ends_with(" /status") { status.load(Ordering::SeqCst) } else { 200 };
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"));
        }
    })
}

fn requests(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| !request.line.ends_with(" /status")).count()
}

/// A gateway with this upstream for everything, and what it knows of its nodes.
fn gateway(upstream: &str) -> (Gateway, HealthChecks) {
    let mut health = None;
    let routes = format!("[{{ id: r, uri: /*, upstream: {{ {upstream} }} }}]");
    let gateway = Gateway::with(&routes, |settings| health = Some(settings.health.clone()));
    (gateway, health.unwrap())
}

/// Waits until the nodes serve, or not.
fn wait_until(health: &HealthChecks, serve: &[bool]) {
    let begin = Instant::now();
    loop {
        let [upstream] = &health.snapshot()[..] else { panic!("{health:?}") };
        assert_eq!(upstream.name, "routes/r");
        if upstream.nodes.iter().map(|node| node.serves).eq(serve.iter().copied()) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{upstream:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

const FAST: &str = "http_path: /status, healthy: { interval: 100ms, successes: 2 }, \
                    unhealthy: { interval: 100ms, http_failures: 2, tcp_failures: 1, timeouts: 1 }";

fn a_node_that_answers_with_a_failure_gets_nothing_until_it_recovers() {
    let status = Arc::new(AtomicUsize::new(200));
    let (good, bad) = (node(&Arc::new(AtomicUsize::new(302))), node(&status));
    let nodes = format!("nodes: {{ \"{}\": 1, \"{}\": 1 }}", good.address, bad.address);
    let (gateway, health) = gateway(&format!("{nodes}, checks: {{ active: {{ {FAST} }} }}"));
    let mut client = Client::connect(gateway.address);
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((requests(&good), requests(&bad)), (2, 2));
    status.store(503, Ordering::SeqCst);
    wait_until(&health, &[true, false]);
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((requests(&good), requests(&bad)), (12, 2));
    // What is in neither list says nothing.
    status.store(418, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(400));
    wait_until(&health, &[true, false]);
    status.store(200, Ordering::SeqCst);
    wait_until(&health, &[true, true]);
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((requests(&good), requests(&bad)), (17, 7));
}

fn nodes_are_asked_as_the_configuration_says() {
    let (node_upstream, other) =
        (Upstream::answering("HTTP/1.1 200 X\r\n\r\n"), Upstream::answering("HTTP/1.1 204 X\r\n\r\n"));
    let port = other.address.port();
    let more = format!("host: inner, port: {port}, req_headers: ['X-A: 1', 'User-Agent: me']");
    let checks = format!("checks: {{ active: {{ {FAST}, {more} }} }}");
    let (gateway, _) = gateway(&format!("nodes: {{ \"{}\": 1 }}, {checks}", node_upstream.address));
    let begin = Instant::now();
    while other.requests().len() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(10));
    }
    let request = other.requests().remove(0);
    assert_eq!(request.line, "GET /status");
    for (name, value) in [("host", "inner"), ("x-a", "1"), ("user-agent", "me"), ("connection", "close")] {
        assert_eq!(request.header(name), Some(value));
    }
    assert!(node_upstream.requests().is_empty());
    // One that is not used any more is not asked any more.
    drop(gateway);
    thread::sleep(Duration::from_millis(300));
    let asked = other.requests().len();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(other.requests().len(), asked);
}

fn a_node_that_accepts_nothing_or_says_nothing_is_unhealthy() {
    let silent = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(20));
    });
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let nodes = format!("nodes: {{ \"{}\": 1, \"{nobody}\": 1, \"{}\": 1 }}", silent.address, good.address);
    let (http, health) = gateway(&format!("{nodes}, checks: {{ active: {{ timeout: 200ms, {FAST} }} }}"));
    wait_until(&health, &[false, false, true]);
    let mut client = Client::connect(http.address);
    (0..6).for_each(|_| assert_eq!(client.get("/").text(), "ok"));
    // A connection is all that is asked for with tcp.
    let (_tcp, health) = gateway(&format!("{nodes}, checks: {{ active: {{ type: tcp, {FAST} }} }}"));
    wait_until(&health, &[true, false, true]);
}

fn if_no_node_serves_all_are_taken_for_ones_that_do() {
    let status = Arc::new(AtomicUsize::new(500));
    let (one, other) = (node(&status), node(&status));
    let nodes = format!("nodes: {{ \"{}\": 1, \"{}\": 1 }}", one.address, other.address);
    let (gateway, health) = gateway(&format!("{nodes}, checks: {{ active: {{ {FAST} }} }}"));
    wait_until(&health, &[false, false]);
    let mut client = Client::connect(gateway.address);
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((requests(&one), requests(&other)), (2, 2));
}

fn requests_tell_of_nodes_too() {
    let fails = Upstream::answering("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno");
    let good = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let nodes = format!("nodes: {{ \"{}\": 1, \"{}\": 1 }}", fails.address, good.address);
    // They are asked, but not soon.
    let active = "active: { type: tcp, healthy: { interval: 1h }, unhealthy: { interval: 1h } }";
    let (gateway, health) =
        gateway(&format!("{nodes}, checks: {{ {active}, passive: {{ unhealthy: {{ http_failures: 3 }} }} }}"));
    let mut client = Client::connect(gateway.address);
    let statuses: Vec<u16> = (0..20).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    let [upstream] = &health.snapshot()[..] else { panic!() };
    assert_eq!((upstream.nodes[0].status, upstream.nodes[1].status), ("unhealthy", "healthy"));
}

fn who_is_unhealthy_leaves_its_share_to_lower_priorities() {
    let (high, low) = (node(&Arc::new(AtomicUsize::new(500))), node(&Arc::new(AtomicUsize::new(200))));
    let of = |upstream: &Upstream, priority: i32| {
        format!("{{ host: 127.0.0.1, port: {}, weight: 1, priority: {priority} }}", upstream.address.port())
    };
    let nodes = format!("nodes: [{}, {}]", of(&low, 0), of(&high, 1));
    let (gateway, health) = gateway(&format!("{nodes}, checks: {{ active: {{ {FAST} }} }}"));
    wait_until(&health, &[true, false]);
    let mut client = Client::connect(gateway.address);
    (0..5).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((requests(&low), requests(&high)), (5, 0));
}

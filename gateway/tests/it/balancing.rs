//! Which node gets a request, and which gets it after that.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT};

cases! {
    each_engine: [
        what_passes_plugins_goes_to_another_node_too,
    ]
    once: [
        nodes_of_weight_0_get_nothing,
        the_same_key_goes_to_the_same_node,
        the_fewest_requests_under_way_get_the_next,
        a_node_that_refuses_is_passed_over,
        a_body_that_nobody_took_goes_to_another_node,
        what_a_node_may_have_taken_goes_to_another_only_if_that_is_safe,
        an_answer_is_an_answer,
        retries_are_limited_in_number_and_time,
        lower_priorities_are_for_when_the_higher_ones_fail,
        upstreams_are_told_the_host_that_they_want,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An address at which nothing listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A node that reads a request and closes the connection.
fn hangs_up() -> Upstream {
    Upstream::start(|mut connection| {
        connection.request();
    })
}

fn silent() -> Upstream {
    Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_secs(5));
    })
}

/// A gateway with this upstream for everything.
fn gateway(upstream: &str) -> Gateway {
    Gateway::routes(&format!("[{{ uri: /*, upstream: {{ {upstream} }} }}]"))
}

/// `"a": 1, "b": 1`.
fn equal(nodes: &[SocketAddr]) -> String {
    let nodes: Vec<_> = nodes.iter().map(|node| format!("\"{node}\": 1")).collect();
    format!("nodes: {{ {} }}", nodes.join(", "))
}

fn nodes_of_weight_0_get_nothing() {
    let (used, unused) = (Upstream::answering(OK), Upstream::answering(OK));
    let gateway = gateway(&format!("nodes: {{ \"{}\": 0, \"{}\": 1 }}", unused.address, used.address));
    let mut client = Client::connect(gateway.address);
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((used.requests().len(), unused.requests().len()), (10, 0));
}

fn the_same_key_goes_to_the_same_node() {
    let upstreams: Vec<Upstream> = (0..4).map(|_| Upstream::answering(OK)).collect();
    let nodes: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.address).collect();
    let counts = || upstreams.iter().map(|upstream| upstream.requests().len()).collect::<Vec<_>>();
    for (kind, field) in [
        ("key: arg_user", ""),
        ("hash_on: header, key: x-user", "X-User: "),
        ("hash_on: cookie, key: user", "Cookie: a=b; user="),
        ("hash_on: vars_combinations, key: '$request_method$http_x_user'", "X-User: "),
    ] {
        let gateway = gateway(&format!("type: chash, {kind}, {}", equal(&nodes)));
        let mut used = HashSet::new();
        for user in 0..40 {
            // On connections of their own and on one that stays.
            let mut client = Client::connect(gateway.address);
            let before = counts();
            for round in 0..3 {
                let field = if field.is_empty() { String::new() } else { format!("{field}{user}\r\n") };
                client.send(format!("GET /{round}?user={user} HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
                assert_eq!(client.response("GET").status, 200);
            }
            let changed: Vec<usize> = (0..4).filter(|node| counts()[*node] != before[*node]).collect();
            assert_eq!(changed.len(), 1, "{kind} {user}");
            used.extend(changed);
        }
        assert_eq!(used.len(), 4, "{kind}: 40 users are on all nodes");
    }
    // All of one client.
    let gateway = gateway(&format!("type: chash, key: remote_addr, {}", equal(&nodes)));
    let before = counts();
    (0..20).for_each(|_| assert_eq!(Client::connect(gateway.address).get("/").status, 200));
    assert_eq!((0..4).filter(|node| counts()[*node] != before[*node]).count(), 1);
}

fn the_fewest_requests_under_way_get_the_next() {
    let (slow, fast) = (silent(), Upstream::answering(OK));
    let gateway = gateway(&format!("type: least_conn, {}", equal(&[slow.address, fast.address])));
    let mut waiting = Client::connect(gateway.address);
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let begin = Instant::now();
    while slow.requests().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(5));
    }
    let mut client = Client::connect(gateway.address);
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "ok"));
    assert_eq!((slow.requests().len(), fast.requests().len()), (1, 20));
}

fn a_node_that_refuses_is_passed_over() {
    let good = Upstream::answering(OK);
    let gateway = gateway(&equal(&[nobody(), good.address, nobody()]));
    let mut client = Client::connect(gateway.address);
    (0..9).for_each(|_| assert_eq!(client.get("/").text(), "ok"));
    assert_eq!(good.requests().len(), 9);
}

fn a_body_that_nobody_took_goes_to_another_node() {
    let good = Upstream::answering(OK);
    let gateway = gateway(&equal(&[nobody(), good.address]));
    let mut client = Client::connect(gateway.address);
    for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        for _ in 0..2 {
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
            assert_eq!(client.response("POST").text(), "ok");
        }
    }
    let requests = good.requests();
    assert!(requests.len() == 4 && requests.iter().all(|request| request.body == b"hello"), "{requests:?}");
}

fn what_a_node_may_have_taken_goes_to_another_only_if_that_is_safe() {
    for (bad, status) in [(hangs_up(), 502), (silent(), 504)] {
        let good = Upstream::answering(OK);
        let nodes = equal(&[bad.address, good.address]);
        let gateway = gateway(&format!("{nodes}, timeout: {{ read: 300ms }}"));
        let mut client = Client::connect(gateway.address);
        for _ in 0..2 {
            assert_eq!(client.get("/").text(), "ok");
        }
        // A request that goes on to another node takes the turn of that.
        assert_eq!((bad.requests().len(), good.requests().len()), (2, 2));
        let mut statuses: Vec<u16> = (0..2)
            .map(|_| {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
                client.response("POST").status
            })
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, status]);
        assert_eq!((bad.requests().len(), good.requests().len()), (3, 3));
        let mut statuses: Vec<u16> = (0..2)
            .map(|_| {
                client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
                client.response("DELETE").status
            })
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, status]);
    }
}

fn an_answer_is_an_answer() {
    let error = Upstream::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
    let garbage = Upstream::answering("no HTTP\r\n\r\n");
    for (bad, status) in [(error, 503), (garbage, 502)] {
        let good = Upstream::answering(OK);
        let gateway = gateway(&equal(&[bad.address, good.address]));
        let mut client = Client::connect(gateway.address);
        let mut statuses = [client.get("/").status, client.get("/").status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, status]);
        assert_eq!((bad.requests().len(), good.requests().len()), (1, 1));
    }
}

fn retries_are_limited_in_number_and_time() {
    let good = Upstream::answering(OK);
    let get = |upstream: &str| Client::connect(gateway(upstream).address).get("/").status;
    let nodes = equal(&[nobody(), nobody(), good.address]);
    assert_eq!(get(&format!("retries: 0, {nodes}")), 502);
    assert_eq!(get(&format!("retries: 1, {nodes}")), 502);
    assert_eq!(get(&format!("retries: 2, {nodes}")), 200);
    assert_eq!(get(&format!("retries: 1000, {nodes}")), 200);
    assert_eq!(get(&format!("retries: 1000, {}", equal(&[nobody(), nobody()]))), 502);
    // The first one may take longer than another is asked.
    let slow = silent();
    let nodes = format!("{}, timeout: {{ read: 200ms }}", equal(&[slow.address, good.address]));
    assert_eq!(get(&format!("retry_timeout: 100ms, {nodes}")), 504);
    assert_eq!(get(&format!("retry_timeout: 5, {nodes}")), 200);
}

fn lower_priorities_are_for_when_the_higher_ones_fail() {
    let node = |address: SocketAddr, priority| {
        format!("{{ host: {}, port: {}, weight: 1, priority: {priority} }}", address.ip(), address.port())
    };
    let (first, second) = (Upstream::answering(OK), Upstream::answering(OK));
    let low_to_high = |high: SocketAddr| format!("nodes: [{}, {}]", node(second.address, -5), node(high, 7));
    let gateway_of_two = gateway(&low_to_high(first.address));
    let mut client = Client::connect(gateway_of_two.address);
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((first.requests().len(), second.requests().len()), (10, 0));
    let gateway_of_one = gateway(&low_to_high(nobody()));
    let mut client = Client::connect(gateway_of_one.address);
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(second.requests().len(), 10);
}

fn upstreams_are_told_the_host_that_they_want() {
    let upstream = Upstream::answering(OK);
    let node = upstream.address;
    for (more, expected) in [
        ("", "test".to_owned()),
        (", pass_host: pass", "test".to_owned()),
        (", pass_host: node", node.to_string()),
        (", pass_host: rewrite, upstream_host: 'inner:81'", "inner:81".to_owned()),
    ] {
        let gateway = gateway(&format!("nodes: {{ \"{node}\": 1 }}{more}"));
        assert_eq!(Client::connect(gateway.address).get("/").status, 200);
        let request = upstream.requests().pop().unwrap();
        let hosts: Vec<_> = request.headers.iter().filter(|(name, _)| name == "host").map(|(_, host)| host).collect();
        assert_eq!(hosts, [&expected], "{more}");
    }
}

fn what_passes_plugins_goes_to_another_node_too(engine: &str) {
    let good = Upstream::answering(OK);
    let nodes = equal(&[nobody(), good.address]);
    let gateway = Gateway::with_plugins(
        engine,
        &format!("[{{ name: tested, {SCRIPT} }}]"),
        &format!("[{{ uri: /*, plugins: {{ tested: {{}} }}, upstream: {{ {nodes} }} }}]"),
    );
    let mut client = Client::connect(gateway.address);
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").text(), "ok");
    }
    assert!(good.requests().len() == 4 && good.requests().iter().all(|request| request.body == b"hello"));
}

//! Files as operators write them, right and wrong.

mod any;
mod apisix;

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::*;

const GOOD: &str = r#"
listen: [127.0.0.1:9080, "[::1]:9080"]
workers: 2
wasm:
  plugins:
    - { name: low, file: ../low.wasm, vm_id: shared }
    - name: prime_auth
      file: /plugins/prime-auth.wasm
      priority: 7999
      engine: wasmi
      vm_config: { a: 1 }
      limits: { memory: 64MiB, deadline: 50ms, start_deadline: 2s, pause: 5s, shared_data: 1MiB, queues: 0, metrics: 7 }
      fail_policy: closed
routes:
  - id: one
    uri: /api/*
    methods: [GET, POST]
    hosts: [Example.com, "*.example.org"]
    priority: 10
    plugins:
      low: { conf: { z: [1, two], a: null } }
      prime_auth: { conf: "text" }
    upstream:
      type: roundrobin
      nodes: { "127.0.0.1:1980": 1, "Backend:80": 3 }
      timeout: { connect: 1, send: 2.5, read: 500ms }
  - uri: /exact
    host: a.example
    plugins: { low: , prime_auth: {} }
    upstream: { nodes: { "builtin:echo": 1 } }
"#;

#[test]
fn a_whole_file() {
    let config = Config::parse(GOOD, Path::new("conf/chassis.yaml")).unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.workers.unwrap().get(), 2);
    let [low, prime] = &config.plugins[..] else { panic!("{config:?}") };
    assert_eq!(low.file, Path::new("conf/../low.wasm"));
    assert_eq!((low.priority, &low.engine, low.limits), (0, &None, PluginLimits::default()));
    assert_eq!(prime.file, Path::new("/plugins/prime-auth.wasm"));
    assert_eq!((prime.priority, prime.engine.as_deref()), (7999, Some("wasmi")));
    assert_eq!(prime.vm_config, r#"{"a":1}"#);
    assert_eq!(prime.limits.memory, Some(64 << 20));
    assert_eq!(prime.limits.deadline, Some(Duration::from_millis(50)));
    assert_eq!(prime.limits.start_deadline, Some(Duration::from_secs(2)));
    assert_eq!(prime.limits.pause, Some(Duration::from_secs(5)));
    assert_eq!(
        (prime.limits.shared_data, prime.limits.queues, prime.limits.metrics),
        (Some(1 << 20), Some(0), Some(7))
    );
    assert_eq!((low.vm_id.as_str(), prime.vm_id.as_str()), ("shared", ""));
    assert_eq!(prime.place, Place { line: 7, column: 7 });

    let [one, two] = &config.routes[..] else { panic!("{config:?}") };
    assert_eq!((one.id.as_str(), &one.uris[..]), ("one", &[UriPattern::Prefix("/api/".into())][..]));
    assert_eq!(one.methods, [Method::GET, Method::POST]);
    assert_eq!(one.hosts, [HostPattern::Exact("example.com".into()), HostPattern::Suffix(".example.org".into())]);
    let chain: Vec<_> = one.plugins.iter().map(|entry| (entry.plugin, entry.conf.clone())).collect();
    assert_eq!(chain, [(1, Bytes::from("text")), (0, Bytes::from(r#"{"z":[1,"two"],"a":null}"#))]);
    assert_eq!(
        one.upstream.nodes[1],
        NodeConfig { address: NodeAddress::Tcp("backend:80".into()), weight: 3, priority: 0 }
    );
    let millis = |duration: Duration| duration.as_millis();
    let timeout = one.upstream.timeout;
    assert_eq!((millis(timeout.connect), millis(timeout.send), millis(timeout.read)), (1000, 2500, 500));

    assert_eq!((two.id.as_str(), &two.uris[..]), ("2", &[UriPattern::Exact("/exact".into())][..]));
    assert!(two.plugins.iter().all(|entry| entry.conf.is_empty()) && two.plugins.len() == 2);
    assert_eq!(two.upstream.nodes[0].address, NodeAddress::Echo);
    assert_eq!(two.upstream.timeout, Timeouts::default());
    assert_eq!(config.paths.escaped_slashes, EscapedSlashes::Reject);
}

#[test]
fn escaped_slashes_are_kept_if_the_file_says_so() {
    for (text, expected) in [
        ("paths: { escaped_slashes: keep }", EscapedSlashes::Keep),
        ("paths: { escaped_slashes: reject }", EscapedSlashes::Reject),
        ("paths: {}", EscapedSlashes::Reject),
    ] {
        let text = GOOD.replace("workers: 2", text);
        assert_eq!(Config::parse(&text, Path::new("")).unwrap().paths.escaped_slashes, expected, "{text}");
    }
}

#[test]
fn a_plugin_may_have_a_root_id_and_a_dialect() {
    let plugins = |text: &str| Config::parse(text, Path::new("")).unwrap().plugins;
    let [first, ..] = &plugins(GOOD)[..] else { panic!() };
    assert_eq!((first.root_id.as_str(), first.dialect), ("", Dialect::Envoy));
    for (name, dialect) in [("kong", Dialect::Kong), ("apisix", Dialect::Apisix), ("envoy", Dialect::Envoy)] {
        let text = GOOD.replace("name: low, ", &format!("name: low, root_id: my root, dialect: {name}, "));
        let text = text.replace("{ low: ,", "{ low: { conf: x },");
        let plugins = plugins(&text);
        let low = plugins.iter().find(|plugin| plugin.name == "low").unwrap();
        assert_eq!((low.root_id.as_str(), low.dialect), ("my root", dialect));
    }
    let text = GOOD.replace("name: low, ", "name: low, dialect: nginx, ");
    assert!(Config::parse(&text, Path::new("")).is_err());
}

#[test]
fn upstreams_that_plugins_may_call() {
    let text = GOOD.replace("name: low, ", "name: low, allowed_upstreams: [\"Auth.example:8080\", \"[::1]:1\"], ")
        + "upstreams:\n  - { id: side, nodes: { \"127.0.0.1:1\": 1 }, timeout: { read: 1 } }\n  - { id: 2, nodes: { b:2: 1 } }\n";
    let limits = "callouts: 5, callouts_per_stream: 0, callout_bytes: 1MiB, callout_timeout: 2s";
    let text = text.replace("pause: 5s", &format!("pause: 5s, {limits}"));
    let config = Config::parse(&text, Path::new("")).unwrap();
    let ids: Vec<_> = config.upstreams.iter().map(|upstream| upstream.id.as_str()).collect();
    assert_eq!(ids, ["side", "2"]);
    assert_eq!(config.upstreams[0].upstream.timeout.read, Duration::from_secs(1));
    assert_eq!(config.plugins[0].allowed_upstreams, ["auth.example:8080", "[::1]:1"]);
    assert!(config.plugins[1].allowed_upstreams.is_empty());
    let PluginLimits { callouts, callouts_per_stream, callout_bytes, callout_timeout, .. } = config.plugins[1].limits;
    assert_eq!((callouts, callouts_per_stream, callout_bytes), (Some(5), Some(0), Some(1 << 20)));
    assert_eq!(callout_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn what_upstreams_may_say() {
    let upstream = |text: &str| {
        let text = GOOD.replace("upstream: { nodes: { \"builtin:echo\": 1 } }", &format!("upstream: {{ {text} }}"));
        Config::parse(&text, Path::new("")).unwrap().routes.remove(1).upstream
    };
    let plain = upstream("nodes: { a:1: 1, b:2: 0 }");
    assert_eq!(
        plain,
        UpstreamConfig { name: "routes/2".into(), ..UpstreamConfig::single(NodeAddress::Tcp("a:1".into())) }
    );
    let nodes =
        upstream("nodes: [{ host: A, port: 1, weight: 2, priority: -1 }, { host: '::1', port: 2, weight: 1 }]").nodes;
    let node = |name: &str, weight, priority| NodeConfig { address: NodeAddress::Tcp(name.into()), weight, priority };
    assert_eq!(nodes, [node("a:1", 2, -1), node("[::1]:2", 1, 0)]);
    let rest = upstream("nodes: { a:1: 1 }, retries: 0, retry_timeout: 1.5, pass_host: rewrite, upstream_host: x.y");
    assert_eq!((rest.retries, rest.retry_timeout), (Some(0), Some(Duration::from_millis(1500))));
    assert_eq!(rest.pass_host, PassHost::Rewrite("x.y".parse().unwrap()));
    assert_eq!(upstream("nodes: { a:1: 1 }, retry_timeout: 0, pass_host: node").retry_timeout, None);
    for (text, key) in [
        ("type: chash, key: remote_addr", vec![KeyPart::RemoteAddr]),
        ("type: chash, hash_on: vars, key: arg_id", vec![KeyPart::Arg("id".into())]),
        ("type: chash, key: http_x_user", vec![KeyPart::Header("x-user".parse().unwrap())]),
        ("type: chash, hash_on: header, key: X-User", vec![KeyPart::Header("x-user".parse().unwrap())]),
        ("type: chash, hash_on: cookie, key: Sid", vec![KeyPart::Cookie("Sid".into())]),
        (
            "type: chash, hash_on: vars_combinations, key: '$host/${uri}x'",
            vec![KeyPart::Host, KeyPart::Text("/".into()), KeyPart::Uri, KeyPart::Text("x".into())],
        ),
    ] {
        assert_eq!(upstream(&format!("nodes: {{ a:1: 1 }}, {text}")).balance, Balancing::Hash(HashKey(key)), "{text}");
    }
    assert_eq!(upstream("nodes: { a:1: 1 }, type: least_conn").balance, Balancing::LeastConnections);
}

#[test]
fn health_checks_have_the_defaults_of_apisix() {
    let checks = |text: &str| {
        let text = GOOD.replace("type: roundrobin", &format!("checks: {text}"));
        Config::parse(&text, Path::new("")).unwrap().routes.remove(0).upstream.checks.unwrap()
    };
    let Checks { active, passive } = checks("{ active: {}, passive: {} }");
    assert_eq!((active.kind, active.timeout, active.concurrency), (CheckKind::Http, Duration::from_secs(1), 10));
    assert_eq!((active.http_path.as_str(), active.port, active.host), ("/", None, None));
    assert_eq!((active.healthy_interval, active.unhealthy_interval), (Duration::from_secs(1), Duration::from_secs(1)));
    let counts = |t: &Thresholds| (t.successes, t.http_failures, t.tcp_failures, t.timeouts);
    assert_eq!(counts(&active.thresholds), (2, 5, 2, 3));
    assert_eq!(active.thresholds.healthy_statuses, [200, 302]);
    assert_eq!(active.thresholds.unhealthy_statuses, [404, 429, 500, 501, 502, 503, 504, 505]);
    let passive = passive.unwrap().thresholds;
    assert_eq!((counts(&passive), passive.unhealthy_statuses), ((5, 5, 2, 7), vec![429, 500, 503]));
    assert_eq!((passive.healthy_statuses.len(), passive.healthy_statuses.last()), (19, Some(&308)));
    let given = "{ active: { type: tcp, timeout: 100ms, concurrency: 2, host: h, port: 9, http_path: /s?x=1,
        req_headers: ['X-A: b'], healthy: { interval: 2, successes: 1, http_statuses: [204, 200] },
        unhealthy: { interval: 500ms, http_failures: 0, tcp_failures: 1, timeouts: 254, http_statuses: [] } } }";
    let Checks { active, passive } = checks(given);
    assert!(passive.is_none() && active.kind == CheckKind::Tcp && active.port == Some(9));
    assert_eq!((active.timeout, active.concurrency), (Duration::from_millis(100), 2));
    assert_eq!((active.host.unwrap(), active.http_path.as_str()), ("h".parse().unwrap(), "/s?x=1"));
    assert_eq!(active.req_headers, [("x-a".parse().unwrap(), "b".parse().unwrap())]);
    assert_eq!((counts(&active.thresholds), active.thresholds.healthy_statuses), ((1, 0, 1, 254), vec![200, 204]));
    assert_eq!((active.healthy_interval.as_secs(), active.unhealthy_interval.as_millis()), (2, 500));
}

/// The error for a file that differs from [`GOOD`] in one place.
fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    match Config::parse(&GOOD.replacen(from, to, 1), Path::new("c.yaml")) {
        Ok(config) => panic!("{to} was taken: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn limits_of_workers_are_taken_up_to_their_edges() {
    let limits = |text: &str| Config::parse(&GOOD.replace("workers: 2", text), Path::new("")).unwrap().limits;
    assert_eq!(limits("limits: {}"), WorkerLimits { connections: 4096, buffered_body: 256 << 20 });
    for (text, connections, buffered_body) in [
        ("limits: { connections: 1, buffered_body: 64KiB }", 1, 64 << 10),
        ("limits: { connections: 1000000, buffered_body: 1024GiB }", 1_000_000, 1 << 40),
    ] {
        assert_eq!(limits(text), WorkerLimits { connections, buffered_body });
    }
}

#[test]
fn errors_name_place_key_and_cause() {
    let mut wrong = Vec::new();
    for (from, to, expected) in [
        ("workers:", "worker:", "c.yaml:3:1: worker: unknown key; did you mean `workers`?"),
        ("engine: wasmi", "engin: wasmi", "c.yaml:10:7: engin: unknown key; did you mean `engine`?"),
        ("timeout:", "timeouts:", "c.yaml:26:7: timeouts: unknown key; did you mean `timeout`?"),
        ("fail_policy: closed", "fail_policy: close", "c.yaml:13:20: unknown value; did you mean `closed`?"),
        (
            "type: roundrobin",
            "type: random",
            "c.yaml:24:13: unknown value `random`; known are roundrobin, chash, least_conn",
        ),
        ("workers: 2", "stream_proxy: { tcp: [x] }", "c.yaml:3:23: stream_proxy.tcp[0]: must be an IP address with a"),
        ("workers: 2", "stream_proxy: { tcp: [127.0.0.1:9080] }", "stream_proxy.tcp[0]: is given twice"),
        ("workers: 2", "stream_proxy: { udp: [1] }", "udp: unknown key"),
        (
            "workers: 2",
            "stream_routes: [{ server_port: 0, upstream: { nodes: { a:1: 1 } } }]",
            "c.yaml:3:32: stream_routes[0].server_port: must be a number from 1 to 65535",
        ),
        (
            "workers: 2",
            "stream_routes: [{ remote_addr: 1.2.3.4/40, sni: a, upstream: { nodes: { a:1: 1 } } }]",
            "stream_routes[0].remote_addr: `1.2.3.4/40` must be an address or a network",
        ),
        (
            "workers: 2",
            "stream_routes: [{ sni: a, upstream: { nodes: { \"builtin:echo\": 1 } } }]",
            "stream_routes[0].sni: is not there: streams are not decrypted",
        ),
        (
            "workers: 2",
            "stream_routes: [{ upstream: { nodes: { \"builtin:echo\": 1 } } }]",
            "stream_routes[0].upstream: builtin:echo answers HTTP only",
        ),
        ("type: roundrobin", "type: ewma", "c.yaml:24:13: routes[0].upstream.type: ewma is not there; least_conn"),
        ("type: roundrobin", "type: chash", "c.yaml:24:13: routes[0].upstream.key: is missing; name what is hashed"),
        ("type: roundrobin", "key: uri", "c.yaml:24:12: routes[0].upstream.key: has no effect without type: chash"),
        (
            "type: roundrobin",
            "type: chash\n      key: user",
            "c.yaml:25:12: routes[0].upstream.key: unknown variable; known",
        ),
        ("type: roundrobin", "type: chash\n      hash_on: consumer", "upstream.hash_on: consumer is not there"),
        (
            "type: roundrobin",
            "type: chash\n      hash_on: header\n      key: 'a b'",
            "upstream.key: is no name of a header field",
        ),
        (
            "type: roundrobin",
            "type: chash\n      hash_on: vars_combinations\n      key: 'a${uri'",
            "upstream.key: has a ${ without its }",
        ),
        ("type: roundrobin", "retries: -1", "c.yaml:24:16: routes[0].upstream.retries: must be a number up to 1000"),
        ("type: roundrobin", "retry_timeout: 2h", "upstream.retry_timeout: must be from 0ns to 3600s"),
        ("type: roundrobin", "pass_host: rewrite", "routes[0].upstream.upstream_host: is missing; pass_host: rewrite"),
        ("type: roundrobin", "upstream_host: a", "upstream_host: has no effect without pass_host: rewrite"),
        ("type: roundrobin", "checks: {}", "routes[0].upstream.checks: needs `active`"),
        ("type: roundrobin", "checks: { active: { type: https } }", "checks.active.type: https is not there"),
        (
            "type: roundrobin",
            "scheme: grpc\n      checks: { active: {} }",
            "checks.active.type: http is for scheme http",
        ),
        (
            "type: roundrobin",
            "checks: { active: { healthy: { interval: 0 } } }",
            "checks.active.healthy.interval: must be from 100ms to 3600s",
        ),
        (
            "type: roundrobin",
            "checks: { active: { unhealthy: { http_statuses: [500, 99] } } }",
            "checks.active.unhealthy.http_statuses[1]: must be a status from 200 to 599",
        ),
        ("type: roundrobin", "checks: { active: { http_path: x } }", "checks.active.http_path: must be a path, as"),
        (
            "type: roundrobin",
            "checks: { active: { req_headers: [x] } }",
            "active.req_headers[0]: must be a header line",
        ),
        ("type: roundrobin", "checks: { active: {}, pasive: {} }", "pasive: unknown key; did you mean `passive`?"),
        ("low: { conf", "lo: { conf", "c.yaml:21:7: routes[0].plugins.lo: unknown plugin; did you mean `low`?"),
        ("low: { conf", "waf: { conf", "routes[0].plugins.waf: unknown plugin; wasm.plugins has none of that name"),
        ("name: low", "name: prime_auth", "wasm.plugins[1].name: there is another plugin named `prime_auth`"),
        ("name: low", "name: ''", "wasm.plugins[0].name: is empty"),
        (
            "name: low",
            "name: low, allowed_upstreams: [\"http://a:1\"]",
            "allowed_upstreams[0]: must be host:port, without",
        ),
        ("name: low", "name: low, allowed_upstreams: [a]", "wasm.plugins[0].allowed_upstreams[0]: has no port"),
        ("name: low", "name: low, allowed_upstreams: [\"builtin:echo\"]", "allowed_upstreams[0]: must be host:port"),
        ("workers: 2", "upstreams: [{ id: '', nodes: { a:1: 1 } }]", "upstreams[0].id: is empty"),
        ("workers: 2", "upstreams: [{ id: a, nodes: {} }]", "upstreams[0].nodes: is empty"),
        (
            "workers: 2",
            "upstreams: [{ id: a, nodes: { a:1: 1 } }, { id: a, nodes: { a:1: 1 } }]",
            "upstreams[1].id: there is another upstream with id `a`",
        ),
        ("50ms", "50ms, callouts: -1", "limits.callouts: must be a number from 0 to 1000000"),
        ("50ms", "50ms, callout_bytes: 5", "limits.callout_bytes: must be from 1KiB to 4GiB"),
        ("id: one", "id: 2", "c.yaml:27:5: routes[1].id: there is another route with id `2`"),
        (
            "127.0.0.1:9080",
            "9080",
            "c.yaml:2:10: listen[0]: must be an address with a port; did you mean `127.0.0.1:9080`?",
        ),
        ("127.0.0.1:9080", "localhost:80", "listen[0]: must be an IP address; did you mean `127.0.0.1:80`?"),
        ("127.0.0.1:9080", "\"[::1]:9080\"", "c.yaml:2:24: listen[1]: is given twice"),
        ("[127.0.0.1:9080, \"[::1]:9080\"]", "[]", "c.yaml:2:9: listen: is empty"),
        ("workers: 2", "workers: 0", "c.yaml:3:10: workers: must be a number from 1 to 1024"),
        ("workers: 2", "workers: -1", "c.yaml:3:10: workers: must be a number from 1 to 1024"),
        ("workers: 2", "paths: { escaped_slashes: kep }", "c.yaml:3:27: unknown value; did you mean `keep`?"),
        ("workers: 2", "limits: { connections: 0 }", "limits.connections: must be a number from 1 to 1000000"),
        ("workers: 2", "limits: { connections: 1000001 }", "limits.connections: must be a number from 1 to"),
        ("workers: 2", "limits: { buffered_body: 65535 }", "limits.buffered_body: must be from 64KiB to 1024GiB"),
        (
            "workers: 2",
            "limits: { buffered: 1GiB }",
            "c.yaml:3:11: buffered: unknown key; did you mean `buffered_body`?",
        ),
        ("64MiB", "0", "c.yaml:12:25: wasm.plugins[1].limits.memory: must be from 64KiB to 4GiB"),
        ("64MiB", "5GiB", "limits.memory: must be from 64KiB to 4GiB"),
        ("64MiB", "-64MiB", "limits.memory: must be a number of bytes"),
        ("1MiB", "2GiB", "limits.shared_data: must be at most 1GiB"),
        ("queues: 0", "queues: -1", "limits.queues: must be a number of bytes"),
        ("metrics: 7", "metrics: 100001", "limits.metrics: must be a number up to 100000"),
        ("metrics: 7", "metrics: 1KiB", "limits.metrics: must be a number up to 100000"),
        ("50ms", "50", "limits.deadline: must be a duration with its unit"),
        ("50ms", "0ms", "limits.deadline: must be from 1ms to 60s"),
        ("uri: /api/*", "uri: api", "c.yaml:16:10: routes[0].uri: must begin with a slash; did you mean `/api`?"),
        ("uri: /api/*", "uri: /a/*/b", "routes[0].uri: may have a * only at its end"),
        ("uri: /api/*", "uri: /a/../b", "routes[0].uri: never matches"),
        (
            "uri: /api/*",
            "uri: /a?b",
            "routes[0].uri: is compared with decoded paths without query; '?' may not be in it",
        ),
        ("uri: /api/*", "url: /api/*", "c.yaml:16:5: url: unknown key; did you mean `uri`?"),
        ("[GET, POST]", "[GET, POTS]", "c.yaml:17:20: routes[0].methods[1]: unknown method; did you mean `POST`?"),
        ("[GET, POST]", "[]", "routes[0].methods: is empty"),
        ("Example.com", "example.com:80", "routes[0].hosts[0]: must be a host without port"),
        ("Example.com", "'*'", "routes[0].hosts[0]: must be a host, or * with a domain"),
        ("\"127.0.0.1:1980\": 1", "\"127.0.0.1:1980\": -1", "nodes.127.0.0.1:1980: the weight must be a number from 0"),
        ("{ \"builtin:echo\": 1 }", "{ \"builtin:echo\": 0 }", "routes[1].upstream.nodes: all weights are 0"),
        (
            "{ \"builtin:echo\": 1 }",
            "[{ host: a, port: 1, weight: 1 }, { host: a, port: 1, weight: 0 }]",
            "routes[1].upstream.nodes[1]: is given twice",
        ),
        ("{ \"builtin:echo\": 1 }", "[{ host: a, weight: 1 }]", "port: is missing"),
        ("{ \"builtin:echo\": 1 }", "[{ host: a, port: 0, weight: 1 }]", "nodes[0]: the port must be a number from 1"),
        ("{ \"builtin:echo\": 1 }", "3", "must be a mapping of addresses to weights, or a list of nodes"),
        ("\"127.0.0.1:1980\": 1", "\"127.0.0.1\": 1", "nodes.127.0.0.1: has no port"),
        ("\"127.0.0.1:1980\"", "\"http://127.0.0.1:1980\"", "must be host:port, without a scheme"),
        ("\"127.0.0.1:1980\"", "\"::1:1980\"", "an IPv6 address goes in brackets"),
        ("\"127.0.0.1:1980\"", "\"127.0.0.1:0\"", "the port must be a number from 1 to 65535"),
        ("\"127.0.0.1:1980\"", "\"Backend:80\"", "Backend:80: is given twice"),
        ("\"127.0.0.1:1980\"", "\"BACKEND:80\"", "nodes.Backend:80: is given twice"),
        ("builtin:echo", "builtin:ehco", "unknown built-in node; did you mean `builtin:echo`?"),
        ("{ \"builtin:echo\": 1 }", "{}", "c.yaml:30:24: routes[1].upstream.nodes: is empty"),
        ("connect: 1,", "connect: 0,", "routes[0].upstream.timeout.connect: must be from 1ms to 3600s"),
        ("conf: \"text\"", "conf: 17", "must be a string or a mapping"),
        ("uri: /exact\n    ", "", "c.yaml:27:5: routes[1].uri: is missing"),
        ("routes:", "routes: &a *a\nx:", "c.yaml:14:"),
    ] {
        let error = error(from, to);
        if !error.contains(expected) || !error.starts_with("c.yaml:") || error.contains(":0:0:") {
            wrong.push(format!("{to}\n  expected {expected}\n  got      {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let text = GOOD.replace("9080", "x").replace("50ms", "50").replace("/exact", "exact");
    let Err(ConfigError::Invalid { problems, .. }) = Config::parse(&text, Path::new("c.yaml")) else { panic!("taken") };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["listen[0]", "listen[1]", "wasm.plugins[1].limits.deadline", "routes[1].uri"]);
}

#[test]
fn of_very_many_mistakes_only_the_first_get_a_suggestion() {
    let uses: String = (0..300).map(|n| format!("plugn{n}: {{}}, ")).collect();
    let text = format!(
        "listen: [127.0.0.1:1]\nwasm: {{ plugins: [{{ name: plugin, file: a.wasm }}] }}\nroutes:\n  - {{ uri: /, plugins: {{ {uses} }}, upstream: {{ nodes: {{ \"a:1\": 1 }} }} }}\n"
    );
    let Err(ConfigError::Invalid { problems, .. }) = Config::parse(&text, Path::new("c.yaml")) else { panic!() };
    assert_eq!(problems.len(), 300, "all are told");
    assert_eq!(problems.iter().filter(|problem| problem.cause.contains("did you mean")).count(), 100);
}

#[test]
fn hostile_files_end_in_an_error() {
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='i')
            .zip('a'..)
            .map(|(to, from)| format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(",")))
            .collect::<String>()
        + "listen: *i\n";
    let wide = format!("listen: [{}]", "x,".repeat(400_000));
    let route = |more: &str| {
        format!("listen: [127.0.0.1:1]\nroutes:\n  - {{ uri: /, {more}, upstream: {{ nodes: {{ \"a:1\": 1 }} }} }}\n")
    };
    let mapping = route(&format!("vars: {}1{}", "{ a: ".repeat(5000), " }".repeat(5000)));
    let nested = route(&format!("vars: {}{}", "[".repeat(30), "]".repeat(30)));
    let patterns = route(&format!("vars: [{}]", "[uri, '~~', '^(a{99}){9}$'], ".repeat(2000)));
    let pattern = route("vars: [[uri, '~~', '((a{99}){99}){99}']]");
    let group = route(&format!("vars: [[uri, '~~', '{}']]", "(".repeat(100_000)));
    let networks = route("remote_addrs: ['::/129', '1.2.3/8', '', '1.2.3.4/', '/8', 'fe80::1%lo/64']");
    for text in [
        "",
        "\0",
        "listen",
        "- 1",
        "listen: 1",
        "---\n---\n",
        "\u{feff}{",
        &deep,
        &bomb,
        &wide,
        &mapping,
        &nested,
        &patterns,
        &pattern,
        &group,
        &networks,
    ] {
        let error = Config::parse(text, Path::new("c.yaml")).unwrap_err().to_string();
        assert!(error.starts_with("c.yaml:") && error.len() < 2000, "{error}");
    }
    let name = format!("listen: [127.0.0.1:1]\n\"{}\\x1b[31m\": 1", "x".repeat(100_000));
    let error = Config::parse(&name, Path::new("c.yaml")).unwrap_err().to_string();
    assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
}

/// Short files that would be large once all that refers to something has a copy of it.
#[test]
fn what_is_inherited_has_an_end() {
    let plugins: String = (0..1100).map(|n| format!("    - {{ name: p{n}, file: a.wasm }}\n")).collect();
    let uses: String = (0..1100).map(|n| format!("p{n}: , ")).collect();
    let nodes: String = (0..1100).map(|n| format!("'h:{}': 1, ", n + 1)).collect();
    let hosts: String = (0..1100).map(|n| format!("h{n}, ")).collect();
    let head = format!("listen: [127.0.0.1:1]\nwasm:\n  plugins:\n{plugins}");
    let routes = |more: &str| -> String { (0..1100).map(|n| format!("  - {{ uri: /{n}, {more} }}\n")).collect() };
    let upstream = "upstreams:\n  - { id: u, nodes: { 'a:1': 1 } }\n";
    let service = |parts: &str| {
        format!("services:\n  - {{ id: s, {parts} }}\nroutes:\n{}", routes("service_id: s, upstream_id: u"))
    };
    for text in [
        upstream.to_owned() + &service(&format!("plugins: {{ {uses} }}")),
        upstream.to_owned() + &service(&format!("hosts: [{hosts}]")),
        format!(
            "{upstream}global_rules:\n  - {{ id: g, plugins: {{ {uses} }} }}\nroutes:\n{}",
            routes("upstream_id: u")
        ),
        format!(
            "{upstream}plugin_configs:\n  - {{ id: c, plugins: {{ {uses} }} }}\nroutes:\n{}",
            routes("plugin_config_id: c, upstream_id: u")
        ),
        format!("upstreams:\n  - {{ id: u, nodes: {{ {nodes} }} }}\nroutes:\n{}", routes("upstream_id: u")),
        format!(
            "services:\n  - {{ id: s, upstream: {{ nodes: {{ {nodes} }} }} }}\nroutes:\n{}",
            routes("service_id: s")
        ),
        // One node, with text like a million of them.
        format!(
            "upstreams:\n  - {{ id: u, nodes: {{ 'a:1': 1 }}, type: chash, hash_on: vars_combinations, key: '{}$uri' }}\nroutes:\n{}",
            "k".repeat(1 << 20),
            routes("upstream_id: u")
        ),
    ] {
        let error = Config::parse(&format!("{head}{text}"), Path::new("c.yaml")).unwrap_err().to_string();
        assert!(
            error.contains("inherits so much that it is more than 1000000 plugins, nodes and hosts in all"),
            "{error:.1000}"
        );
        assert!(error.lines().count() == 1, "{error:.1000}");
    }
}

#[test]
fn hosts_and_paths_at_their_edges() {
    assert!(route::host_pattern(&"a".repeat(253)).is_ok());
    let longer = route::host_pattern(&"a".repeat(254)).unwrap_err();
    assert_eq!(longer, "has 254 characters; no host has more than 253");
    let read = |uri: &str| {
        let route = format!("routes: [{{ uri: '{uri}', upstream: {{ nodes: {{ 'a:1': 1 }} }} }}]");
        Config::parse(&format!("listen: [127.0.0.1:1]\n{route}"), Path::new("")).is_ok()
    };
    for uri in ["/.*", "/..*", "/a/.*", "/.git", "/..a"] {
        assert!(read(uri), "{uri}");
    }
    for uri in ["/.", "/..", "/a/./*", "/a/../b", "/a//b"] {
        assert!(!read(uri), "{uri}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    for (path, expected) in [("none.yaml", "cannot be read"), ("", "cannot be read"), ("latin1.yaml", "invalid utf-8")]
    {
        std::fs::write(directory.path().join("latin1.yaml"), b"listen: [\xff]").unwrap();
        let error = Config::load(&directory.path().join(path)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with(&*directory.path().to_string_lossy()), "{error}");
    }
    let large = directory.path().join("large.yaml");
    std::fs::write(&large, vec![b'#'; MAX_FILE_BYTES as usize + 1]).unwrap();
    assert!(matches!(Config::load(&large), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn certificates_are_judged_where_they_are() {
    let file = |ssl: &str| format!("listen: [127.0.0.1:1]\n{ssl}\nroutes: []\n");
    let problems = |ssl: &str| match Config::parse(&file(ssl), Path::new("nowhere/test.yaml")) {
        Err(ConfigError::Invalid { problems, .. }) => {
            problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.cause)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let text = |pem: &str| serde_json::to_string(pem).unwrap();
    let (cert, other) = (text(&pem), text(&rcgen::KeyPair::generate().unwrap().serialize_pem()));
    let key = text(&key.serialize_pem());
    let good = format!("ssls: [{{ cert: {cert}, key: {key}, snis: [A.example, '*.b.example'] }}]");
    let config = Config::parse(&file(&format!("ssl: {{ listen: [127.0.0.1:2] }}\n{good}")), Path::new("")).unwrap();
    assert_eq!(config.ssl.listen.len(), 1);
    assert_eq!(config.ssl.certificates[0].snis[0], HostPattern::Exact("a.example".into()));
    assert!(!format!("{config:?}").contains("BEGIN"));
    for (ssl, expected) in [
        ("ssl: { listen: [127.0.0.1:2] }".to_owned(), "ssl.listen: has no certificate to show"),
        (format!("ssl: {{ listen: [127.0.0.1:1] }}\n{good}"), "ssl.listen[0]: is given twice"),
        (format!("ssl: {{ listen: [], fallback_sni: c }}\n{good}"), "ssl.fallback_sni: none of ssls is for this name"),
        (format!("ssls: [{{ cert: {cert}, key: {other}, snis: [a] }}]"), "ssls[0]: cannot be used: "),
        (format!("ssls: [{{ cert: {key}, key: {key}, snis: [a] }}]"), "ssls[0]: cannot be used: has no certificate"),
        (format!("ssls: [{{ cert: {cert}, key: {cert}, snis: [a] }}]"), "ssls[0]: cannot be used: has no private key"),
        (format!("ssls: [{{ cert: none.pem, key: {key}, snis: [] }}]"), "ssls[0].snis: is empty"),
        (
            format!("ssls: [{{ cert: none.pem, key: {key}, snis: [a] }}]"),
            "ssls[0].cert: `none.pem` is no PEM, and cannot",
        ),
    ] {
        let found = problems(&ssl);
        assert!(found.iter().any(|found| found.starts_with(expected)), "{ssl:.100}: {found:?}");
    }
}

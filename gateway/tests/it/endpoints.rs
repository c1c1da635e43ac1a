//! What operators ask: metrics and the control API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use chassis_abi::{Identity, LogLevel, MetricType, Services};
use chassis_host::{HostServices, Stores};

use crate::client::{Client, Response};
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT, config, settings};

cases! {
    each_engine: [
        plugins_are_counted_and_shown,
    ]
    once: [
        requests_are_counted_by_route_and_status,
        metrics_of_guests_are_told_and_all_of_it_parses,
        routes_upstreams_and_chains_are_shown,
        the_health_of_nodes_is_shown,
        it_is_not_ready_while_it_drains,
        what_is_malformed_or_too_much_is_refused,
    ]
}

/// Has both endpoints on free ports.
const ENDPOINTS: &str = "apisix: { control: { port: 0 } }\nplugin_attr: { prometheus: { export_addr: { port: 0 } } }\n";

/// A gateway with both endpoints, without plugins.
fn plain(routes: &str) -> (Gateway, SocketAddr, SocketAddr) {
    let (settings, sink) = settings("", &format!("{}{ENDPOINTS}", config("[]", routes))).unwrap();
    started(Gateway::start(settings, sink).unwrap())
}

fn started(gateway: Gateway) -> (Gateway, SocketAddr, SocketAddr) {
    let addresses = gateway.server.as_ref().unwrap().endpoints();
    (gateway, addresses.metrics.unwrap(), addresses.control.unwrap())
}

fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).get(path)
}

fn json(address: SocketAddr, path: &str) -> serde_json::Value {
    let response = get(address, path);
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{path}");
    serde_json::from_slice(&response.body).unwrap()
}

/// The samples of a scrape, by all that is before the value. Everything has to be as the format wants it.
fn scrape(address: SocketAddr) -> HashMap<String, f64> {
    let response = get(address, "/apisix/prometheus/metrics");
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut samples = HashMap::new();
    for line in response.text().lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        check_series(series);
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {series}");
    }
    samples
}

/// A name, and labels in quotes in which quotes and backslashes are escaped.
fn check_series(series: &str) {
    let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{series}");
    let Some(mut rest) = labels else { return };
    loop {
        let (label, text) = rest.split_once("=\"").unwrap_or_else(|| panic!("{series}"));
        assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{series}");
        let mut end = 0;
        while text.as_bytes()[end] != b'"' {
            end += if text.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        match &text[end + 1..] {
            "}" => return,
            more => rest = more.strip_prefix(',').unwrap_or_else(|| panic!("{series}")),
        }
    }
}

/// Scrapes until a sample has this value: a response counts when its last byte is gone.
fn wait_for(address: SocketAddr, series: &str, value: f64) -> HashMap<String, f64> {
    for _ in 0..200 {
        let samples = scrape(address);
        if samples.get(series) == Some(&value) {
            return samples;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("{series} is not {value}: {:#?}", scrape(address));
}

fn requests_are_counted_by_route_and_status() {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(30));
            connection.send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let (gateway, metrics, _) =
        plain(&format!("[{{ id: a, uri: /a, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address));
    let mut client = Client::connect(gateway.address);
    assert_eq!((client.get("/a").status, client.get("/a").status, client.get("/b").status), (201, 201, 404));
    wait_for(metrics, r#"apisix_http_status{code="404",route=""}"#, 1.0);
    let samples = wait_for(metrics, r#"apisix_http_status{code="201",route="a"}"#, 2.0);
    let at = |series: &str| samples.get(series).copied().unwrap_or_else(|| panic!("{series}: {samples:#?}"));
    assert_eq!(at(r#"apisix_bandwidth{type="egress",route="a"}"#), 10.0);
    for kind in ["request", "upstream"] {
        assert_eq!(at(&format!(r#"apisix_http_latency_count{{type="{kind}",route="a"}}"#)), 2.0);
        assert_eq!(at(&format!(r#"apisix_http_latency_bucket{{type="{kind}",route="a",le="20"}}"#)), 0.0);
        assert_eq!(at(&format!(r#"apisix_http_latency_bucket{{type="{kind}",route="a",le="+Inf"}}"#)), 2.0);
        assert!(at(&format!(r#"apisix_http_latency_sum{{type="{kind}",route="a"}}"#)) >= 60.0);
    }
    assert_eq!(at("apisix_http_requests_total"), 3.0);
    assert_eq!(at(r#"apisix_nginx_http_current_connections{state="active"}"#), 1.0);
    drop(client);
    wait_for(metrics, r#"apisix_nginx_http_current_connections{state="active"}"#, 0.0);
    // One that leaves before it is answered.
    let mut client = Client::connect(gateway.address);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(10));
    drop(client);
    wait_for(metrics, r#"apisix_nginx_http_current_connections{state="writing"}"#, 0.0);
    assert_eq!(get(metrics, "/metrics").status, 200);
}

fn plugins_are_counted_and_shown(engine: &'static str) {
    let text = config(
        &format!("[{{ name: tested, {SCRIPT} }}, {{ name: unused, {SCRIPT} }}]"),
        "[{ id: a, uri: /*, plugins: { tested: { conf: hi } }, upstream: { nodes: { \"builtin:echo\": 1 } } }]",
    );
    let (settings, sink) = settings(engine, &format!("{text}{ENDPOINTS}")).unwrap();
    let (gateway, metrics, control) = started(Gateway::start(settings, sink).unwrap());
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/").status, 200);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-act: t\r\n\r\n");
    assert_eq!(client.response("GET").status, 503);
    let samples = wait_for(metrics, r#"chassis_plugin_crashes_total{plugin="tested",kind="trap"}"#, 1.0);
    assert!(samples[r#"chassis_plugin_callbacks_total{plugin="tested"}"#] >= 2.0);
    wait_for(metrics, &format!(r#"chassis_vm_instances{{plugin="tested",engine="{engine}"}}"#), 1.0);
    let plugins = json(control, "/v1/plugins");
    let tested = &plugins[0];
    assert_eq!((&tested["name"], &tested["engine"]["name"]), (&"tested".into(), &engine.into()));
    assert_eq!((&tested["crashes"]["trap"], &tested["crashes"]["deadline"]), (&1.into(), &0.into()));
    assert_eq!((&tested["vms"][0]["worker"], &tested["vms"][0]["state"]), (&0.into(), &"running".into()));
    assert!(tested["memory_bytes"].as_u64().unwrap() >= 65536, "{tested}");
    assert_eq!(tested["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&plugins[1]["name"], plugins[1]["vms"].as_array().unwrap().len()), (&"unused".into(), 0));
}

fn metrics_of_guests_are_told_and_all_of_it_parses() {
    let routes = r#"[{ id: "q\"uote\\ } 1\n", uri: /*, upstream: { nodes: { "builtin:echo": 1 } } }]"#;
    let text = format!("{}{ENDPOINTS}", config("[]", routes));
    let (settings, sink) = settings("", &text).unwrap();
    let stores = Stores::new();
    let mut services = HostServices::new(sink.clone(), LogLevel::Info).with_stores(stores.clone());
    let shared = services.shared().unwrap();
    let plugin = Identity { name: "p\"\n} 2\\".to_owned(), ..Identity::default() };
    for name in [&b"hits"[..], b"x\n} 1\xff\"", b"apisix_http_status", b"", b"hits_total{a=\"b\"} 1"] {
        let id = shared.define_metric(&plugin, MetricType::Counter, name).unwrap();
        shared.increment_metric(&plugin, id, 3).unwrap();
    }
    settings.metrics.set_stores(stores.clone());
    let (gateway, metrics, _) = started(Gateway::start(settings, sink).unwrap());
    assert_eq!(get(gateway.address, "/").status, 200);
    let samples = wait_for(metrics, r#"apisix_http_status{code="200",route="q\"uote\\ } 1\n"}"#, 1.0);
    let of_guests = samples.iter().filter(|(series, _)| series.starts_with("wasmcustom_"));
    assert_eq!(of_guests.map(|(_, value)| *value).collect::<Vec<_>>(), [3.0; 5]);
}

fn routes_upstreams_and_chains_are_shown() {
    let text = format!(
        "{}upstreams: [{{ id: side, nodes: {{ \"a:1\": 2 }} }}]\n{ENDPOINTS}",
        config(
            "[]",
            "[{ id: a, uri: /x/*, methods: [GET], host: '*.b.c', upstream: { nodes: { \"builtin:echo\": 1 } } }]"
        )
    );
    let (settings, sink) = settings("", &text).unwrap();
    let (_gateway, _, control) = started(Gateway::start(settings, sink).unwrap());
    let route = json(control, "/v1/route/a");
    assert_eq!(route, json(control, "/v1/routes")[0]);
    assert_eq!(
        (&route["uris"][0], &route["hosts"][0], &route["methods"][0]),
        (&"/x/*".into(), &"*.b.c".into(), &"GET".into())
    );
    assert_eq!(json(control, "/v1/upstreams")[0]["nodes"]["a:1"], 2);
    assert_eq!(json(control, "/v1/upstream/side")["id"], "side");
    assert_eq!(json(control, "/v1/route/a/chain")["chain"], serde_json::json!([]));
    for path in ["/", "/v1/route/b", "/v1/route/", "/v1/upstream/b", "/v1", "/v1/route/a/b/c", "/apisix/admin/routes"] {
        assert_eq!(get(control, path).status, 404, "{path}");
    }
    assert_eq!(get(control, "/healthz").text(), "ok\n");
    assert_eq!(get(control, "/readyz").status, 200);
}

fn the_health_of_nodes_is_shown() {
    // Nobody listens on what was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let checks = "checks: { active: { type: tcp, unhealthy: { interval: 100ms, tcp_failures: 1 } } }";
    let (_gateway, _, control) =
        plain(&format!("[{{ id: a, uri: /*, upstream: {{ nodes: {{ \"{free}\": 1 }}, {checks} }} }}]"));
    let begin = std::time::Instant::now();
    let shown = loop {
        let shown = json(control, "/v1/healthcheck/routes/a");
        if shown["nodes"][0]["status"] == "unhealthy" {
            break shown;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{shown}");
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&shown["name"], &shown["type"]), (&"routes/a".into(), &"tcp".into()));
    assert_eq!(shown["nodes"][0]["address"], free.to_string());
    assert_eq!(json(control, "/v1/healthcheck").as_array().unwrap().len(), 1);
    assert_eq!(get(control, "/v1/healthcheck/upstreams/a").status, 404);
}

fn it_is_not_ready_while_it_drains() {
    let upstream = Upstream::start(|mut connection| {
        connection.request();
        thread::sleep(Duration::from_millis(1500));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let (mut gateway, _, control) =
        plain(&format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address));
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(200));
    let server = gateway.server.take().unwrap();
    let ending = thread::spawn(move || server.shut_down());
    thread::sleep(Duration::from_millis(200));
    assert_eq!(get(control, "/readyz").status, 503);
    assert_eq!(get(control, "/healthz").status, 200);
    assert_eq!(client.response("GET").text(), "ok");
    ending.join().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(control).is_err());
}

fn what_is_malformed_or_too_much_is_refused() {
    let (_gateway, metrics, control) = plain("[]");
    for address in [metrics, control] {
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 413),
            ("nonsense\r\n\r\n", 400),
            (
                "POST /v1/plugins HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                if address == control { 405 } else { 404 },
            ),
        ] {
            let mut client = Client::connect(address);
            client.send(request);
            assert_eq!(client.response("GET").status, status, "{request}");
        }
        let mut client = Client::connect(address);
        // It may be cut off while this is sent.
        let _ = std::io::Write::write_all(
            &mut client.socket(),
            format!("GET /{} HTTP/1.1\r\n", "a".repeat(200_000)).as_bytes(),
        );
        let refused = client.try_response("GET").is_none_or(|response| matches!(response.status, 414 | 431 | 400));
        assert!(refused);
    }
    assert_eq!(get(metrics, "/metrics").status, 200);
}

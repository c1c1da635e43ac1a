//! Files in APISIX's form: which contexts there are, and in which order plugins see a request.

use chassis_gateway::config::{Config, ConfigError};

use crate::client::Client;
use crate::sink::Sink;
use crate::upstream::Upstream;
use crate::{Gateway, plugin_folder, settings_of};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

cases! {
    each_engine: [
        a_request_logs_the_contexts_that_it_has,
        routes_that_inherit_a_plugin_have_a_context_each,
        a_global_rule_and_a_route_have_a_context_each,
        all_of_the_rewrite_phase_comes_before_the_access_phase,
        bodies_are_shown_to_those_who_ask,
        a_dialect_of_its_own_has_bodies_shown_and_responses_reversed,
        routes_pick_by_parameters_clients_and_conditions,
    ]
    once: [
        files_of_apisix_are_read_from_their_directory,
    ]
}

/// A gateway with `config.yaml` and `apisix.yaml`; `plugins` and `routes` are the parts of them that matter.
fn gateway(engine: &str, plugins: &str, routes: &str) -> Gateway {
    let given = format!(
        "apisix:\n  node_listen:\n    - {{ ip: 127.0.0.1, port: 0 }}\n  enable_admin: false\n\
         deployment:\n  role: data_plane\n  role_data_plane:\n    config_provider: yaml\n\
         nginx_config:\n  worker_processes: auto\nworkers: 1\nwasm:\n  plugins:\n{plugins}"
    );
    let routes = format!("{routes}\n#END\n");
    let (given_file, routes_file) = (plugin_folder().join("config.yaml"), plugin_folder().join("apisix.yaml"));
    let config = Config::parse_apisix(&given, &given_file, &routes, &routes_file).unwrap();
    assert!(config.warnings.iter().any(|warning| warning.key == "apisix.enable_admin"), "{:?}", config.warnings);
    let (settings, sink) = settings_of(engine, config, |services| services).unwrap();
    Gateway::start(settings, sink).unwrap()
}

const LOG: &str = "    - name: wasm_log\n      priority: 7999\n      file: go/log.wasm\n      http_request_phase: access\n      limits: { start_deadline: 60s, deadline: 5s }\n";

/// What was logged by request callbacks.
fn ran(sink: &Sink) -> Vec<String> {
    sink.take().into_iter().filter(|line| line.starts_with("run plugin")).collect()
}

fn a_request_logs_the_contexts_that_it_has(engine: &str) {
    let upstream = Upstream::answering(OK);
    let route = format!(
        r#"{{"id":"wasm-log-plugin","uri":"/anything","plugins":{{"wasm_log":{{"conf":"hello apisix"}}}},"upstream":{{"type":"roundrobin","nodes":{{"{}":1}}}}}}"#,
        upstream.address
    );
    let gateway = gateway(engine, LOG, &format!("routes:\n  - {route}"));
    assert_eq!(Client::connect(gateway.address).get("/anything").status, 200);
    assert_eq!(ran(&gateway.sink), ["run plugin ctx 1 with conf hello apisix in http ctx 2"]);
    assert_eq!(Client::connect(gateway.address).get("/nothing").status, 404);
}

fn routes_that_inherit_a_plugin_have_a_context_each(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = gateway(
        engine,
        LOG,
        &format!(
            "services:\n  - id: s\n    plugins: {{ wasm_log: {{ conf: shared }} }}\n    upstream_id: u\n\
             upstreams:\n  - id: u\n    nodes: {{ \"{}\": 1 }}\n\
             routes:\n  - {{ uri: /one, service_id: s }}\n  - {{ uri: /two, service_id: s }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    for path in ["/one", "/two", "/one"] {
        assert_eq!(client.get(path).status, 200);
    }
    let contexts: Vec<String> =
        ran(&gateway.sink).iter().map(|line| line.split(" in http").next().unwrap().to_owned()).collect();
    let (one, two) = ("run plugin ctx 1 with conf shared", "run plugin ctx 2 with conf shared");
    assert_eq!(contexts, [one, two, one]);
}

fn a_global_rule_and_a_route_have_a_context_each(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = gateway(
        engine,
        LOG,
        &format!(
            "global_rules:\n  - id: 1\n    plugins: {{ wasm_log: {{ conf: everywhere }} }}\n\
             routes:\n  - uri: /both\n    plugins: {{ wasm_log: {{ conf: here }} }}\n    upstream: &u {{ nodes: {{ \"{}\": 1 }} }}\n\
             \x20 - {{ uri: /global, upstream: *u }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/both").status, 200);
    assert_eq!(
        ran(&gateway.sink),
        ["run plugin ctx 1 with conf everywhere in http ctx 3", "run plugin ctx 2 with conf here in http ctx 4"]
    );
    assert_eq!(client.get("/global").status, 200);
    let lines = ran(&gateway.sink);
    assert!(matches!(&lines[..], [line] if line.starts_with("run plugin ctx 1 with conf everywhere in")), "{lines:?}");
}

/// Two plugins, of which the one that runs first has the lower priority.
const ASKS: &str = "    - { name: second, priority: 9, file: ../gateway/tests/guests/asks.wat }\n    - { name: first, priority: 1, http_request_phase: rewrite, file: ../gateway/tests/guests/asks.wat }\n";

/// What plugins were shown, as `plugin callback digits`.
fn shown(gateway: &Gateway, request: &str) -> Vec<String> {
    let mut client = Client::connect(gateway.address);
    gateway.sink.clear();
    client.send(request);
    assert_eq!(client.response("POST").status, 200);
    let lines = gateway.sink.lines();
    lines.iter().map(|line| format!("{} {} {}", line.plugin, line.callback, line.message)).collect()
}

const IN_PIECES: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";

fn two(engine: &str, upstream: &Upstream, plugins: &str, first: &str, second: &str) -> Gateway {
    let route = format!(
        "{{ uri: /*, plugins: {{ first: {{ conf: {first} }}, second: {{ conf: {second} }} }}, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}",
        upstream.address
    );
    gateway(engine, plugins, &format!("routes:\n  - {route}"))
}

fn all_of_the_rewrite_phase_comes_before_the_access_phase(engine: &str) {
    for asks in ["body", "pause"] {
        let upstream = Upstream::answering(OK);
        let gateway = two(engine, &upstream, ASKS, asks, "body");
        assert_eq!(
            shown(&gateway, IN_PIECES),
            [
                "first request_headers 00",
                "first request_body 51",
                "second request_headers 00",
                "second request_body 51",
                "first response_headers 00",
                "second response_headers 00",
            ]
        );
        assert_eq!(upstream.requests()[0].body, b"hello");
    }
}

fn bodies_are_shown_to_those_who_ask(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = two(engine, &upstream, ASKS, "nothing", "body");
    let headers = ["first response_headers 00", "second response_headers 00"];
    let before = ["first request_headers 00", "second request_headers 00", "second request_body 51"];
    assert_eq!(shown(&gateway, IN_PIECES), [&before[..], &headers].concat());
    // There is none.
    let empty = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let before = ["first request_headers 01", "second request_headers 01"];
    assert_eq!(shown(&gateway, empty), [&before[..], &headers].concat());
    // Only the end of it.
    let nothing = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let lines = shown(&gateway, nothing);
    assert_eq!(lines[lines.len() - 2..], headers, "{lines:?}");

    let gateway = two(engine, &upstream, ASKS, "response", "nothing");
    let lines = shown(&gateway, IN_PIECES);
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).cloned().collect::<Vec<_>>();
    assert!(of("request_body").is_empty() && of("second response_body").is_empty(), "{lines:?}");
    assert!(of("first response_body").last().is_some_and(|line| line.ends_with('1')), "{lines:?}");
    assert_eq!(of("response_headers"), headers);
}

fn a_dialect_of_its_own_has_bodies_shown_and_responses_reversed(engine: &str) {
    let upstream = Upstream::answering(OK);
    let plugins = ASKS.replace("priority: 9,", "priority: 9, dialect: envoy,");
    let gateway = two(engine, &upstream, &plugins, "nothing", "nothing");
    let lines = shown(&gateway, IN_PIECES);
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).cloned().collect::<Vec<_>>();
    assert_eq!(of("response_headers"), ["second response_headers 00", "first response_headers 00"]);
    assert!(!of("second request_body").is_empty() && !of("second response_body").is_empty(), "{lines:?}");
    assert!(of("first request_body").is_empty(), "{lines:?}");
}

fn routes_pick_by_parameters_clients_and_conditions(engine: &str) {
    let gateway = gateway(
        engine,
        LOG,
        "upstreams:\n  - { id: 1, nodes: { \"builtin:echo\": 1 } }\n\
         routes:\n\
         \x20 - { uris: ['/users/:id', /me], upstream_id: 1, vars: [[arg_v, '==', '1'], [http_x_a, '~~', '^a+$']] }\n\
         \x20 - { uri: /local, upstream_id: 1, remote_addrs: [127.0.0.0/8] }\n\
         \x20 - { uri: /far, upstream_id: 1, remote_addr: 10.0.0.0/8 }\n\
         \x20 - { uri: /off, upstream_id: 1, status: 0 }",
    );
    let mut client = Client::connect(gateway.address);
    for (request, status) in [
        ("/users/7?v=1 HTTP/1.1\r\nX-A: aaa", 200),
        ("/me?v=1 HTTP/1.1\r\nX-A: a", 200),
        ("/users/7?v=2 HTTP/1.1\r\nX-A: aaa", 404),
        ("/users/7?v=1 HTTP/1.1\r\nX-A: b", 404),
        ("/users/?v=1 HTTP/1.1\r\nX-A: aaa", 404),
        ("/local HTTP/1.1", 200),
        ("/far HTTP/1.1", 404),
        ("/off HTTP/1.1", 404),
    ] {
        client.send(format!("GET {request}\r\nHost: test\r\n\r\n"));
        assert_eq!(client.response("GET").status, status, "{request}");
    }
}

fn files_of_apisix_are_read_from_their_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let text = "routes:\n  - uri: /hi\n    upstream: { nodes: { 'builtin:echo': 1 } }\n";
    std::fs::write(file("config.yaml"), "apisix:\n  node_listen: 9080\n").unwrap();
    let missing = Config::load(directory.path()).unwrap_err();
    assert!(
        matches!(&missing, ConfigError::Unreadable { file: path, .. } if *path == file("apisix.yaml")),
        "{missing}"
    );
    std::fs::write(file("apisix.yaml"), text).unwrap();
    let error = Config::load(directory.path()).unwrap_err().to_string();
    let place = format!("{}:3:1: ", file("apisix.yaml").display());
    assert!(error.starts_with(&place) && error.contains("the last line must be #END"), "{error}");
    std::fs::write(file("apisix.yaml"), format!("{text}#END\n")).unwrap();
    for given in [directory.path(), &file("config.yaml")] {
        let config = Config::load(given).unwrap();
        assert_eq!((config.routes.len(), config.listen[0].to_string()), (1, "0.0.0.0:9080".to_owned()));
        let routes_file = config.routes_file.unwrap();
        assert_eq!(routes_file.path, file("apisix.yaml"));
    }
    // Routes in both would leave one of the files without effect; one that has its routes itself is alone.
    std::fs::write(file("config.yaml"), format!("listen: [127.0.0.1:1]\n{text}")).unwrap();
    let error = Config::load(directory.path()).unwrap_err().to_string();
    assert!(error.contains("config.yaml:3:5: routes: belongs into apisix.yaml"), "{error}");
    std::fs::remove_file(file("apisix.yaml")).unwrap();
    let config = Config::load(directory.path()).unwrap();
    assert!(config.routes_file.is_none() && config.routes.len() == 1);
}

//! Files in APISIX's form, and what routes share.

use super::*;

const GIVEN: &str = "\
apisix:
  node_listen:
    - 9080
    - { port: 9081, ip: 127.0.0.1 }
  enable_ipv6: false
deployment:
  role: traditional
  role_traditional: { config_provider: yaml }
  admin: { admin_key_required: false }
nginx_config: { worker_processes: 2, envs: [TEST] }
wasm:
  plugins:
    - { name: a, file: a.wasm, priority: 1, http_request_phase: rewrite }
    - { name: b, file: b.wasm, priority: 2, env: { MODE: fast, N: 1 } }
    - { name: c, file: c.wasm, priority: 3, dialect: envoy }
";

const ROUTES: &str = "\
services:
  - id: shop
    hosts: [shop.example]
    plugins: { a: { conf: service }, b: { conf: service } }
    upstream_id: one
    enable_websocket: true
upstreams:
  - { id: one, nodes: { 'one:1': 1 }, timeout: { connect: 1, read: 2 } }
  - { id: two, nodes: { 'two:2': 1 } }
plugin_configs:
  - id: 7
    plugins: { b: { conf: set }, c: { conf: set } }
global_rules:
  - { id: all, plugins: { c: { conf: { x: 1 } } } }
routes:
  - uri: /a
    service_id: shop
    plugin_config_id: 7
    plugins: { c: { conf: route } }
    timeout: { read: 9 }
  - { id: second, uris: [/b, '/c/:id/*'], host: b.example, service_id: shop, upstream_id: two, enable_websocket: false }
  - { id: off, uri: /off, status: 0, upstream_id: two }
#END
";

fn read(given: &str, routes: &str) -> Result<Config, String> {
    let config = Config::parse_apisix(given, Path::new("conf/config.yaml"), routes, Path::new("conf/apisix.yaml"));
    config.map_err(|error| error.to_string())
}

#[test]
fn routes_inherit_from_plugin_configs_and_services() {
    let config = read(GIVEN, ROUTES).unwrap();
    assert_eq!(config.listen, ["0.0.0.0:9080".parse().unwrap(), "127.0.0.1:9081".parse().unwrap()]);
    assert_eq!(config.workers.map(std::num::NonZero::get), Some(2));
    let dialects: Vec<_> = config.plugins.iter().map(|plugin| plugin.dialect).collect();
    assert_eq!(dialects, [Dialect::Apisix, Dialect::Apisix, Dialect::Envoy]);
    let phases: Vec<_> = config.plugins.iter().map(|plugin| plugin.phase).collect();
    assert_eq!(phases, [Phase::Rewrite, Phase::Access, Phase::Access]);
    assert_eq!(config.plugins[1].env, [("MODE".to_owned(), "fast".to_owned()), ("N".to_owned(), "1".to_owned())]);
    let uses = |plugins: &[PluginUse]| -> Vec<(usize, String)> {
        plugins.iter().map(|entry| (entry.plugin, String::from_utf8(entry.conf.to_vec()).unwrap())).collect()
    };
    let [first, second] = &config.routes[..] else { panic!("{config:?}") };
    let expected = [(0, "service"), (2, "route"), (1, "set")].map(|(plugin, conf)| (plugin, conf.to_owned()));
    assert_eq!(uses(&first.plugins), expected, "the rewrite phase, then by priority; the nearest configuration");
    assert_eq!(first.hosts, [HostPattern::Exact("shop.example".into())]);
    assert_eq!(first.upstream.nodes[0].address, NodeAddress::Tcp("one:1".into()));
    let timeout = first.upstream.timeout;
    assert_eq!((timeout.connect.as_secs(), timeout.send.as_secs(), timeout.read.as_secs()), (1, 60, 9));
    assert!(first.enable_websocket && !second.enable_websocket);
    assert_eq!(second.hosts, [HostPattern::Exact("b.example".into())]);
    assert_eq!(second.upstream.nodes[0].address, NodeAddress::Tcp("two:2".into()));
    let parameters =
        UriPattern::Parameters { prefix: "/c/".into(), segments: vec![Segment::Parameter("id".into())], open: true };
    assert_eq!(parameters.to_string(), "/c/:id/*");
    assert_eq!(second.uris, [UriPattern::Exact("/b".into()), parameters]);
    assert_eq!(config.global_rules[0].id, "all");
    assert_eq!(uses(&config.global_rules[0].plugins), [(2, "{\"x\":1}".to_owned())]);
    let warned: Vec<_> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["apisix.enable_ipv6", "deployment.admin", "nginx_config.envs"]);
    let line = config.warnings[0].line(Path::new("x.yaml"));
    assert_eq!(line, "x.yaml:5:16: apisix.enable_ipv6: is of APISIX and has no effect here");
}

#[test]
fn without_a_word_apisix_listens_on_9080() {
    for given in ["wasm: {}", "apisix: { node_listen: 9080 }", "apisix: {}"] {
        let listen = read(given, "routes: []\n#END").unwrap().listen;
        assert_eq!(listen, ["0.0.0.0:9080".parse().unwrap()], "{given}");
    }
}

#[test]
fn one_file_may_have_all_of_it() {
    let text = format!("{GIVEN}{ROUTES}");
    let config = Config::parse(&text, Path::new("chassis.yaml")).unwrap();
    assert_eq!((config.routes.len(), config.global_rules.len()), (2, 1));
    assert!(config.routes_file.is_none());
    assert_eq!(config.plugins[0].dialect, Dialect::Envoy, "only files in APISIX's form are for its dialect");
}

#[test]
fn mistakes_name_the_file_that_they_are_in() {
    let mut wrong = Vec::new();
    for (from, to, expected) in [
        ("role: traditional", "role: control_plane", "conf/config.yaml:7:9: deployment.role: must be data_plane or"),
        ("_provider: yaml", "_provider: etcd", "deployment.role_traditional.config_provider: must be yaml"),
        ("- 9080\n", "- 90800\n", "conf/config.yaml:3:7: apisix.node_listen[0]: must be a port"),
        ("ip: 127.0.0.1", "ip: localhost", "apisix.node_listen[1]: the ip must be an IP address"),
        ("port: 9081, ip: 127.0.0.1", "port: 9080", "apisix.node_listen[1]: is given twice"),
        ("enable_ipv6", "enable_ip6", "conf/config.yaml:5:3: enable_ip6: unknown key; did you mean `enable_ipv6`?"),
        (
            "nginx_config:",
            "nginx_conf:",
            "conf/config.yaml:10:1: nginx_conf: unknown key; did you mean `nginx_config`?",
        ),
        ("processes: 2", "processes: 0", "nginx_config.worker_processes: must be auto, or a number from 1 to 1024"),
        ("phase: rewrite", "phase: log", "unknown value `log`; known are rewrite, access"),
        ("dialect: envoy", "fail_policy: open", "wasm.plugins[2].fail_policy: `open` is not there yet"),
        ("dialect: envoy", "isolation: stream", "wasm.plugins[2].isolation: is not there yet"),
        ("MODE: fast", "'A=B': fast", "wasm.plugins[1].env: names are not empty and without ="),
        ("#END", "# END", "conf/apisix.yaml:23:1: the last line must be #END"),
        ("#END\n", "#END\nx: 1", "the last line must be #END"),
        ("#END", "listen: [127.0.0.1:1]\n#END", "conf/apisix.yaml:23:9: listen: belongs into config.yaml"),
        ("wasm:\n", "routes: [{ uri: / }]\nwasm:\n", "conf/config.yaml:11:10: routes: belongs into apisix.yaml"),
        (
            "plugins: { c: { conf: route }",
            "plugins: { c: { conf: '' }, b: ",
            "apisix.yaml:19:33: routes[0].plugins.b: property \"conf\" is required",
        ),
        ("upstream_id: one\n", "upstream_id: on\n", "services[0].upstream_id: there is no `on`; did you mean `one`?"),
        ("service_id: shop\n", "service_id: shp\n", "routes[0].service_id: there is no `shp`; did you mean `shop`?"),
        (
            "plugin_config_id: 7",
            "plugin_config_id: 8",
            "routes[0].plugin_config_id: there is no `8`; did you mean `7`?",
        ),
        ("    upstream_id: one\n", "", "conf/apisix.yaml:15:5: routes[0].upstream: is missing"),
        ("status: 0, upstream_id: two", "status: 0", "routes[2].upstream: is missing; give upstream, upstream_id"),
        ("status: 0", "status: 2", "routes[2].status: must be 1, or 0"),
        ("id: all", "id: ''", "global_rules[0].id: is empty"),
        ("uri: /off", "uri: /off, uris: [/x]", "routes[2].uris: is given together with uri"),
        ("uris: [/b, ", "uris: [/b, /b, ", "routes[1].uris[1]: is given twice"),
        ("uris: [/b, '/c/:id/*']", "uris: []", "routes[1].uris: is empty"),
        ("'/c/:id/*'", "'/c/:id*'", "routes[1].uris[1]: has parameters, and so may have a * only after a slash"),
        ("'/c/:id/*'", "'/c/:/x'", "routes[1].uris[1]: has a parameter without a name"),
        ("uri: /off", "uri: /off, remote_addr: here", "routes[2].remote_addr: `here` must be an address"),
        (
            "uri: /off",
            "uri: /off, vars: [[a, '==', 1]]",
            "conf/apisix.yaml:22:33: routes[2].vars: unknown variable `a`",
        ),
        ("uri: /off", "uri: /off, filter_func: x", "filter_func: unknown key `filter_func`; known are"),
        (
            "uri: /off",
            "uri: ${{NO_SUCH_VARIABLE}}",
            "conf/apisix.yaml:22:21: ${{: the environment has no NO_SUCH_VARIABLE",
        ),
    ] {
        let (given, routes) = (GIVEN.replacen(from, to, 1), ROUTES.replacen(from, to, 1));
        assert!(given != GIVEN || routes != ROUTES, "{from}");
        match read(&given, &routes) {
            Err(error) if error.contains(expected) && !error.contains(":0:0:") => {}
            answer => wrong.push(format!("{to}\n  expected {expected}\n  got      {answer:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_come_from_the_environment() {
    let given = GIVEN.replace("- 9080\n", "- ${{NO_SUCH_PORT:=9090}}\n");
    assert_eq!(read(&given, ROUTES).unwrap().listen[0].port(), 9090);
}

#[test]
fn a_value_is_never_more_than_a_part_of_its_scalar() {
    let head = "listen: [127.0.0.1:1]\nroutes:\n";
    for (route, value, is_kept) in [
        ("  - { uri: /a, desc: \"x\n      ${{V}}\", upstream: { nodes: { 'a:1': 1 } } }", "plain", true),
        ("  - { uri: /a, desc: it's ${{V}}, upstream: { nodes: { 'a:1': 1 } } }", "plain", true),
        // What looks like the begin of a quoted scalar is its end.
        ("  - { uri: /a, desc: \"x\n      y: \", name: ${{V}}, upstream: { nodes: { 'a:1': 1 } } }", "plain", true),
        (
            "  - { uri: /a, desc: \"x\n      y: \", name: ${{V}}, upstream: { nodes: { 'a:1': 1 } } }",
            "b, status: 0",
            false,
        ),
        ("  - { uri: /a, desc: \"x\n      y: \", name: ${{V}}, upstream: { nodes: { 'a:1': 1 } } }", "[b]", false),
    ] {
        let read = part_with(&format!("{head}{route}\n"), &|_| Some(value.to_owned()));
        match read {
            Ok(file) => assert!(is_kept && file.routes.is_some(), "{route}: {value}"),
            Err(problems) => {
                assert!(!is_kept && problems[0].cause.contains("put quotes around"), "{route}: {value}: {problems:?}");
                assert_eq!((problems[0].place.line, &*problems[0].key), (4, "${{"), "{problems:?}");
            }
        }
    }
}

#[test]
fn config_yaml_stands_alone_where_it_has_routes_and_nothing_is_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let load = |given: &str, routes: Option<&str>| {
        std::fs::write(directory.path().join("config.yaml"), given).unwrap();
        let second = directory.path().join("apisix.yaml");
        match routes {
            Some(routes) => std::fs::write(second, routes).unwrap(),
            None => drop(std::fs::remove_file(second)),
        }
        Config::load(directory.path()).map(|config| config.routes_file.is_some()).map_err(|error| error.to_string())
    };
    let route = "[{ uri: /, upstream: { nodes: { 'a:1': 1 } } }]";
    for key in ["routes:", "\"routes\":", "routes :"] {
        let alone = format!("listen: [127.0.0.1:1]\n{key} {route}\n");
        assert_eq!(load(&alone, None), Ok(false), "{key}");
        let both = load(&alone, Some("routes: []\n#END\n")).unwrap_err();
        assert!(both.contains("config.yaml:2:") && both.contains("routes: belongs into apisix.yaml"), "{both}");
    }
    assert_eq!(load("listen: [127.0.0.1:1]\nstream_routes: []\n", None), Ok(false));
    let missing = load("apisix: { node_listen: 1 }\n", None).unwrap_err();
    assert!(missing.contains("apisix.yaml: cannot be read"), "{missing}");
    let broken = load("listen: [\n", None).unwrap_err();
    assert!(broken.contains("config.yaml:"), "{broken}");
    assert_eq!(load("apisix: { node_listen: 1 }\n", Some("routes: []\n#END\n")), Ok(true));
}

#[test]
fn an_upstream_by_its_id_goes_before_one_in_its_place() {
    let routes = ROUTES.replace("status: 0, upstream_id: two", "upstream_id: two, upstream: { nodes: { 'own:1': 1 } }");
    let config =
        Config::parse_apisix(GIVEN, Path::new("conf/config.yaml"), &routes, Path::new("conf/apisix.yaml")).unwrap();
    assert_eq!(config.routes[2].upstream.nodes[0].address.as_str(), "two:2");
    let warning = config.warnings.iter().map(|warning| warning.line(Path::new(""))).find(|line| line.contains("22"));
    let warning = warning.unwrap();
    assert!(warning.ends_with("routes[2].upstream: has no effect beside upstream_id"), "{warning}");
}

#[test]
fn the_schema_has_all_sections() {
    let schema = schema();
    for section in ["listen", "wasm", "routes", "services", "upstreams", "plugin_configs", "global_rules", "apisix"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
    let route = &schema["$defs"]["Route"];
    assert!(route["properties"]["vars"].is_object() || route["properties"]["vars"] == true, "{route}");
}

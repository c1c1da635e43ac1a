//! APISIX's files and plugins as its users have them, with `chassis serve` and `chassis validate` as processes.

use std::fs;
use std::path::Path;

use crate::process::{Serving, http};
use crate::{available_engines, output, plugin};

/// The plugin as `config.yaml` of APISIX's documentation has it, where the example of the plugin was built.
const CONFIG: &str = "\
apisix:
  node_listen:
    - ip: 127.0.0.1
      port: 0
deployment:
  role: data_plane
  role_data_plane:
    config_provider: yaml
nginx_config:
  worker_processes: 1
wasm:
  plugins:
    - name: wasm_log
      priority: 7999            # higher runs first
      file: LOG
      http_request_phase: access
";

/// `config.yaml` and `apisix.yaml` in a directory, whose name is answered too.
fn files(config: &str, routes: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = config.replace("LOG", plugin("go/log.wasm").to_str().unwrap());
    fs::write(dir.path().join("config.yaml"), config).unwrap();
    fs::write(dir.path().join("apisix.yaml"), routes).unwrap();
    let name = dir.path().to_str().unwrap().to_owned();
    (dir, name)
}

/// Starts it on the last engine, which compiles least.
fn serve(directory: &str) -> Serving {
    Serving::start(directory, &["--engine", available_engines().last().unwrap()])
}

/// What requests had plugins log: the words of the plugin, and what was added for the error log.
fn ran(log: &str) -> Vec<(&str, &str)> {
    let lines = log.lines().filter_map(|line| line.split_once(" [warn] "));
    let lines = lines.filter_map(|(_, line)| Some((line.find("run plugin ctx")?, line)));
    lines.filter_map(|(at, line)| line[at..].split_once(", client: ")).collect()
}

#[test]
fn a_route_of_the_documentation_logs_its_line() {
    let routes = "\
routes:
  - {\"id\":\"wasm-log-plugin\",\"uri\":\"/anything\",\"plugins\":{\"wasm_log\":{\"conf\":\"hello apisix\"}},\"upstream\":{\"type\":\"roundrobin\",\"nodes\":{\"builtin:echo\":1}}}
#END
";
    let (_dir, directory) = files(CONFIG, routes);
    let serving = serve(&directory);
    assert_eq!(http(serving.address, "GET /anything", &[]).status, 200);
    assert_eq!(http(serving.address, "GET /other", &[]).status, 404);
    let log = serving.wait_for("run plugin ctx");
    let rest = format!("127.0.0.1, server: _, request: \"GET /anything HTTP/1.1\", host: \"{}\"", serving.address);
    assert_eq!(ran(&log), [("run plugin ctx 1 with conf hello apisix in http ctx 2", rest.as_str())]);
    assert_eq!(serving.end("TERM").code(), Some(0));
}

#[test]
fn routes_of_a_service_have_a_plugin_context_each() {
    let routes = "\
services:
  - { id: s, plugins: { wasm_log: { conf: shared } }, upstream: { nodes: { \"builtin:echo\": 1 } } }
routes:
  - { id: one, uri: /one, service_id: s }
  - { id: two, uri: /two, service_id: s }
#END
";
    let (_dir, directory) = files(CONFIG, routes);
    let serving = serve(&directory);
    for path in ["GET /one", "GET /two", "GET /one?last"] {
        assert_eq!(http(serving.address, path, &[]).status, 200);
    }
    let log = serving.wait_for("/one?last");
    let contexts: Vec<_> = ran(&log).iter().map(|(words, _)| words.split(" in http").next().unwrap()).collect();
    let [one, two] = [1, 2].map(|context| format!("run plugin ctx {context} with conf shared"));
    assert_eq!(contexts, [&one, &two, &one]);
}

#[test]
fn a_global_rule_and_a_route_give_two_lines_per_request() {
    let routes = "\
global_rules:
  - { id: 1, plugins: { wasm_log: { conf: everywhere } } }
routes:
  - { id: both, uri: /both, plugins: { wasm_log: { conf: here } }, upstream_id: echo }
  - { id: one, uri: /one, upstream_id: echo }
upstreams:
  - { id: echo, nodes: { \"builtin:echo\": 1 } }
#END
";
    let (_dir, directory) = files(CONFIG, routes);
    let serving = serve(&directory);
    for path in ["GET /both", "GET /one"] {
        assert_eq!(http(serving.address, path, &[]).status, 200);
    }
    let log = serving.wait_for("GET /one");
    let words: Vec<_> = ran(&log).iter().map(|(words, _)| *words).collect();
    let [first, second, third] = &words[..] else { panic!("{log}") };
    assert!(first.starts_with("run plugin ctx 1 with conf everywhere in http ctx "), "{log}");
    assert!(second.starts_with("run plugin ctx 2 with conf here in http ctx "), "{log}");
    assert!(third.starts_with("run plugin ctx 1 with conf everywhere in http ctx "), "{log}");
    let contexts: Vec<_> = words.iter().map(|words| words.rsplit(' ').next().unwrap()).collect();
    assert!(contexts[0] != contexts[1] && contexts[0] != contexts[2], "a stream context each: {log}");
}

#[test]
fn a_conf_that_is_missing_or_empty_is_refused_in_apisixs_words() {
    for (conf, words) in [
        ("{}", "property \"conf\" is required"),
        ("", "property \"conf\" is required"),
        ("{ conf: }", "property \"conf\" is required"),
        ("{ conf: '' }", "property \"conf\" validation failed: value should match only one schema, but matches none"),
        ("{ conf: {} }", "property \"conf\" validation failed: value should match only one schema, but matches none"),
    ] {
        let route = format!("routes:\n  - uri: /\n    plugins: {{ wasm_log: {conf} }}\n");
        let (dir, directory) = files(CONFIG, &format!("{route}    upstream: {{ nodes: {{ a:1: 1 }} }}\n#END\n"));
        let file = dir.path().join("apisix.yaml");
        for command in ["validate", "serve"] {
            let ended = output([command, &directory]);
            let line = format!("error: {}:3:16: routes[0].plugins.wasm_log: {words}\n", file.display());
            assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (4, "", line.as_str()));
        }
    }
}

#[test]
fn validate_tells_all_that_is_wrong_and_where() {
    let (_dir, directory) = files(CONFIG, "routes: []\n#END\n");
    let file = |name: &str| Path::new(&directory).join(name);
    let good = output(["validate", &directory]);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    assert_eq!(good.stdout, format!("{directory}: valid: 1 plugin, 0 routes\n"));
    // A place is in a file, not in the directory that was given.
    let config = fs::read_to_string(file("config.yaml")).unwrap();
    fs::write(file("config.yaml"), config.replace("worker_processes: 1", "envs: [A]")).unwrap();
    let warned = output(["validate", &directory]);
    let place = format!("warning: {}:10:", file("config.yaml").display());
    assert!(warned.code == 0 && warned.stderr.contains(&place), "{}", warned.stderr);
    fs::write(file("config.yaml"), config).unwrap();
    // In either file, each on a line of its own.
    let broken = "routes:\n  - { uri: a, service_id: s, plugins: { wasm_log: { conf: a }, wasm_lag: { conf: a } } }\n  \
                  - { uri: /, remote_addr: 1.2.3.4/99, upstream: { nodes: { a:1: 1 } } }\n#END\n";
    fs::write(file("apisix.yaml"), broken).unwrap();
    let ended = output(["validate", &directory]);
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""), "{}", ended.stderr);
    let name = file("apisix.yaml").display().to_string();
    for words in [
        "2:12: routes[0].uri: must begin with a slash; did you mean `/a`?",
        "2:27: routes[0].service_id: there is no `s`",
        "2:64: routes[0].plugins.wasm_lag: unknown plugin; did you mean `wasm_log`?",
        "3:28: routes[1].remote_addr: `1.2.3.4/99` must be an address or a network",
    ] {
        let line = format!("{name}:{words}");
        assert!(ended.stderr.lines().any(|found| found.contains(&line)), "{line}\n{}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().filter(|line| line.contains(&name)).count(), 4, "{}", ended.stderr);
    let ended = output(["validate", "--json", &directory]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &report["valid"], &report["schema"]), (4, &false.into(), &"chassis/validate/v1".into()));
    let first = &report["errors"][0];
    assert_eq!((&first["line"], &first["column"], &first["key"]), (&2.into(), &12.into(), &"routes[0].uri".into()));
}

#[test]
fn validate_loads_starts_and_configures_plugins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let refuses = plugin("rust/add-header.wasm");
    let text = |module: &Path, conf: &str| {
        format!(
            "listen: [127.0.0.1:1]\nnginx_config: {{ worker_processes: auto, envs: [A] }}\nwasm:\n  plugins:\n    \
             - {{ name: a, file: \"{}\" }}\nroutes:\n  - uri: /\n    plugins: {{ a: {{ conf: \"{conf}\" }} }}\n    \
             upstream: {{ nodes: {{ \"builtin:echo\": 1 }} }}\n",
            module.display()
        )
    };
    // Port 1 cannot be listened on by most, and is not.
    fs::write(&file, text(&refuses, "x-a: b")).unwrap();
    let ended = output(["validate", file.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let warning = format!("warning: {}:2:47: nginx_config.envs: is of APISIX and has no effect here\n", file.display());
    assert_eq!(ended.stderr, warning);
    for (module, conf, place, words) in [
        (refuses.clone(), "no header", "8:16", "plugin `a`"),
        (dir.path().join("none.wasm"), "", "5:7", "none.wasm"),
        (plugin("../README.md"), "", "5:7", "README.md"),
    ] {
        fs::write(&file, text(&module, conf)).unwrap();
        let ended = output(["validate", file.to_str().unwrap()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (4, ""), "{}", ended.stderr);
        let place = format!("{}:{place}: ", file.display());
        assert!(ended.stderr.contains(&place) && ended.stderr.contains(words), "{place} {words}\n{}", ended.stderr);
    }
}

#[test]
fn the_schema_is_of_the_file() {
    let ended = output(["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &schema["title"]), (0, &"Configuration of Chassis".into()));
    for section in ["wasm", "routes", "services", "upstreams", "plugin_configs", "global_rules", "stream_routes"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

//! `chassis serve` from its start to its end, over real sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::process::{Serving, example, http, refused};
use crate::{all_engines, available_engines, output, plugin};

/// The configuration of one plugin on all paths, before an echo, listening where there is room.
fn config(plugins: &[(&str, &str)], routes: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let mut text = "listen: [127.0.0.1:0]\nwasm:\n  plugins:\n".to_owned();
    for (name, module) in plugins {
        text.push_str(&format!("    - {{ name: {name}, file: \"{}\" }}\n", plugin(module).display()));
    }
    text.push_str(&format!("routes:\n{routes}"));
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

const ECHO: &str = "upstream: { type: roundrobin, nodes: { \"builtin:echo\": 1 } }";

#[test]
fn the_example_decides_by_the_token_on_every_engine() {
    for engine in available_engines() {
        let (_dir, file) = example("prime-auth.yaml");
        decides_by_the_token(&engine, Serving::start(&file, &["--engine", &engine, "--workers", "2"]));
        // The same with the engine in the file.
        let text = fs::read_to_string(&file).unwrap();
        let named = text.replace("name: prime_auth,", &format!("name: prime_auth, engine: {engine},"));
        assert_ne!(named, text);
        fs::write(&file, named).unwrap();
        decides_by_the_token(&engine, Serving::start(&file, &[]));
    }
}

/// The curls of the README.
fn decides_by_the_token(engine: &str, serving: Serving) {
    assert!(serving.log().contains(&format!("plugin: prime_auth, engine: {engine},")), "{}", serving.log());
    let passed = http(serving.address, "GET /a?b=c", &[("token", "32323")]);
    assert_eq!(passed.status, 200, "{engine}");
    let echo: serde_json::Value = serde_json::from_slice(&passed.body).unwrap();
    assert_eq!((&echo["method"], &echo["path"]), (&"GET".into(), &"/a?b=c".into()));
    for token in [Some("323232"), None, Some("abc")] {
        let fields: Vec<_> = token.map(|token| ("token", token)).into_iter().collect();
        let refused = http(serving.address, "GET /", &fields);
        assert_eq!(refused.status, 403, "{engine}, {token:?}");
        assert_eq!(refused.header("powered-by"), Some("proxy-wasm"));
        assert_eq!(refused.body, b"Access forbidden.\n");
    }
    assert_eq!(serving.end("TERM").code(), Some(0));
}

#[test]
fn plugins_of_one_file_run_on_different_engines() {
    let engines = available_engines();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let mut text = "listen: [127.0.0.1:0]\nwasm:\n  plugins:\n".to_owned();
    let mut routes = "routes:\n".to_owned();
    for engine in &engines {
        let module = plugin("wat/local-response.wat");
        text.push_str(&format!("    - {{ name: on_{engine}, file: \"{}\", engine: {engine} }}\n", module.display()));
        routes.push_str(&format!("  - {{ uri: /{engine}, plugins: {{ on_{engine}: {{}} }}, {ECHO} }}\n"));
    }
    fs::write(&file, text + &routes).unwrap();
    let serving = Serving::start(file.to_str().unwrap(), &[]);
    for engine in &engines {
        assert!(serving.log().contains(&format!("plugin: on_{engine}, engine: {engine},")), "{}", serving.log());
        let path = format!("GET /{engine}");
        assert_eq!(http(serving.address, &path, &[("x-teapot", "1")]).status, 418);
        assert_eq!(http(serving.address, &path, &[]).status, 200);
    }
    assert_eq!(serving.end("INT").code(), Some(0));
}

#[test]
fn a_plugin_that_fails_is_answered_with_503_and_the_process_lives() {
    let route = |uri: &str, name: &str| format!("  - {{ uri: {uri}, plugins: {{ {name}: {{}} }}, {ECHO} }}\n");
    let routes = route("/trap", "trap") + &route("/loop", "loop") + &route("/hello", "hello");
    let plugins = [("trap", "wat/trap.wat"), ("loop", "wat/loop.wat"), ("hello", "rust/hello.wasm")];
    let (_dir, file) = config(&plugins, &routes);
    for engine in available_engines() {
        let serving = Serving::start(&file, &["--engine", &engine]);
        for path in ["GET /trap", "GET /loop", "GET /trap"] {
            assert_eq!(http(serving.address, path, &[]).status, 503, "{engine}, {path}");
            assert_eq!(http(serving.address, "GET /hello", &[]).status, 200, "{engine}");
        }
        let log = serving.wait_for("on_http_request_headers");
        assert!(log.lines().any(|line| line.contains("[error]") && line.contains("plugin: trap")), "{log}");
    }
}

#[test]
fn lines_of_plugins_are_logged_with_the_name_of_the_plugin() {
    let (_dir, file) = config(
        &[("greeter", "rust/hello.wasm")],
        &format!("  - {{ uri: /*, plugins: {{ greeter: {{}} }}, {ECHO} }}\n"),
    );
    let serving = Serving::start(&file, &["--log-format", "human"]);
    http(serving.address, "GET /", &[]);
    let log = serving.wait_for("on_http_request_headers");
    let line = log.lines().find(|line| line.contains("on_http_request_headers")).unwrap();
    assert!(line.contains("WARN") && line.contains("plugin=\"greeter\""), "{line}");
    assert!(!log.contains('\x1b'), "{log}");
    drop(serving);

    let serving = Serving::start(&file, &["--log-format", "json"]);
    http(serving.address, "GET /", &[]);
    let log = serving.wait_for("on_http_request_headers");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["message"] == "on_http_request_headers").unwrap();
    assert_eq!((&line["level"], &line["plugin"]), (&"WARN".into(), &"greeter".into()));
    assert_eq!(line["callback"], "proxy_on_request_headers");
    drop(serving);

    let serving = Serving::start_quiet(&file, &["--log-level", "error"]);
    http(serving.address, "GET /", &[]);
    assert_eq!(serving.log(), "");
}

/// An upstream that takes one request and answers when it is told to.
fn slow_upstream() -> (SocketAddr, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, came) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        tell.send(stream).unwrap();
    });
    (address, came)
}

fn one_upstream(address: SocketAddr) -> (tempfile::TempDir, String) {
    let route = "  - { uri: /*, plugins: { auth: {} }, upstream: { nodes: { \"NODE\": 1 } } }\n";
    config(&[("auth", "rust/prime-auth.wasm")], &route.replace("NODE", &address.to_string()))
}

#[test]
fn requests_that_are_running_end_before_the_process_does() {
    let (upstream, came) = slow_upstream();
    let (_dir, file) = one_upstream(upstream);
    let serving = Serving::start(&file, &[]);
    let address = serving.address;
    let client = std::thread::spawn(move || http(address, "GET /", &[("token", "7")]));
    let mut upstream = came.recv_timeout(Duration::from_secs(10)).unwrap();
    serving.signal("TERM");
    serving.wait_for("draining");
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts connections");
        std::thread::sleep(Duration::from_millis(20));
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    let response = client.join().unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, &b"late"[..]));
    assert_eq!(serving.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (upstream, came) = slow_upstream();
    let (_dir, file) = one_upstream(upstream);
    let serving = Serving::start(&file, &[]);
    let mut client = TcpStream::connect(serving.address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nToken: 7\r\n\r\n").unwrap();
    let _upstream = came.recv_timeout(Duration::from_secs(10)).unwrap();
    serving.signal("TERM");
    serving.wait_for("draining");
    let began = Instant::now();
    serving.signal("INT");
    assert_eq!(serving.ended().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn nobody_need_read_its_log() {
    let (_dir, file) = prime_auth();
    let mut serving = Serving::start(&file, &[]);
    serving.close_log();
    for _ in 0..3 {
        refused(serving.address);
    }
    assert_eq!(http(serving.address, "GET /", &[("token", "7")]).status, 200);
    assert_eq!(serving.end("TERM").code(), Some(0));
}

fn prime_auth() -> (tempfile::TempDir, String) {
    config(&[("auth", "rust/prime-auth.wasm")], &format!("  - {{ uri: /*, plugins: {{ auth: {{}} }}, {ECHO} }}\n"))
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_dir, file) = prime_auth();
    let text = fs::read_to_string(&file).unwrap().replace("127.0.0.1:0", &address);
    fs::write(&file, text).unwrap();
    let ended = output(["serve", &file]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    let line = ended.stderr.lines().last().unwrap();
    assert!(line.starts_with(&format!("error: {file}: cannot listen on {address}: ")), "{line}");
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.yaml");
    let text = format!(
        "listen: [127.0.0.1]\nroutes:\n  - uri: nothing\n    {ECHO}\n  - uri: /b\n    plugins: {{ none: {{}} }}\n    {ECHO}\n"
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ended = output(["serve", file]);
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let starts = [":1:10: listen[0]: ", ":3:10: routes[0].uri: ", ":6:16: routes[1].plugins"];
    assert_eq!(lines.len(), starts.len(), "{}", ended.stderr);
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(&format!("error: {file}{start}")), "{line}");
    }
}

#[test]
fn all_plugins_that_do_not_load_are_said_with_their_places() {
    let plugins = [("one", "wat/no-allocator.wat"), ("good", "wat/pause.wat"), ("two", "wat/unknown-import.wat")];
    let (_dir, file) = config(&plugins, &format!("  - {{ uri: /*, {ECHO} }}\n"));
    let ended = output(["serve", &file]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    assert!(lines[0].starts_with(&format!("error: {file}:4:7: plugin `one`: ")), "{}", lines[0]);
    assert!(lines[0].ends_with("no allocator: exports neither proxy_on_memory_allocate nor malloc"), "{}", lines[0]);
    assert!(lines[1].starts_with(&format!("error: {file}:6:7: plugin `two`: ")), "{}", lines[1]);
    assert!(lines[1].contains("missing import env.no_such"), "{}", lines[1]);
    assert!(lines[1].contains("missing import elsewhere.not_here"), "{}", lines[1]);
}

#[test]
fn a_plugin_that_does_not_start_ends_it() {
    let (_dir, file) = config(
        &[("stuck", "wat/loop-initialize.wat")],
        &format!("  - {{ uri: /*, plugins: {{ stuck: {{}} }}, {ECHO} }}\n"),
    );
    for engine in available_engines() {
        let ended = output(["serve", &file, "--engine", &engine]);
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        let line = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(line.starts_with(&format!("error: {file}:4:7: plugin `stuck`: ")), "{line}");
        assert!(line.contains("_initialize") && line.contains("deadline"), "{line}");
    }
}

#[test]
fn a_plugin_that_refuses_to_start_has_failed_and_one_that_refuses_its_configuration_has_not() {
    let dir = tempfile::tempdir().unwrap();
    for (callback, code) in [("proxy_on_vm_start", 3), ("proxy_on_configure", 4)] {
        let module = dir.path().join("refuses.wat");
        let text = format!(
            "(module (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\"))
               (func (export \"proxy_on_memory_allocate\") (param i32) (result i32) (i32.const 0))
               (func (export \"{callback}\") (param i32 i32) (result i32) (i32.const 0)))"
        );
        fs::write(&module, text).unwrap();
        let (_dir, file) =
            config(&[("no", module.to_str().unwrap())], &format!("  - {{ uri: /*, plugins: {{ no: }}, {ECHO} }}\n"));
        let ended = output(["serve", &file]);
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(ended.stderr.contains(callback), "{}", ended.stderr);
        // The same as `run` has it.
        assert_eq!(output([std::ffi::OsStr::new("run"), module.as_os_str()]).code, code);
    }
}

/// With no descriptor left for those that wait to be accepted, draining ends all the same.
#[test]
#[cfg(unix)]
fn a_process_without_descriptors_ends_too() {
    let (_dir, file) = prime_auth();
    let serving = Serving::start_with_descriptors(64, &file, &["--workers", "1"]);
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(serving.address).unwrap()).collect();
    serving.wait_for("cannot accept");
    let began = Instant::now();
    assert_eq!(serving.end("TERM").code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(clients);
}

#[test]
fn files_that_are_no_configuration_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yaml");
    fs::write(&broken, "listen: [127.0.0.1:0\nroutes: {").unwrap();
    let binary = dir.path().join("binary.yaml");
    fs::write(&binary, b"\xff\xfe\0").unwrap();
    // Of a directory it is APISIX's file in it.
    let in_directory = dir.path().join("config.yaml");
    for (given, named) in [
        (&dir.path().join("missing.yaml"), None),
        (&dir.path().to_owned(), Some(&in_directory)),
        (&broken, None),
        (&binary, None),
    ] {
        let (file, named) = (given.to_str().unwrap(), named.unwrap_or(given).display());
        let ended = output(["serve", file]);
        assert_eq!((ended.code, ended.stdout.as_str()), (4, ""), "{file}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("error: {named}:")), "{}", ended.stderr);
    }
}

#[test]
fn an_engine_that_nobody_knows_is_a_mistake_of_the_command_line_or_of_the_file() {
    let (_dir, file) = prime_auth();
    let ended = output(["serve", &file, "--engine", "v9"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    let known = all_engines().join(", ");
    assert_eq!(ended.stderr, format!("error: there is no engine `v9`; known are {known}\n"));
    let text = fs::read_to_string(&file).unwrap().replace("name: auth,", "name: auth, engine: v9,");
    fs::write(&file, text).unwrap();
    let ended = output(["serve", &file]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.starts_with(&format!("error: {file}:4:7: plugin `auth`: ")), "{}", ended.stderr);
    for workers in ["0", "1025", "x"] {
        assert_eq!(output(["serve", &file, "--workers", workers]).code, 2);
    }
}

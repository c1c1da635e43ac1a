//! `chassis run --json` and its options.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Output, available_engines, output, plugin};

/// Runs a plugin with `--json`.
fn ended(name: &str, options: &[&str]) -> (Value, Output) {
    let file = plugin(name);
    let mut args: Vec<&OsStr> = ["run", "--json"].map(OsStr::new).to_vec();
    args.extend(options.iter().map(OsStr::new));
    args.push(file.as_os_str());
    let output = output(args);
    let report = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (report, output)
}

/// The only run of a plugin, which did not fail.
fn run(name: &str, options: &[&str]) -> Value {
    let (report, output) = ended(name, options);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{report:#}");
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    report["runs"][0].clone()
}

fn messages(run: &Value) -> Vec<&str> {
    run["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect()
}

fn callbacks(run: &Value) -> Vec<&str> {
    run["callbacks"].as_array().unwrap().iter().map(|callback| callback["name"].as_str().unwrap()).collect()
}

fn sorted_keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<const N: usize>(mut names: [&str; N]) -> Vec<&str> {
    names.sort_unstable();
    names.to_vec()
}

#[test]
fn the_report_has_the_form_that_help_describes() {
    let (report, _) = ended("rust/hello.wasm", &["--request", "POST /a?b=c", "-H", "x: 1", "--body", "text"]);
    assert_eq!(sorted_keys(&report), ["runs", "schema"]);
    assert_eq!(report["schema"], "chassis/run/v1");
    let run = &report["runs"][0];
    let names =
        ["engine", "plugin", "outcome", "error", "upstream_request", "response", "logs", "callbacks", "end_callbacks"];
    assert_eq!(sorted_keys(run), sorted(names));
    assert_eq!((&run["outcome"], &run["error"]), (&json!("response"), &Value::Null));
    assert!(run["plugin"].as_str().unwrap().ends_with("rust/hello.wasm"));
    assert_eq!(
        run["upstream_request"],
        json!({
            "method": "POST",
            "path": "/a?b=c",
            "headers": [[":authority", "localhost"], [":scheme", "http"], ["x", "1"]],
            "body": "text",
        })
    );
    assert_eq!(run["response"], json!({ "status": 200, "headers": [], "body": "" }));
    assert_eq!(
        run["logs"],
        json!([{
            "level": "warn",
            "message": "on_http_request_headers",
            "context": 2,
            "callback": "proxy_on_request_headers",
        }])
    );
    let callback = run["callbacks"].as_array().unwrap().iter().find(|call| call["name"] == "proxy_on_request_headers");
    let callback = callback.unwrap();
    assert_eq!(sorted_keys(callback), sorted(["name", "context", "result", "host_calls", "duration_ns"]));
    assert_eq!((&callback["context"], &callback["result"]), (&json!(2), &json!(0)));
    assert!(callback["duration_ns"].as_u64().unwrap() > 0);
    assert_eq!(
        callback["host_calls"],
        json!([{ "name": "proxy_log", "args": ["3", "on_http_request_headers"], "status": "ok" }])
    );
}

#[test]
fn outcomes_of_all_kinds() {
    let outcome = |name: &str, options: &[&str]| {
        let (report, output) = ended(name, options);
        (report["runs"][0]["outcome"].as_str().unwrap().to_owned(), output.code)
    };
    let is = |text: &str, code| (text.to_owned(), code);
    assert_eq!(outcome("rust/prime-auth.wasm", &["-H", "token: 7"]), is("response", 0));
    assert_eq!(outcome("rust/prime-auth.wasm", &[]), is("local_response", 0));
    assert_eq!(outcome("wat/trap.wat", &[]), is("crash", 3));
    assert_eq!(outcome("wat/pause.wat", &[]), is("paused", 3));
    assert_eq!(outcome("wat/loop-initialize.wat", &["--start-deadline", "20ms"]), is("load_error", 3));
    assert_eq!(outcome("rust/hello.wasm", &["--max-memory", "64KiB"]), is("load_error", 3));
    assert_eq!(outcome("rust/add-header.wasm", &["--config", "no colon"]), is("load_error", 4));
    assert_eq!(outcome("wat/no-memory.wat", &[]), is("load_error", 4));
}

#[test]
fn a_run_for_each_engine_and_repetition_in_order() {
    let (report, output) = ended("rust/hello.wasm", &["--engine", "all", "--repeat", "3"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let runs = report["runs"].as_array().unwrap();
    let engines: Vec<&str> = runs.iter().map(|run| run["engine"].as_str().unwrap()).collect();
    assert_eq!(engines.len() % 3, 0);
    assert!(engines.chunks(3).all(|same| same.iter().all(|engine| *engine == same[0])), "{engines:?}");
    for (i, run) in runs.iter().enumerate() {
        // The VM is started once; each request has a context of its own in it.
        assert_eq!(callbacks(run).contains(&"_initialize"), i % 3 == 0);
        assert_eq!(run["logs"][0]["context"], 2 + i % 3);
    }
}

#[test]
fn names_of_engines_are_checked() {
    let ended = |engine: &str| output(["run", "--engine", engine, plugin("rust/hello.wasm").to_str().unwrap()]);
    let unknown = ended("v9");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("there is no engine `v9`"), "{}", unknown.stderr);
    assert!(unknown.stdout.is_empty());
}

#[test]
fn configurations_and_bodies_may_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        format!("@{}", file.display())
    };
    let (config, vm, body) = (at("config", b"the plugin's"), at("vm", b"the VM's"), at("body", b"\xffbytes"));
    let configured = run("wat/echo-calls.wat", &["--config", &config, "--vm-config", &vm]);
    let lines = messages(&configured);
    let said = |text: &str| lines.iter().any(|line| line.starts_with("get ") && line.ends_with(text));
    assert!(said("[the plugin's]") && said("[the VM's]"), "{lines:?}");
    let passed = run("rust/hello.wasm", &["--body", &body, "--upstream-body", &body]);
    for message in [&passed["upstream_request"], &passed["response"]] {
        assert_eq!((&message["body"], &message["body_base64"]), (&json!("\u{fffd}bytes"), &json!("/2J5dGVz")));
    }

    let missing = output(["run", "--body", "@no/such/file", plugin("rust/hello.wasm").to_str().unwrap()]);
    assert_eq!(missing.code, 4);
    assert!(missing.stderr.contains("no/such/file"), "{}", missing.stderr);
}

#[test]
fn properties_are_answered_as_they_were_set() {
    let run = run("wat/echo-calls.wat", &["--property", "request.path=/somewhere/else"]);
    let line = messages(&run).into_iter().find(|line| line.starts_with("get_property request.path")).unwrap();
    assert!(line.ends_with("[/somewhere/else]"), "{line}");
}

#[test]
fn the_scripted_upstream_says_what_it_was_told() {
    let options = [
        &["--upstream-status", "404", "--upstream-header", "a: 1", "--upstream-header", "A: 2"][..],
        &["--upstream-body", "gone", "--upstream-trailer", "t: \u{e4}"],
    ];
    let run = run("rust/hello.wasm", &options.concat());
    assert_eq!(
        run["response"],
        json!({ "status": 404, "headers": [["a", "1"], ["a", "2"]], "body": "gone", "trailers": [["t", "\u{e4}"]] })
    );
}

#[test]
fn bodies_come_in_pieces_and_trailers_after_them() {
    let options = ["--body", "banana", "--chunk-size", "4", "--trailer", "a: 1", "--trailer", "a: 2"];
    let run = run("rust/hello.wasm", &options);
    let calls = callbacks(&run);
    let begin = calls.iter().position(|name| *name == "proxy_on_request_body").unwrap();
    assert_eq!(
        calls[begin..begin + 3],
        ["proxy_on_request_body", "proxy_on_request_body", "proxy_on_request_trailers"]
    );
    assert_eq!(run["upstream_request"]["body"], "banana");
    assert_eq!(run["upstream_request"]["trailers"], json!([["a", "1"], ["a", "2"]]));
}

#[test]
fn what_is_paused_for_ever_is_not_waited_for() {
    let began = Instant::now();
    let (report, output) = ended("wat/pause.wat", &["--pause-limit", "1h", "--engine", "all"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(output.code, 3);
    for run in report["runs"].as_array().unwrap() {
        assert_eq!((&run["outcome"], &run["error"]), (&json!("paused"), &Value::Null));
        assert_eq!((&run["response"]["status"], &run["upstream_request"]), (&json!(503), &Value::Null));
    }
}

/// The timer of this plugin goes off each 10 ms, of the plugin's time.
#[test]
fn the_time_is_put_forward_to_the_next_tick() {
    let ticks = |options: &[&str]| {
        let (report, _) = ended("wat/pause-tick.wat", options);
        let run = report["runs"][0].clone();
        let ticks = callbacks(&run).iter().filter(|name| **name == "proxy_on_tick").count();
        (ticks, run["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(ticks(&[]), (1, "response".to_owned()));
    assert_eq!(ticks(&["--ticks", "5"]), (5, "response".to_owned()));
    assert_eq!(ticks(&["--ticks", "0"]), (0, "paused".to_owned()));
    assert_eq!(ticks(&["--pause-limit", "9ms"]), (0, "paused".to_owned()));
    assert_eq!(ticks(&["--pause-limit", "10ms"]), (1, "response".to_owned()));
}

#[test]
fn log_lines_below_the_level_are_dropped() {
    assert_eq!(messages(&run("rust/hello.wasm", &["--log-level", "warn"])), ["on_http_request_headers"]);
    assert!(messages(&run("rust/hello.wasm", &["--log-level", "error"])).is_empty());
}

/// A server that answers the requests of `count` connections, each with its number, and gives back what it got.
fn server(count: usize) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let answer = |number: usize| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let (mut got, mut piece) = (Vec::new(), [0; 1024]);
            // Each request of these tests ends with these bytes.
            while !got.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece).unwrap() {
                    0 => break,
                    read => got.extend_from_slice(&piece[..read]),
                }
            }
            let head = b"HTTP/1.1 201 Created\r\nx-n: \xe4\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n";
            stream.write_all(head).unwrap();
            write!(stream, "7\r\nanswer{number}\r\n0\r\nt: end\r\n\r\n").unwrap();
            String::from_utf8(got).unwrap()
        };
        (0..count).map(answer).collect()
    });
    (address, served)
}

#[test]
fn a_real_upstream_is_asked() {
    let (address, served) = server(1);
    let options =
        ["--upstream", &format!("http://{address}"), "--request", "POST /a?b", "-H", "x: 1", "--trailer", "t: 2"];
    let run = run("rust/hello.wasm", &[&options[..], &["--body", "banana", "--chunk-size", "3"]].concat());
    assert_eq!(
        run["response"],
        json!({
            "status": 201,
            "headers": [["x-n", "\\xe4"], ["trailer", "t"]],
            "body": "answer0",
            "trailers": [["t", "end"]],
        })
    );
    let got = served.join().unwrap().remove(0);
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a?b HTTP/1.1\r\n"), "{head}");
    for field in [&format!("host: {address}"), "x: 1", "trailer: t", "transfer-encoding: chunked"] {
        assert!(head.contains(&format!("\r\n{field}")), "{head}");
    }
    assert_eq!(body, "6\r\nbanana\r\n0\r\nt: 2\r\n\r\n");
}

#[test]
fn an_upstream_that_cannot_be_reached_is_a_bad_gateway() {
    // Bound and not listening any more, so that nobody answers.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = run("rust/hello.wasm", &["--upstream", &format!("http://{address}")]);
    assert_eq!((&run["outcome"], &run["response"]["status"]), (&json!("response"), &json!(502)));
    assert_eq!(run["error"]["kind"], "upstream");
    assert!(run["error"]["message"].as_str().unwrap().contains("cannot connect"), "{}", run["error"]);
}

#[test]
fn a_request_that_is_refused_reaches_no_upstream() {
    let run = run("rust/prime-auth.wasm", &["--upstream", "http://127.0.0.1:9", "-H", "token: 8"]);
    assert_eq!((&run["response"]["status"], &run["error"]), (&json!(403), &Value::Null));
}

/// Engines that see different answers of an upstream cannot agree.
#[test]
#[cfg_attr(not(engines = "several"), ignore = "one engine only was compiled in")]
fn a_difference_between_engines_is_named() {
    let (address, served) = server(2);
    let upstream = format!("http://{address}");
    let engines = available_engines();
    let (one, other) = (&engines[0], &engines[1]);
    let (report, output) = ended("rust/hello.wasm", &["--engine", &format!("{one},{other}"), "--upstream", &upstream]);
    served.join().unwrap();
    assert_eq!(report["runs"].as_array().unwrap().len(), 2);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        format!(
            "error: the engines do not agree: {one} against {other}: runs[0].response.body: \"answer0\" against \
             \"answer1\"\n"
        )
    );
}

#[test]
fn mistakes_in_the_command_line_are_explained() {
    let file = plugin("rust/hello.wasm");
    let file = file.to_str().unwrap();
    for (options, says) in [
        (&["--request", "GET"][..], "--request: `GET` is not `METHOD PATH`"),
        (&["-H", "no colon"], "name: value"),
        (&["-H", "a b: 1"], "--header: `a b: 1`"),
        (&["--trailer", ":path: /"], "--trailer: `:path: /`"),
        (&["--upstream-status", "99"], "--upstream-status"),
        (&["--upstream", "localhost:80"], "http://HOST"),
        (&["--upstream", "http://a", "--upstream-body", "x"], "cannot be used with"),
        (&["--property", "path"], "path=value"),
        (&["--max-memory", "64MB"], "KiB, MiB or GiB"),
        (&["--deadline", "50"], "as 50ms"),
        (&["--chunk-size", "0"], "at least 1"),
        (&["--repeat", "0"], "1..=10000"),
        (&["--config", "@"], "the file's name is missing"),
    ] {
        let mut args = vec!["run", file];
        args.extend(options);
        let output = output(args);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{options:?}");
        assert!(output.stderr.contains(says), "{options:?}: {}", output.stderr);
    }
}

#[test]
fn a_tcp_stream_is_played_in_place_of_a_request() {
    let options = ["--config", r#"{"refuse": "QUIT", "banner": "hello\n"}"#];
    let events = ["downstream: a\\n", "upstream: b", "downstream: QUIT\\n", "downstream_close: remote"];
    let events: Vec<&str> = events.into_iter().flat_map(|event| ["--tcp", event]).collect();
    let run = run("go/tcp.wasm", &[&options[..], &events].concat());
    assert_eq!(
        (&run["outcome"], &run["upstream_request"], &run["response"]),
        (&json!("played"), &Value::Null, &Value::Null)
    );
    assert_eq!(run["wire"], json!([r#"to upstream "a\n""#, r#"to client "hello\nb""#, "close downstream"]));
    let closes: Vec<&str> = callbacks(&run).into_iter().filter(|name| name.ends_with("close")).collect();
    assert_eq!(closes, ["proxy_on_downstream_connection_close", "proxy_on_upstream_connection_close"]);
    let output = output(["run", "x.wasm", "--tcp", "sideways: x"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("must be `downstream: DATA`"), "{}", output.stderr);
}

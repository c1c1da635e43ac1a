//! What `chassis serve` logs, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::{Serving, http};
use crate::{available_engines, output, plugin};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A configuration with the logging plugin on `/anything` and none elsewhere, before an echo.
fn config(nginx_config: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let echo = "upstream: { type: roundrobin, nodes: { \"builtin:echo\": 1 } }";
    let text = format!(
        "listen: [127.0.0.1:0]\nworkers: 1\nnginx_config: {nginx_config}\nwasm:\n  plugins:\n    - {{ name: wasm_log, file: \"{}\" }}\n\
         routes:\n  - {{ id: logged, uri: /anything, plugins: {{ wasm_log: {{ conf: hello apisix }} }}, {echo} }}\n  \
         - {{ id: other, uri: /*, {echo} }}\n",
        plugin("go/log.wasm").display()
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

/// Waits until a file has so many lines, and answers them.
fn lines_of(path: &Path, count: usize) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count && text.ends_with('\n') {
            return lines;
        }
        assert!(Instant::now() < end, "{} has not {count} lines: {text}", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts it on the last engine, which compiles least.
fn serve(file: &str) -> Serving {
    Serving::start(file, &["--engine", available_engines().last().unwrap()])
}

fn in_dir(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

#[test]
fn a_plugins_line_is_in_the_form_of_nginx() {
    let (_dir, file) = config("{}");
    let serving = serve(&file);
    assert_eq!(http(serving.address, "GET /anything", &[]).status, 200);
    let log = serving.wait_for("run plugin ctx");
    let line = log.lines().find(|line| line.contains("run plugin ctx")).unwrap();
    // 2024/05/13 08:08:52 [warn] 128#128: *2762 run plugin ...
    let (time, rest) = line.split_at(19);
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000/00/00 00:00:00", "{line}");
    let rest = rest.strip_prefix(" [warn] ").unwrap_or_else(|| panic!("{line}"));
    let (ids, rest) = rest.split_once(": *").unwrap();
    let (process, thread) = ids.split_once('#').unwrap();
    assert_eq!(process.parse(), Ok(serving.id()), "{line}");
    assert!(thread.parse::<u32>().is_ok(), "{line}");
    let (connection, rest) = rest.split_once(' ').unwrap();
    assert!(connection.parse::<u64>().is_ok_and(|connection| connection > 0), "{line}");
    let wanted = format!(
        "run plugin ctx 1 with conf hello apisix in http ctx 2, client: 127.0.0.1, server: _, \
         request: \"GET /anything HTTP/1.1\", host: \"{}\"",
        serving.address
    );
    assert_eq!(rest, wanted);
    // Own lines have the same form, and so has what a plugin says where there is no request.
    let own = log.lines().find(|line| line.contains("listening on")).unwrap();
    assert!(own.contains(&format!(" [info] {}#", serving.id())), "{own}");
}

#[test]
fn json_lines_have_the_request_and_its_trace() {
    let (_dir, file) = config("{ error_log_format: json }");
    let serving = serve(&file);
    http(serving.address, "GET /anything?a=%22b", &[("traceparent", PARENT)]);
    let log = serving.wait_for("run plugin ctx");
    let line = log.lines().find(|line| line.contains("run plugin ctx")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["plugin"], &line["context"]), (&"WARN".into(), &"wasm_log".into(), &2.into()));
    assert_eq!(line["message"], "run plugin ctx 1 with conf hello apisix in http ctx 2");
    assert_eq!((&line["trace_id"], &line["host"]), (&TRACE.into(), &serving.address.to_string().into()));
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert_eq!(line["request"], "GET /anything?a=%22b HTTP/1.1");
}

#[test]
fn a_trace_is_passed_on_replaced_or_begun() {
    let traceparent = |serving: &Serving, path: &str, fields: &[(&str, &str)]| {
        let response = http(serving.address, path, fields);
        let echo: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        let headers = echo["headers"].as_array().unwrap();
        let found =
            headers.iter().find(|pair| pair[0] == "traceparent").map(|pair| pair[1].as_str().unwrap().to_owned());
        (found, headers.iter().any(|pair| pair[0] == "tracestate"))
    };
    let (_dir, file) = config("{}");
    let serving = serve(&file);
    for path in ["GET /anything", "GET /"] {
        let good = [("traceparent", PARENT), ("tracestate", "a=1")];
        assert_eq!(traceparent(&serving, path, &good), (Some(PARENT.to_owned()), true));
        assert_eq!(traceparent(&serving, path, &[]), (None, false));
        let (replaced, state) = traceparent(&serving, path, &[("traceparent", "00-bad"), ("tracestate", "a=1")]);
        assert!(replaced.is_some_and(|replaced| replaced.len() == 55) && !state);
    }
    drop(serving);
    let (_dir, file) = config("{ create_traces: true }");
    let serving = serve(&file);
    let begun = [traceparent(&serving, "GET /", &[]).0.unwrap(), traceparent(&serving, "GET /", &[]).0.unwrap()];
    assert!(begun[0] != begun[1] && begun.iter().all(|begun| begun.len() == 55), "{begun:?}");
}

#[test]
fn the_error_log_is_a_file_if_it_is_named() {
    let (dir, file) = config("{ error_log: error.log, error_log_level: warn }");
    let serving = Serving::start_quiet(&file, &["--engine", available_engines().last().unwrap()]);
    http(serving.address, "GET /anything", &[]);
    let lines = lines_of(&in_dir(&dir, "error.log"), 1);
    assert!(lines.len() == 1 && lines[0].contains(" [warn] ") && lines[0].contains("run plugin ctx"), "{lines:?}");
    assert_eq!(serving.log(), "");
    // The command line has the last word.
    let (dir, file) = config("{ error_log: error.log, error_log_level: debug }");
    let serving =
        Serving::start_quiet(&file, &["--log-level", "error", "--engine", available_engines().last().unwrap()]);
    http(serving.address, "GET /anything", &[]);
    assert_eq!(serving.end("TERM").code(), Some(0));
    assert_eq!(fs::read_to_string(in_dir(&dir, "error.log")).unwrap(), "");
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_is_reopened() {
    let (dir, file) = config("{ http: { access_log: access.log } }");
    let serving = serve(&file);
    let (log, moved) = (in_dir(&dir, "access.log"), in_dir(&dir, "access.log.1"));
    http(serving.address, "GET /anything?a=b", &[("referer", "http://a/"), ("user-agent", "tester/1")]);
    let body = http(serving.address, "GET /other", &[]).body.len();
    let lines = lines_of(&log, 2);
    let address = serving.address;
    let (first, second) = (&lines[0], &lines[1]);
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    assert!(first.contains(&format!("] {address} \"GET /anything?a=b HTTP/1.1\" 200 ")), "{first}");
    assert!(first.contains(" \"http://a/\" \"tester/1\" builtin:echo 200 0."), "{first}");
    assert!(first.ends_with(&format!(" \"http://{address}/anything?a=b\"")), "{first}");
    assert!(second.contains(&format!("\"GET /other HTTP/1.1\" 200 {body} 0.")), "{second}");

    fs::rename(&log, &moved).unwrap();
    serving.signal("USR1");
    let end = Instant::now() + Duration::from_secs(30);
    while !log.exists() {
        assert!(Instant::now() < end, "it is not reopened");
        std::thread::sleep(Duration::from_millis(10));
    }
    http(serving.address, "GET /later", &[]);
    assert!(lines_of(&log, 1)[0].contains("GET /later"));
    // What ends last is written, too.
    http(serving.address, "GET /last", &[]);
    assert_eq!(serving.end("TERM").code(), Some(0));
    assert_eq!((lines_of(&log, 2).len(), lines_of(&moved, 2).len()), (2, 2));
}

#[test]
fn the_access_log_can_be_json() {
    let (dir, file) = config("{ http: { access_log: access.log, access_log_format: json } }");
    let serving = serve(&file);
    http(serving.address, "GET /anything", &[("user-agent", "a\"b\\"), ("traceparent", PARENT)]);
    let line: serde_json::Value = serde_json::from_str(&lines_of(&in_dir(&dir, "access.log"), 1)[0]).unwrap();
    assert_eq!((&line["status"], &line["route"]), (&200.into(), &"logged".into()));
    assert_eq!((&line["user_agent"], &line["trace_id"]), (&"a\"b\\".into(), &TRACE.into()));
    assert_eq!((&line["upstream"], &line["upstream_status"]), (&"builtin:echo".into(), &"200".into()));
}

/// `/dev/full` is a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_log_lines_and_no_request() {
    let (_dir, file) = config("{ http: { access_log: /dev/full } }");
    let serving = serve(&file);
    for _ in 0..50 {
        assert_eq!(http(serving.address, "GET /", &[]).status, 200);
    }
    let log = serving.wait_for("lines of the log /dev/full were dropped: ");
    assert!(log.contains("No space left on device"), "{log}");
    assert_eq!(serving.end("TERM").code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_opened_is_said_at_once() {
    for (logs, name) in
        [("{ error_log: none/a.log }", "none/a.log"), ("{ http: { access_log: none/b.log } }", "none/b.log")]
    {
        let (_dir, file) = config(logs);
        let ended = output(["serve", &file]);
        assert_eq!(ended.code, 4, "{}", ended.stderr);
        assert!(ended.stderr.contains("cannot write to the log ") && ended.stderr.contains(name), "{}", ended.stderr);
    }
}

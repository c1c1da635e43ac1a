//! Plugins that end badly, under `chassis run`: stopped in time, answered with 503 or refused, alike on every engine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{chassis, output, plugin};

/// The deadlines that the plugins get.
const DEADLINE: Duration = Duration::from_millis(50);
/// How much later a guest may be stopped.
const GRACE: Duration = Duration::from_millis(100);
/// Promises with a time are tested with this much slack, as machines that run tests are busy.
const SLACK: u32 = 5;

/// How a plugin ends.
struct End {
    plugin: &'static str,
    kind: &'static str,
    callback: &'static str,
    message: &'static str,
}

const HEADERS: &str = "proxy_on_request_headers";

/// The ones that end when a request comes.
const CRASHES: [End; 8] = [
    End { plugin: "trap", kind: "trap", callback: HEADERS, message: "trap: unreachable" },
    End { plugin: "recurse", kind: "trap", callback: HEADERS, message: "trap: call stack exhausted" },
    End { plugin: "exit", kind: "exit", callback: HEADERS, message: "the guest exited with code 3" },
    End { plugin: "loop", kind: "deadline", callback: HEADERS, message: "deadline exceeded" },
    End { plugin: "loop-log", kind: "deadline", callback: HEADERS, message: "deadline exceeded" },
    End { plugin: "grow", kind: "deadline", callback: HEADERS, message: "deadline exceeded" },
    End { plugin: "loop-allocator", kind: "deadline", callback: HEADERS, message: "deadline exceeded" },
    // With less memory than it could fill within the deadline.
    End { plugin: "grow-trap", kind: "trap", callback: HEADERS, message: "trap: unreachable" },
];

/// The ones that do not get that far.
const STARTS: [End; 2] = [
    End { plugin: "loop-initialize", kind: "deadline", callback: "_initialize", message: "deadline exceeded" },
    End { plugin: "loop-start", kind: "deadline", callback: "the start section", message: "deadline exceeded" },
];

/// The runs of a plugin on all engines, the exit code, and how long they took.
fn runs(name: &str, options: &[&str]) -> (Vec<Value>, i32, Duration) {
    let began = Instant::now();
    let mut command = chassis(["run", "--json", "--engine", "all", "--compile", "in-process"]);
    command.args(["--start-deadline", "50ms", "--max-memory", "2MiB"]).args(options);
    let output = command.arg(plugin(&format!("wat/{name}.wat"))).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    (report["runs"].as_array().unwrap().clone(), output.status.code().unwrap(), began.elapsed())
}

fn ends_as(run: &Value, end: &End) {
    let error = &run["error"];
    assert_eq!(error["kind"], end.kind, "{}: {run:#}", end.plugin);
    assert_eq!(error["callback"], end.callback, "{}: {run:#}", end.plugin);
    assert_eq!(error["message"], end.message, "{}: {run:#}", end.plugin);
    let longest = run["callbacks"].as_array().unwrap().iter().map(|call| call["duration_ns"].as_u64().unwrap()).max();
    let longest = Duration::from_nanos(longest.unwrap_or(0));
    assert!(longest <= SLACK * (DEADLINE + GRACE), "{} ran for {longest:?} on {}", end.plugin, run["engine"]);
}

#[test]
fn a_plugin_that_ends_badly_is_answered_with_503() {
    for end in &CRASHES {
        let (runs, code, _) = runs(end.plugin, &[]);
        assert_eq!(code, 3, "{}", end.plugin);
        for run in &runs {
            ends_as(run, end);
            assert_eq!(run["outcome"], "crash", "{}", end.plugin);
            assert_eq!(run["response"]["status"], 503, "{}", end.plugin);
            assert_eq!(run["response"]["body"], "Service Unavailable\n", "{}", end.plugin);
            assert_eq!(run["upstream_request"], Value::Null, "{}", end.plugin);
        }
    }
}

#[test]
fn a_plugin_that_does_not_start_is_refused() {
    for end in &STARTS {
        let (runs, code, took) = runs(end.plugin, &[]);
        assert_eq!(code, 3, "{}", end.plugin);
        for run in &runs {
            ends_as(run, end);
            assert_eq!(run["outcome"], "load_error", "{}", end.plugin);
            assert_eq!((&run["response"], &run["upstream_request"]), (&Value::Null, &Value::Null), "{}", end.plugin);
        }
        // The start section is no callback, so what tells is the time that all of it takes.
        let most = SLACK * (DEADLINE + GRACE) * u32::try_from(runs.len()).unwrap();
        assert!(took <= most, "{} took {took:?}", end.plugin);
    }
}

/// The deadline of the command line is the one that holds, also in the allocator.
#[test]
fn a_longer_deadline_is_used_up() {
    for name in ["loop", "loop-allocator"] {
        let (runs, ..) = runs(name, &["--deadline", "200ms"]);
        for run in &runs {
            assert_eq!(run["error"]["kind"], "deadline", "{name}");
            let calls = run["callbacks"].as_array().unwrap();
            let longest = calls.iter().map(|call| call["duration_ns"].as_u64().unwrap()).max().unwrap();
            assert!(longest >= 195_000_000, "{name} was stopped after {longest} ns on {}", run["engine"]);
        }
    }
}

/// After a crash the next request is another VM's, which crashes of itself.
#[test]
fn each_request_after_a_crash_has_a_vm() {
    let (runs, code, _) = runs("trap", &["--repeat", "4"]);
    assert_eq!((runs.len() % 4, code), (0, 3));
    for run in &runs {
        ends_as(run, &CRASHES[0]);
        assert_eq!(run["response"]["status"], 503);
        let callbacks: Vec<&Value> = run["callbacks"].as_array().unwrap().iter().map(|call| &call["name"]).collect();
        assert_eq!(callbacks, [HEADERS]);
    }
}

#[test]
fn a_module_that_cannot_be_loaded_has_its_own_code() {
    for (name, message) in [
        ("no-allocator", "no allocator: exports neither proxy_on_memory_allocate nor malloc"),
        ("no-memory", "no memory: exports no memory named `memory`"),
        ("no-marker", "no Proxy-Wasm ABI version"),
        ("unknown-import", "missing import env.no_such"),
    ] {
        let file = plugin(&format!("wat/{name}.wat"));
        let ended = output(["run", "--json", "--engine", "all", file.to_str().unwrap()]);
        assert_eq!(ended.code, 4, "{name}");
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        for run in report["runs"].as_array().unwrap() {
            assert_eq!((&run["outcome"], &run["error"]["kind"]), (&json!("load_error"), &json!("load")), "{name}");
            let said = run["error"]["message"].as_str().unwrap();
            assert!(said.contains(message) && said.contains(&format!("{name}.wat")), "{name}: {said}");
        }
        // Once, however many engines there are.
        assert_eq!(ended.stderr.matches(message).count(), 1, "{}", ended.stderr);
    }
}

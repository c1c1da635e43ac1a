//! Plugins of the repository do the same on every engine: callbacks, host calls, statuses, logs, results.
//!
//! Plugins are found in their folders, so one that is added is tested; each is given every input. Those in Go are not among
//! them: each run would compile 3 MB.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{chassis, plugin};

/// What may differ: which engine it was, how long it took, and how much an engine can tell of a guest's frames.
const MAY_DIFFER: [&str; 3] = ["engine", "duration_ns", "backtrace"];

/// One way to call a plugin.
struct Input {
    name: &'static str,
    options: Vec<OsString>,
    /// How many runs there are on each engine.
    runs: usize,
}

/// Bodies and configurations too large, or too odd, for a command line.
struct Files {
    folder: TempDir,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.path().join("mib"), bytes).unwrap();
    std::fs::write(folder.path().join("high"), [0x80, 0xff, b'a', 0, 0xc3, 0xa4, 0xfe, b'\n']).unwrap();
    Files { folder }
});

impl Files {
    fn at(&self, name: &str) -> String {
        format!("@{}", self.folder.path().join(name).display())
    }
}

fn input(name: &'static str, options: &[&str]) -> Input {
    Input { name, options: options.iter().map(OsString::from).collect(), runs: 1 }
}

/// An option whose value is no text.
#[cfg(unix)]
fn bytes(value: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(value).to_owned()
}

fn inputs() -> Vec<Input> {
    let (mib, high) = (FILES.at("mib"), FILES.at("high"));
    let long = format!("x-long: {}", "v".repeat(60_000));
    let many: Vec<String> = (0..150).flat_map(|i| ["-H".to_owned(), format!("x-{i}: {}", i % 7)]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut list = vec![
        input("no body", &[]),
        input(
            "empty bodies and configurations",
            &["--request", "POST /", "--body", "", "--upstream-body", "", "--config", "", "--vm-config", ""],
        ),
        input("small bodies", &["--request", "PUT /a?b=c", "--body", "banana", "--upstream-body", "ananas"]),
        input(
            "one byte at a time, rewritten",
            &["--body", "banana", "--upstream-body", "ananas", "--chunk-size", "1", "--config", "an=>na\n==>="],
        ),
        input("1 MiB in pieces", &["--body", &mib, "--upstream-body", &mib, "--chunk-size", "64KiB"]),
        input(
            "repeated fields",
            &[
                &["-H", "token: 7", "-H", "token: 8", "-H", "x-echo: 1", "-H", "x-echo: 2", "-H", "X-ECHO: 1"][..],
                &["--upstream-header", "set-cookie: a=1", "--upstream-header", "set-cookie: b=2"],
            ]
            .concat(),
        ),
        input("trailers without bodies", &["--trailer", "t: 1", "--trailer", "t: 2", "--upstream-trailer", "u: 3"]),
        input(
            "trailers after bodies in pieces",
            &[
                &["--body", "banana", "--trailer", "t: 1", "--chunk-size", "2", "--config", "an=>na"][..],
                &["--upstream-body", "ananas", "--upstream-trailer", "u: 1"],
            ]
            .concat(),
        ),
        input("configured fields", &["--config", "x-added: one\nx-added: two\n\nx-empty:", "--vm-config", "v"]),
        input("a configuration that some refuse", &["--config", "neither this nor that"]),
        input("bytes above 0x7f", &["--config", &high, "--vm-config", &high, "--body", &high]),
        input("a prime token", &["-H", "token: 32323", "--upstream-header", "x-from: upstream"]),
        input("a composite token", &["-H", "token: 323232"]),
        input("a large prime token among many fields", &[&["-H", "token: 9999999999999999961"], &many[..]].concat()),
        input("a token that is no number, and a teapot", &["-H", "token: abc", "-H", "x-teapot: yes", "--body", "tea"]),
        input(
            "an odd request with properties",
            &[
                &["--request", "OPTIONS *", "-H", "host: example.org", "-H", "empty:"][..],
                &["--property", "request.path=/other", "--property", "plugin_root_id=root"],
            ]
            .concat(),
        ),
        input("a failing upstream", &["--upstream-status", "503", "-H", &long, "--upstream-header", &long]),
        input("no content", &["--request", "HEAD /", "--upstream-status", "204"]),
        input("ticks", &["--ticks", "3"]),
        input(
            "a short pause and little memory",
            &["--pause-limit", "5ms", "--max-memory", "2MiB", "--body", "x", "--log-level", "warn"],
        ),
        input("too little memory", &["--max-memory", "64KiB"]),
    ];
    #[cfg(unix)]
    list.push(Input {
        name: "fields above 0x7f",
        options: [&b"-H"[..], b"token: \xff\xfe", b"-H", b"x-echo: \xc3\xa4", b"--upstream-header", b"x: \x80"]
            .map(bytes)
            .to_vec(),
        runs: 1,
    });
    list.push(Input { runs: 3, ..input("repeated", &["--repeat", "3", "--body", "x", "--upstream-body", "y"]) });
    list
}

/// Every plugin but those in Go.
fn plugins() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [("assemblyscript", "wasm"), ("c", "wasm"), ("rust", "wasm"), ("wat", "wat")]
        .into_iter()
        .flat_map(|(folder, extension)| {
            let files = std::fs::read_dir(plugin(folder)).unwrap().map(|file| file.unwrap().path());
            files.filter(move |file| file.extension() == Some(OsStr::new(extension)))
        })
        .collect();
    found.sort();
    found
}

/// One plugin with one input, on all engines; what is wrong.
fn check(file: &Path, input: &Input) -> Result<(), String> {
    // A guest that never returns is to be stopped soon, and every other one not, however busy the machine is.
    let stem = file.file_stem().unwrap().to_string_lossy();
    let deadline = if stem.starts_with("loop") || stem == "grow" { "20ms" } else { "2s" };
    let mut command = chassis(["run", "--engine", "all", "--json", "--compile", "in-process"]);
    command.args(["--deadline", deadline, "--start-deadline", deadline]).args(&input.options).arg(file);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The command's own verdict is to be the same as this test's.
    if !matches!(output.status.code(), Some(0 | 3 | 4)) || stderr.contains("do not agree") {
        return Err(format!("ended with {:?}: {stderr}", output.status));
    }
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {stderr}"))?;
    agree(&report, input.runs)
}

/// Whether all engines have the same runs, of which there are `most` unless the plugin was not loaded.
fn agree(report: &Value, most: usize) -> Result<(), String> {
    let runs = report["runs"].as_array().ok_or("no runs")?;
    let mut engines: Vec<&str> = runs.iter().filter_map(|run| run["engine"].as_str()).collect();
    engines.dedup();
    let of = |engine: &str| -> Vec<&Value> { runs.iter().filter(|run| run["engine"] == engine).collect() };
    let [first, others @ ..] = &engines[..] else { return Err("no engine".to_owned()) };
    if others.is_empty() {
        return Err("there is one engine only".to_owned());
    }
    let expected = if of(first).first().is_some_and(|run| run["outcome"] == "load_error") { 1 } else { most };
    for other in others {
        same(first, &of(first), other, &of(other), expected)?;
    }
    Ok(())
}

fn same(name: &str, ours: &[&Value], other: &str, others: &[&Value], expected: usize) -> Result<(), String> {
    if ours.len() != expected || others.len() != expected {
        return Err(format!("{} runs on {name} and {} on {other}, not {expected}", ours.len(), others.len()));
    }
    ours.iter().zip(others).enumerate().try_for_each(|(i, (a, b))| {
        let (mut a, mut b) = ((*a).clone(), (*b).clone());
        if [&a, &b].iter().all(|run| run["error"]["kind"] == "deadline") {
            until_stopped(&mut a, &mut b);
        }
        match difference(&a, &b, &format!("runs[{i}]")) {
            None => Ok(()),
            Some(difference) => Err(format!("{difference} ({name}, then {other})")),
        }
    })
}

/// How far a guest gets until its deadline depends on how fast it is: what both did is compared.
fn until_stopped(a: &mut Value, b: &mut Value) {
    let last = |run: &Value| run["callbacks"].as_array().map_or(0, Vec::len).saturating_sub(1);
    for pointer in ["/logs".to_owned(), format!("/callbacks/{}/host_calls", last(a))] {
        let lists = (a.pointer_mut(&pointer).and_then(Value::as_array_mut), b.pointer_mut(&pointer));
        if let (Some(a), Some(b)) = (lists.0, lists.1.and_then(Value::as_array_mut)) {
            let length = a.len().min(b.len());
            a.truncate(length);
            b.truncate(length);
        }
    }
}

fn difference(a: &Value, b: &Value, path: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.filter(|name| !MAY_DIFFER.contains(&name.as_str())).find_map(|name| {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                difference(&of(a), &of(b), &format!("{path}.{name}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]")))
        }
        (a, b) => (a != b).then(|| format!("{path}: {a} against {b}")),
    }
}

#[test]
fn every_plugin_does_the_same_with_every_input() {
    let (plugins, inputs) = (plugins(), inputs());
    assert!(plugins.len() >= 20, "plugins are missing: {plugins:?}");
    assert!(inputs.len() >= 14);
    let cases: Vec<(&PathBuf, &Input)> =
        plugins.iter().flat_map(|plugin| inputs.iter().map(move |input| (plugin, input))).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((plugin, input)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check(plugin, input) {
                        let plugin = plugin.file_name().unwrap().to_string_lossy().into_owned();
                        failures.lock().unwrap().push(format!("{plugin}, {}: {error}", input.name));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// The inputs are what their names say: a whole body of 1 MiB reaches plugin and upstream.
#[test]
fn bodies_in_pieces_arrive() {
    let mib = FILES.at("mib");
    let output = chassis(["run", "--json", "--body", &mib, "--chunk-size", "64KiB"])
        .arg(plugin("rust/body-rewrite.wasm"))
        .args(["--upstream-body", &mib, "--config", "nothing like it=>x"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &report["runs"][0];
    let length = |message: &Value| message["body_base64"].as_str().unwrap().len();
    assert_eq!(length(&run["upstream_request"]), (1usize << 20).div_ceil(3) * 4);
    assert_eq!(length(&run["response"]), length(&run["upstream_request"]));
    let calls = |name: &str| run["callbacks"].as_array().unwrap().iter().filter(|call| call["name"] == name).count();
    assert_eq!((calls("proxy_on_request_body"), calls("proxy_on_response_body")), (16, 16));
}

/// What is compared is compared: any change of a real report but to what may differ is found.
#[test]
fn a_doctored_report_is_found_out() {
    let output = chassis(["run", "--engine", "all", "--json", "-H", "token: 8"])
        .arg(plugin("rust/prime-auth.wasm"))
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(agree(&report, 1), Ok(()));
    let doctored = |pointer: &str, value: Value| {
        let mut report = report.clone();
        *report.pointer_mut(&format!("/runs/1/{pointer}")).expect(pointer) = value;
        agree(&report, 1)
    };
    for (pointer, value) in [
        ("outcome", json!("response")),
        ("error", json!({ "kind": "trap" })),
        ("response/status", json!(200)),
        ("response/headers/0/1", json!("other")),
        ("response/body", json!("Access forbidden.")),
        ("logs", json!([{ "level": "warn" }])),
        ("callbacks/5/name", json!("proxy_on_request_body")),
        ("callbacks/5/context", json!(3)),
        ("callbacks/5/result", json!(0)),
        ("callbacks/5/host_calls/0/name", json!("proxy_get_property")),
        ("callbacks/5/host_calls/0/args/1", json!("Token")),
        ("callbacks/5/host_calls/0/status", json!("not_found")),
        ("callbacks", json!([])),
    ] {
        assert!(doctored(pointer, value).is_err(), "{pointer}");
    }
    assert_eq!(doctored("callbacks/5/duration_ns", json!(1)), Ok(()));
    assert!(agree(&report, 2).is_err_and(|words| words.starts_with("1 runs on ") && words.ends_with(", not 2")));
}

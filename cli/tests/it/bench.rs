//! `chassis bench engines`: what it measures, prints and writes. How fast anything is is nobody's business here.

use serde_json::Value;

use crate::{available_engines, output};

/// A run that is over soon.
const SHORT: [&str; 6] = ["bench", "engines", "--time", "0.01", "--no-progress", "--filter"];

fn short<'a>(filter: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    SHORT.iter().copied().chain([filter]).chain(more.iter().copied()).collect()
}

#[test]
fn the_list_has_every_measurement_once() {
    let text = output(["bench", "engines", "--list"]);
    let list: Value = serde_json::from_str(&output(["bench", "engines", "--list", "--json"]).stdout).unwrap();
    let ids: Vec<&str> = list["measurements"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!((text.code, text.stdout.lines().count()), (0, ids.len()));
    assert!(text.stdout.lines().zip(&ids).all(|(line, id)| line.starts_with(id)));
    for id in ["module/compile", "module/load"] {
        // By hand there is no linking: who compares the two must know.
        let line = text.stdout.lines().find(|line| line.starts_with(id)).unwrap();
        assert!(line.contains("; through Chassis with its ") && line.ends_with("linking, by hand without."), "{line}");
    }
    for id in
        ["module/compile", "call/callback", "header/get-50", "body/get-1-mib", "request/chain-10", "host/fd_write"]
    {
        assert_eq!(ids.iter().filter(|listed| **listed == id).count(), 1, "{id}");
    }
}

#[test]
fn json_has_a_result_of_every_engine() {
    let ended = output(short("call/", &["--json"]));
    let engines = available_engines();
    if engines.is_empty() {
        assert_eq!(ended.code, 5, "{}", ended.stderr);
        return;
    }
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["schema"], "chassis/bench-engines/v1");
    assert_eq!(report["chassis"], env!("CARGO_PKG_VERSION"));
    assert!(report["machine"]["target"].is_string() && report["date"].as_str().unwrap().ends_with('Z'));
    let names: Vec<&str> = report["engines"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, engines);
    for row in report["measurements"].as_array().unwrap() {
        let results = row["results"].as_array().unwrap();
        // Each through Chassis and by hand, and the native engine.
        assert_eq!(results.len(), 2 * engines.len() + 1, "{row}");
        for cell in results {
            assert!(cell["reason"].is_null() && cell["median"].as_f64().unwrap() > 0.0, "{cell}");
            assert!(cell["lower_quartile"].as_f64() <= cell["median"].as_f64(), "{cell}");
        }
        let best = results.iter().filter(|cell| cell["via"] == "chassis" && cell["ratio"] == 1.0).count();
        assert!(best >= 1, "{row}");
    }
}

#[test]
fn what_an_engine_cannot_do_is_told_and_is_no_failure() {
    if !available_engines().contains(&"wasmi".to_owned()) {
        return;
    }
    let ended = output(short("module/load", &["--engine", "wasmi"]));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("module/load on wasmi: wasmi interprets"), "{}", ended.stdout);
}

#[test]
fn files_are_written_beside_the_table() {
    if available_engines().is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("report.json"), folder.path().join("report.html"));
    let (json, html) = (json.to_str().unwrap(), html.to_str().unwrap());
    let ended = output(short("header/get-1", &["--output", json, "--html", html]));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("get of 10") && ended.stdout.contains("1.00x"), "{}", ended.stdout);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["measurements"].as_array().unwrap().len(), 2);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("get of 10") && !page.contains("<script") && !page.contains("http"));
}

/// A device that is always full can be opened, as a file on a disk that fills up while there is measuring.
#[cfg(target_os = "linux")]
#[test]
fn what_was_measured_is_printed_though_a_file_cannot_be_written() {
    if available_engines().is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let ended = output(short("call/callback", &["--json", "--output", "/dev/full", "--html", page.to_str().unwrap()]));
    assert_eq!(ended.code, 2, "{}", ended.stdout);
    assert!(ended.stderr.contains("/dev/full cannot be written"), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["measurements"].as_array().unwrap().len(), 1);
    assert!(std::fs::read_to_string(page).unwrap().ends_with("</html>\n"));
}

#[test]
fn progress_is_for_the_standard_error() {
    if available_engines().is_empty() {
        return;
    }
    let ended = output(["bench", "engines", "--time", "0.01", "--filter", "call/callback", "--json"]);
    assert_eq!(ended.stderr, "measuring 1/1: Into the guest and out of it\n");
    assert!(serde_json::from_str::<Value>(&ended.stdout).is_ok());
}

#[test]
fn mistakes_have_their_exit_codes() {
    let code = |args: &[&str]| output(args.iter().copied()).code;
    assert_eq!(code(&["bench"]), 2);
    assert_eq!(code(&["bench", "engines", "--filter", "no such thing"]), 2);
    assert_eq!(code(&["bench", "engines", "--engine", "v8"]), 2);
    assert_eq!(code(&["bench", "engines", "--quick", "--time", "1"]), 2);
    assert_eq!(code(&["bench", "engines", "--time", "0"]), 2);
    if !available_engines().is_empty() {
        assert_eq!(code(&short("call/callback", &["--output", "no/such/folder/report.json"])), 2);
        let twice = output(short("call/callback", &["--output", "no-report", "--html", "./no-report"]));
        assert_eq!((twice.code, twice.stdout.as_str()), (2, ""));
        assert!(twice.stderr.contains("--output and --html are the same file"), "{}", twice.stderr);
    }
    for absent in ["wasmtime", "wasmer", "wasmedge", "wasmi"] {
        if !available_engines().contains(&absent.to_owned()) {
            assert_eq!(code(&["bench", "engines", "--engine", absent]), 5);
        }
    }
}

//! `chassis conformance`: its own cases, and what it says of cases that fail or have mistakes.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Output, available_engines, chassis, output};

/// Runs it from the root of the repository, where plugins are.
fn conformance(args: &[&str]) -> Output {
    let mut command = chassis(["conformance"]);
    let ended = command.args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).output().unwrap();
    Output {
        code: ended.status.code().unwrap(),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
    }
}

const WRONG: &str = r#"about: The header is read, it says.
guest:
  script:
    proxy_on_request_headers: |
      proxy_get_header_map_value(request_headers, "a")
request:
  headers:
    - a: <1>
expect:
  trace: |
    proxy_on_request_headers(2, 5, 1) -> 0
      proxy_get_header_map_value(request_headers, "a") -> not_found
"#;

/// A folder with one case.
fn cases(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("area")).unwrap();
    fs::write(folder.path().join("area/wrong.yaml"), text).unwrap();
    folder
}

fn of_folder(folder: &TempDir, args: &[&str]) -> Output {
    let mut all = vec!["--compile", "in-process", "--cases", folder.path().to_str().unwrap()];
    all.extend(args);
    conformance(&all)
}

#[test]
fn cases_of_its_own_pass_on_every_engine() {
    let ended = conformance(&["--filter", "headers/", "--format", "json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["schema"], "chassis/conformance/v1");
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.len() >= 10 * available_engines().len(), "{}", cases.len());
    assert!(cases.iter().all(|case| case["status"] == "passed" && case["area"] == "headers"), "{}", ended.stdout);
    assert_eq!(report["summary"]["passed"], cases.len());
    assert_eq!(report["disagreements"].as_array().unwrap().len(), 0);
}

#[test]
fn the_matrix_has_a_row_for_each_area_and_a_column_for_each_engine() {
    let ended = conformance(&["--filter", "statuses/"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let head = ended.stdout.lines().next().unwrap();
    for engine in available_engines() {
        assert!(head.contains(&engine), "{head}");
    }
    let rows: Vec<&str> = ended.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(rows[..3], ["area", "statuses", "all"], "{}", ended.stdout);
    assert!(ended.stdout.contains(" passed, 0 failed, 0 ignored"), "{}", ended.stdout);
}

#[test]
fn cases_are_listed_with_their_engines() {
    let ended = conformance(&["--list", "--filter", "lifecycle/order"]);
    let expected: String = available_engines().iter().map(|engine| format!("lifecycle/order::{engine}\n")).collect();
    assert_eq!((ended.code, ended.stdout), (0, expected));
    let json = conformance(&["--list", "--filter", "lifecycle/order", "--format", "json"]);
    let list: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(list["cases"][0]["name"], "order");
    let junit = conformance(&["--list", "--filter", "lifecycle/order", "--format", "junit"]);
    assert_eq!((junit.code, junit.stdout.as_str()), (2, ""));
    assert!(junit.stderr.contains("--list is printed as text or json"), "{}", junit.stderr);
}

#[test]
fn a_failure_shows_its_first_difference_side_by_side() {
    let folder = cases(WRONG);
    let ended = of_folder(&folder, &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    for part in [
        "area/wrong::",
        "The header is read, it says.",
        "expect.trace ",
        "area/wrong.yaml:12",
        "proxy_on_request_headers(2, 5, 1) -> 0                     | proxy_on_request_headers(2, 5, 1) -> 0",
        "> ",
        "-> not_found",
        "-> ok \"<1>\"",
        "0 passed",
    ] {
        assert!(ended.stdout.contains(part), "{part} is not in\n{}", ended.stdout);
    }
}

#[test]
fn a_failure_is_told_to_machines() {
    let folder = cases(WRONG);
    let ended = of_folder(&folder, &["--format", "json"]);
    assert_eq!(ended.code, 1);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let case = &report["cases"][0];
    assert_eq!((&case["status"], &case["difference"]["at"]), (&"failed".into(), &"expect.trace".into()));
    assert_eq!((&case["difference"]["line"], &case["difference"]["first"]), (&12.into(), &1.into()));

    let ended = of_folder(&folder, &["--format", "junit"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites"), "{}", ended.stdout);
    assert!(ended.stdout.contains("<failure message=\"expect.trace\">"), "{}", ended.stdout);
    assert!(ended.stdout.contains("-&gt; ok &quot;&lt;1&gt;&quot;"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("<1>"), "{}", ended.stdout);
}

#[test]
fn a_mistake_in_a_case_is_4_and_placed() {
    let folder = cases("about: x\nguest:\n  script: {}\nexpect:\n  tarce: x\n");
    let ended = of_folder(&folder, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""));
    assert!(ended.stderr.contains("area/wrong.yaml:5:3: unknown key `tarce`"), "{}", ended.stderr);
    let nowhere = conformance(&["--cases", "no/such/folder"]);
    assert_eq!(nowhere.code, 4, "{}", nowhere.stderr);
}

#[test]
fn a_plugin_that_is_not_there_is_ignored_with_the_reason() {
    let ended = conformance(&["--plugins", "no/such", "--filter", "plugins/rust-hello"]);
    // Nothing was run, which is not what was asked for.
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.stderr.contains("nothing was run: all "), "{}", ended.stderr);
    let reason = ": the module of its plugin is not below no/such: run this in the repository of Chassis";
    assert!(ended.stdout.contains(reason) && !ended.stdout.contains("the engines agree"), "{}", ended.stdout);
    assert!(ended.stdout.contains("0 passed, 0 failed"), "{}", ended.stdout);
}

#[test]
fn a_filter_that_nothing_matches_is_2() {
    let ended = conformance(&["--filter", "no/such"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("no case has `no/such` in its name"), "{}", ended.stderr);
}

#[test]
fn the_schema_is_the_committed_one() {
    let committed = include_str!("../../../conformance/case.schema.json");
    let ended = output(["conformance", "--schema"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, committed));
}

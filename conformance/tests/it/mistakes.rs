//! A mistake in a case is said with file, line and column.

use std::fs;

use chassis_conformance::{Suite, SuiteError};

use crate::{plugins, suite};

/// The mistake in a case, without the folder before it.
fn mistake(text: &str) -> String {
    let error = suite(&[("area/case.yaml", text)]).unwrap_err().to_string();
    let (_, rest) = error.split_once("area/case.yaml:").unwrap_or_else(|| panic!("{error}"));
    rest.to_owned()
}

fn begins(text: &str, beginning: &str) {
    let mistake = mistake(text);
    assert!(mistake.starts_with(beginning), "{mistake}\ninstead of\n{beginning}");
}

#[test]
fn unknown_keys_are_placed() {
    begins("about: a\ngeust: {}\nexpect: {}\n", "2:1: unknown key `geust`; known are about, needs, guest,");
    begins("about: a\nguest:\n  script: {}\nexpect:\n  client:\n    stats: 1\n", "6:5: unknown key `stats`");
    begins("about: a\nguest:\n  script: {}\nexpect: {}\nneeds: [wings]\n", "5:9: unknown value `wings`");
}

#[test]
fn what_is_missing_or_of_another_kind_is_placed() {
    assert!(mistake("about: a\nexpect: {}\n").contains("the key `guest` is missing"));
    begins("about: a\nguest:\n  script: {}\nexpect: {}\nticks: x\n", "5:8: ");
    begins(
        "about: a\nguest:\n  script: {}\nexpect: {}\nlimits:\n  deadline: 5\n",
        "6:13: must be a time with its unit",
    );
    begins("about: a\nguest:\n  script: {}\nexpect: {}\nconfig: \"\\\\q\"\n", "5:9: a backslash is written");
    begins("about: [\n", "");
}

#[test]
fn a_guest_is_exactly_one() {
    let one = "a guest is exactly one of script, wat, file and plugin";
    begins("about: a\nguest: {}\nexpect: {}\n", &format!("2:8: {one}"));
    begins("about: a\nguest: { plugin: a, wat: b }\nexpect: {}\n", &format!("2:8: {one}"));
    begins("about: a\nguest: { file: no.wat }\nexpect: {}\n", "2:16: there is no `no.wat` beside the case");
    for outside in ["../x", "/etc/x", "a/../../b", "a.wasm", ""] {
        begins(
            &format!("about: a\nguest: {{ plugin: \"{outside}\" }}\nexpect: {{}}\n"),
            "2:18: must be a module below",
        );
    }
}

#[test]
fn a_text_module_is_placed_in_the_case() {
    begins("about: a\nguest:\n  wat: |\n    (module\n      (fnuc))\nexpect: {}\n", "5:8: ");
}

#[test]
fn a_statement_is_placed() {
    let script = |statement: &str| {
        let text =
            "about: a\nguest:\n  script:\n    proxy_on_tick: |\n      proxy_log(info, \"fine\")\n      STATEMENT\n";
        mistake(&format!("{}expect: {{}}\n", text.replace("STATEMENT", statement)))
    };
    for (statement, message) in [
        ("proxy_nothing()", "`proxy_nothing` is no host function"),
        ("proxy_log(info)", "the argument Bytes(\"message\") is missing"),
        ("proxy_log(info, \"a\", 1)", "there are more arguments than parameters"),
        ("proxy_log(loud, \"a\")", "`loud` is no number"),
        ("proxy_log(info, \"a)", "a `\"` is missing"),
        ("proxy_log(info, \"a\"", "a `)` is missing"),
        ("proxy_log(info, \"a\") more", "there is more after the call"),
        ("proxy_log(info, 5)", "is not what Bytes(\"message\") takes"),
        ("proxy_log(info, value)", "no call before this one returns bytes"),
        ("proxy_log(5000000000, \"a\")", "`5000000000` is too large"),
        ("proxy_log(info, \"a\" * 99999999)", "is longer than 16777216 bytes"),
        ("hello", "must be `name(arguments)`, `return` or `(instruction)`"),
        ("return 1", "the callback has no result"),
    ] {
        assert_eq!(script(statement), format!("6:0: `{statement}`: {message}"));
    }
    begins("about: a\nguest:\n  script:\n    on_tick: \"\"\nexpect: {}\n", "4:14: `on_tick` is no callback");
    assert!(script("(no.such.instruction)").contains("no.such.instruction"));
}

#[test]
fn what_makes_no_sense_is_a_mistake() {
    let case = |rest: &str| mistake(&format!("about: a\nguest:\n  script: {{}}\n{rest}"));
    assert!(case("expect:\n  outcome: crash\n").contains("the outcome crash needs `error`"));
    assert!(
        case("expect:\n  counts:\n    proxy_lag: 1\n")
            .contains("`proxy_lag` is neither a callback nor a host function")
    );
    assert!(case("expect: {}\nthen:\n  - expect:\n      start: x\n").starts_with("7:14: the plugin starts"));
    assert!(case("expect: {}\nrequest:\n  headers:\n    - a b: 1\n").contains("request: `a b`: not a header name"));
    assert!(case("expect: {}\nrequest:\n  headers:\n    - { a: 1, b: 2 }\n").contains("one header field"));
    assert!(case("expect: {}\nrequest: {}\ntcp: []\n").contains("there is either a `request` or `tcp`"));
    assert!(case("expect:\n  wire: x\n").starts_with("5:9: only a TCP stream has a wire"));
    assert!(case("expect:\n  client: none\ntcp: []\n").starts_with("5:11: a TCP stream has no request"));
    assert!(case("expect: {}\ntcp:\n  - downstream_close: me\n").contains("unknown value `me`"));
    assert!(case("expect: {}\ntcp:\n  - sidestream: x\n").contains("unknown value `sidestream`"));
    let large = "{ text: 0123456789, times: 4000000 }";
    let twice = case(&format!("expect: {{}}\nconfig: {large}\nrequest:\n  body: {large}\n"));
    assert!(twice.contains("have more than 67108864 bytes"), "{twice}");
    let twice = case(&format!("expect: {{}}\ntcp:\n  - downstream: {large}\n  - upstream_end: {large}\n"));
    assert!(twice.contains("have more than 67108864 bytes"), "{twice}");
}

#[test]
fn all_files_with_mistakes_are_told() {
    let error =
        suite(&[("a/one.yaml", "about: x\n"), ("b/two.yaml", "x"), ("b/Wrong.yaml", "")]).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
    assert!(error.contains("a case is AREA/CASE.yaml"), "{error}");
}

/// A case that would not be run because of where it is or how it ends is a mistake, not left out.
#[test]
fn no_case_is_passed_over() {
    let case = "about: a\nguest: { script: {} }\nexpect: {}\n";
    for elsewhere in ["top.yaml", "area/other.yml", "top.yml", "area/below/other.yaml", "area/be/low/other.yml"] {
        let error = suite(&[("area/case.yaml", case), (elsewhere, case)]).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!(
                "{elsewhere}:0:0: a case is AREA/CASE.yaml, in lower-case letters, digits and dashes"
            )),
            "{error}"
        );
    }
    let beside = [("area/case.yaml", case), ("README.md", "x"), (".git/x/y.yaml", "x"), ("area/notes.txt", "x")];
    assert_eq!(suite(&beside).unwrap().cases().len(), 1);
}

#[test]
fn what_has_no_end_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let area = folder.path().join("area");
    fs::create_dir(&area).unwrap();
    let error = |name: &str| {
        let error = Suite::from_folder(folder.path(), plugins()).unwrap_err().to_string();
        fs::remove_file(area.join(name)).unwrap();
        error.rsplit_once(name).map(|(_, rest)| rest.to_owned()).unwrap_or(error)
    };
    fs::write(area.join("large.yaml"), vec![b'#'; (4 << 20) + 1]).unwrap();
    assert_eq!(error("large.yaml"), ": is too much");
    fs::write(area.join("bytes.yaml"), b"\xff").unwrap();
    assert!(error("bytes.yaml").contains("UTF-8"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/dev/zero", area.join("zero.yaml")).unwrap();
        assert_eq!(error("zero.yaml"), ": is no file");
        std::os::unix::fs::symlink(folder.path(), area.join("circle")).unwrap();
        assert_eq!(error("circle"), format!("{}: there is no case in it, as AREA/CASE.yaml", folder.path().display()));
        for index in 0..17 {
            fs::write(area.join(format!("much-{index}.yaml")), vec![b'#'; (4 << 20) - 1]).unwrap();
        }
        assert!(error("much-9.yaml").contains("is too much"));
    }
}

#[test]
fn a_folder_without_cases_is_none() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Suite::from_folder(empty.path(), plugins()), Err(SuiteError::Empty { .. })));
    assert!(matches!(Suite::from_folder(&empty.path().join("no"), plugins()), Err(SuiteError::Unreadable { .. })));
}

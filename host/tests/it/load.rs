//! Loading: everything that is wrong with a module is said at once.

use chassis_abi::{AbiVersion, Callback};
use chassis_host::PluginError;

use crate::guest::guest;
use crate::rig::{load, spec};

cases! {
    each_engine: [
        a_good_module_says_what_it_is,
        everything_that_is_wrong_is_said_at_once,
        each_part_that_must_be_there_is_asked_for,
        an_export_of_a_wrong_type_is_refused,
        what_is_no_module_is_refused,
    ]
}

fn problems(engine: &str, text: &str) -> Vec<String> {
    match load(engine, spec("guest"), text) {
        Err(PluginError::Module { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("not a module error: {other:?}"),
    }
}

fn a_good_module_says_what_it_is(engine: &str) {
    let plugin = load(engine, spec("guest"), &guest("(func (export \"proxy_on_log\") (param i32))")).unwrap();
    assert_eq!((plugin.name(), plugin.engine(), plugin.abi_version()), ("guest", engine, AbiVersion::V0_2_1));
    assert!(plugin.exports(Callback::Log) && !plugin.exports(Callback::Done));
}

fn everything_that_is_wrong_is_said_at_once(engine: &str) {
    let text = r#"(module
      (import "env" "no_such" (func (param i32) (result i32)))
      (import "elsewhere" "not_here" (func))
      (import "env" "proxy_log" (func (param i64) (result i32)))
      (func (export "proxy_on_log") (param i64)))"#;
    let problems = problems(engine, text);
    let has = |parts: &[&str]| problems.iter().any(|problem| parts.iter().all(|part| problem.contains(part)));
    assert!(has(&["missing import env.no_such"]), "{problems:#?}");
    assert!(has(&["elsewhere.not_here"]), "{problems:#?}");
    assert!(has(&["env.proxy_log", "i64"]), "{problems:#?}");
    assert!(has(&["proxy_on_log"]), "{problems:#?}");
    assert!(has(&["no allocator: exports neither proxy_on_memory_allocate nor malloc"]), "{problems:#?}");
    assert!(has(&["no memory"]), "{problems:#?}");
    assert!(has(&["no Proxy-Wasm ABI version", "proxy_abi_version_0_2_1"]), "{problems:#?}");
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

fn each_part_that_must_be_there_is_asked_for(engine: &str) {
    let parts = [
        ("no Proxy-Wasm ABI version", r#"(func (export "proxy_abi_version_0_2_1"))"#),
        ("no memory", r#"(memory (export "memory") 1)"#),
        ("no allocator", r#"(func (export "malloc") (param i32) (result i32) i32.const 0)"#),
    ];
    for (left_out, _) in parts {
        let rest: String = parts.iter().filter(|part| part.0 != left_out).map(|part| part.1).collect();
        let problems = problems(engine, &format!("(module {rest})"));
        assert!(matches!(&problems[..], [one] if one.starts_with(left_out)), "{problems:?}");
    }
    let all: String = parts.iter().map(|part| part.1).collect();
    load(engine, spec("guest"), &format!("(module {all})")).unwrap();
}

fn an_export_of_a_wrong_type_is_refused(engine: &str) {
    let problems = problems(engine, &guest("(func (export \"proxy_on_request_headers\") (param i64))"));
    assert!(matches!(&problems[..], [one] if one.contains("proxy_on_request_headers")), "{problems:?}");
}

fn what_is_no_module_is_refused(engine: &str) {
    for text in ["", "(component)", "(module (func (result i32)))"] {
        let error = load(engine, spec("guest"), text).unwrap_err().to_string();
        assert!(error.contains(".wat: ") || error.contains(".wat:1:"), "{error}");
    }
}

//! Starting a VM, and the contexts that come and go.

use bytes::Bytes;
use chassis_host::{Crash, Link, StartError};

use crate::rig::{LONG, Rig, load, spec};

cases! {
    each_engine: [
        a_reactor_is_initialised_and_then_its_main_runs,
        the_other_name_of_main_runs_where_there_is_no_main,
        a_command_is_started,
        configurations_are_what_the_plugin_was_added_with,
        a_plugin_may_refuse_to_start,
        a_start_that_is_stopped_is_an_error,
        nothing_of_a_failed_start_is_left,
        contexts_are_created_and_deleted_in_order,
        a_chain_is_created_and_deleted_plugin_by_plugin,
        a_plugin_that_is_never_reached_has_no_context,
        configurations_have_plugin_contexts_of_their_own,
        a_link_to_nothing_is_answered_with_503,
        older_headers_callbacks_have_two_parameters,
    ]
}

/// A guest that says in which order its exports are called.
fn started(exports: &[&str]) -> String {
    exports
        .iter()
        .map(|name| {
            let (ty, result) = match *name {
                "main" => ("(param i32 i32) (result i32)", "(i32.const 7)"),
                "__main_void" => ("(result i32)", "(i32.const 7)"),
                "proxy_on_vm_start" | "proxy_on_configure" => ("(param i32 i32) (result i32)", "(i32.const 1)"),
                "proxy_on_context_create" => ("(param i32 i32)", ""),
                _ => ("", ""),
            };
            format!("(func (export \"{name}\") {ty} (call $say @\"{name}\") {result})\n")
        })
        .collect()
}

const CONTEXT: [&str; 3] = ["proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure"];

fn order(engine: &'static str, start: &[&str]) -> Vec<String> {
    let exports: Vec<&str> = start.iter().chain(&CONTEXT).copied().collect();
    let mut rig = Rig::new(engine);
    // Not waited for: the spare says the same.
    let plugin = load(engine, spec("guest"), &crate::guest::guest(&started(&exports))).unwrap();
    rig.worker.add_plugin(plugin, vec![Bytes::from_static(b"abc")]).unwrap();
    rig.worker.wait_prepared(LONG);
    let said = rig.said();
    let (first, spare) = said.split_at(said.len() / 2);
    assert_eq!(sorted(first), sorted(spare));
    let calls = rig.calls();
    let names: Vec<String> = calls.iter().map(|call| call.split('(').next().unwrap().to_owned()).collect();
    assert_eq!(sorted(&names), sorted(first));
    calls
}

fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    lines.sort();
    lines
}

fn a_reactor_is_initialised_and_then_its_main_runs(engine: &'static str) {
    assert_eq!(
        order(engine, &["_initialize", "main", "__main_void", "_start"]),
        [
            "_initialize(0)",
            "main(0, 0, 0) -> 7",
            "proxy_on_context_create(1, 0)",
            "proxy_on_vm_start(1, 0) -> 1",
            "proxy_on_configure(1, 3) -> 1"
        ]
    );
}

fn the_other_name_of_main_runs_where_there_is_no_main(engine: &'static str) {
    let calls = order(engine, &["_initialize", "__main_void", "_start"]);
    assert_eq!(calls[..2], ["_initialize(0)", "__main_void(0) -> 7"]);
}

fn a_command_is_started(engine: &'static str) {
    let calls = order(engine, &["_start", "main"]);
    assert_eq!(calls[..2], ["_start(0)", "proxy_on_context_create(1, 0)"]);
}

fn configurations_are_what_the_plugin_was_added_with(engine: &'static str) {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $say_given (call $get_buffer (i32.const 6) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
        (call $say_digit @"p" (call $get_buffer (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
        (i32.const 1))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $say_given (call $get_buffer (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
        (i32.const 1))"#;
    let mut rig = Rig::new(engine);
    let mut spec = spec("guest");
    spec.identity.vm_configuration = Bytes::from_static(b"of the vm");
    rig.add_with(&spec, body, &["first", "second"]).unwrap();
    // The VM and its spare.
    let once = ["of the vm", "p1", "first", "second"];
    assert_eq!(rig.said(), [once, once].concat());
}

fn a_plugin_may_refuse_to_start(engine: &'static str) {
    let refuse = |name| {
        format!("(func (export \"{name}\") (param $context i32) (param $size i32) (result i32) (local.get $size))")
    };
    let mut rig = Rig::new(engine);
    let error = rig.add_with(&spec("guest"), &refuse("proxy_on_vm_start"), &["x"]).unwrap_err();
    assert!(matches!(error, StartError::VmStartRefused));
    let error = rig.add_with(&spec("guest"), &refuse("proxy_on_configure"), &[""]).unwrap_err();
    assert!(matches!(error, StartError::ConfigurationRefused));
    // Any number but 0 is a yes; of two configurations both must be taken.
    rig.add_with(&spec("guest"), &refuse("proxy_on_configure"), &["xy"]).unwrap();
    let error = rig.add_with(&spec("guest"), &refuse("proxy_on_configure"), &["x", ""]).unwrap_err();
    assert!(matches!(error, StartError::ConfigurationRefused));
    assert_eq!(Crash::starting("guest", &error).kind, "start");
}

fn a_start_that_is_stopped_is_an_error(engine: &'static str) {
    let cases = [
        ("(func (export \"_initialize\") unreachable)", "_initialize", "trap"),
        ("(func (export \"_initialize\") (loop $l (br $l)))", "_initialize", "deadline"),
        ("(func (export \"_start\") (call $exit (i32.const 3)))", "_start", "exit"),
        ("(func $f unreachable) (start $f)", "the start section", "trap"),
        ("(func $f (loop $l (br $l))) (start $f)", "the start section", "deadline"),
        ("(func (export \"_initialize\") (drop (call $set_tick (i32.const 1))))", "_initialize", "host"),
        ("(func (export \"proxy_on_context_create\") (param i32 i32) unreachable)", "proxy_on_context_create", "trap"),
        (
            "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (loop $l (br $l)) (i32.const 1))",
            "proxy_on_configure",
            "deadline",
        ),
    ];
    for (body, callback, kind) in cases {
        let mut rig = Rig::new(engine);
        let error = rig.add_with(&spec("guest"), body, &[""]).unwrap_err();
        let crash = Crash::starting("guest", &error);
        assert_eq!((crash.callback, crash.kind), (callback, kind), "{error}");
    }
}

fn nothing_of_a_failed_start_is_left(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = r#"
      (func (export "proxy_on_context_create") (param i32 i32) (drop (call $set_tick (i32.const 1))))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#;
    rig.add_with(&spec("bad"), body, &[""]).unwrap_err();
    let good = rig.add("good", "(func (export \"proxy_on_tick\") (param i32) (call $say @\"tick\"))");
    rig.round_trip(&[good], &[]).unwrap();
    assert_eq!(rig.worker.next_timer(), None);
}

const CONTEXT_LIFE: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32))"#;

fn contexts_are_created_and_deleted_in_order(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, CONTEXT_LIFE);
    assert_eq!(rig.calls(), ["proxy_on_context_create(1, 0)"]);
    let (a, b) = (rig.get(&[plugin], &[]), rig.get(&[plugin], &[]));
    assert_eq!(rig.calls(), ["proxy_on_context_create(2, 1)", "proxy_on_context_create(3, 1)"]);
    rig.worker.close(b);
    assert_eq!(rig.calls(), ["proxy_on_done(3) -> 1", "proxy_on_log(3)", "proxy_on_delete(3)"]);
    rig.worker.close(b);
    rig.worker.close(a);
    assert_eq!(rig.calls(), ["proxy_on_done(2) -> 1", "proxy_on_log(2)", "proxy_on_delete(2)"]);
    rig.get(&[plugin], &[]);
    assert_eq!(rig.calls(), ["proxy_on_context_create(4, 1)"]);
}

fn a_chain_is_created_and_deleted_plugin_by_plugin(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = |name: &str| {
        format!(
            r#"(func (export "proxy_on_context_create") (param i32 i32) (call $say @"{name} create"))
               (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (call $say @"{name} request") (i32.const 0))
               (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                 (call $say @"{name} response") (i32.const 0))
               (func (export "proxy_on_log") (param i32) (call $say @"{name} log"))
               (func (export "proxy_on_delete") (param i32) (call $say @"{name} delete"))"#
        )
    };
    let (a, b) = (rig.add("a", &body("a")), rig.add("b", &body("b")));
    rig.lines();
    rig.round_trip(&[a, b], &[]).unwrap();
    let wanted = ["a create", "a request", "b create", "b request", "b response", "a response"];
    let end = ["a log", "a delete", "b log", "b delete"];
    assert_eq!(rig.said(), [&wanted[..], &end[..]].concat());
}

fn a_plugin_that_is_never_reached_has_no_context(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let answer = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $answer (i32.const 403) @"no") (i32.const 1))"#;
    let (a, b) = (rig.add("a", answer), rig.add("b", CONTEXT_LIFE));
    rig.calls();
    assert_eq!(rig.round_trip(&[a, b], &[]).unwrap().status(), "403");
    assert_eq!(rig.calls().len(), 1);
}

fn configurations_have_plugin_contexts_of_their_own(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let plugin = rig.add_with(&spec("guest"), CONTEXT_LIFE, &["x", "y"]).unwrap();
    assert_eq!(rig.calls(), ["proxy_on_context_create(1, 0)", "proxy_on_context_create(2, 0)"]);
    let request = || [(":method", "GET"), (":path", "/")].into_iter().collect();
    let links = [Link { plugin, configuration: 1 }, Link { plugin, configuration: 0 }];
    let key = rig.worker.open(links.into(), request(), []);
    rig.worker.request_headers(key, true);
    assert_eq!(rig.calls(), ["proxy_on_context_create(3, 2)", "proxy_on_context_create(4, 1)"]);
    rig.worker.close(key);
    assert_eq!(rig.calls().len(), 6);
}

fn a_link_to_nothing_is_answered_with_503(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, CONTEXT_LIFE);
    for link in [Link { plugin: plugin + 1, configuration: 0 }, Link { plugin, configuration: 1 }] {
        let key = rig.worker.open([link].into(), [(":method", "GET")].into_iter().collect(), []);
        rig.worker.request_headers(key, true);
        assert_eq!(rig.response(key).unwrap().status(), "503");
    }
}

fn older_headers_callbacks_have_two_parameters(engine: &'static str) {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, body);
    rig.get(&[plugin], &[("a", "b")]);
    assert_eq!(rig.calls(), ["proxy_on_request_headers(2, 5)"]);
}

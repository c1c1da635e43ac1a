//! The end of plugins: done, deferral, delete.

use std::time::Duration;

use crate::rig::Rig;

cases! {
    each_engine: [
        a_plugin_gets_done_and_delete,
        one_that_defers_its_end_has_its_ticks_until_it_is_done,
        nobody_defers_for_ever,
        a_plugin_that_is_removed_serves_the_streams_that_it_has,
        only_what_was_removed_ends,
        streams_end_before_their_plugin,
        a_trap_ends_a_plugin_that_is_to_end,
        numbers_of_contexts_wrap_and_skip_those_that_live,
    ]
}

const LIMIT: Duration = Duration::from_secs(3600);

const ENDS: &str = r#"(func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
    (func (export "proxy_on_log") (param i32))
    (func (export "proxy_on_delete") (param i32))"#;

/// Defers the end of its plugin context until a tick; of streams not.
const DEFERS: &str = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
      (drop (call $set_tick (i32.const 100))) (i32.const 1))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.ne (local.get 0) (i32.const 1)))
    (func (export "proxy_on_tick") (param i32) (drop (call $done)))
    (func (export "proxy_on_delete") (param i32))"#;

/// The callbacks of contexts' ends since the last time, and ticks.
fn ends(rig: &Rig) -> Vec<String> {
    let names = ["proxy_on_done", "proxy_on_log", "proxy_on_delete", "proxy_on_tick"];
    rig.calls().into_iter().filter(|call| names.iter().any(|name| call.starts_with(name))).collect()
}

fn a_plugin_gets_done_and_delete(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, ENDS);
    assert!(!rig.worker.is_shut_down());
    rig.worker.shutdown(LIMIT);
    assert_eq!(ends(&rig), ["proxy_on_done(1) -> 1", "proxy_on_delete(1)"]);
    assert!(rig.worker.is_shut_down() && rig.worker.has_ended(plugin));
    assert_eq!((rig.worker.next_timer(), rig.worker.memory_bytes(plugin)), (None, None));
    // Nothing more comes of it.
    rig.worker.shutdown(LIMIT);
    assert!(ends(&rig).is_empty());
    let key = rig.get(&[plugin], &[]);
    assert_eq!(rig.response(key).unwrap().status(), "503");
}

fn one_that_defers_its_end_has_its_ticks_until_it_is_done(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, DEFERS);
    rig.tick();
    assert_eq!(ends(&rig), ["proxy_on_tick(1)"]);
    rig.worker.remove_plugin(plugin, LIMIT);
    assert_eq!(ends(&rig), ["proxy_on_done(1)"]);
    assert!(!rig.worker.has_ended(plugin));
    rig.tick();
    assert_eq!(ends(&rig), ["proxy_on_tick(1)", "proxy_on_delete(1)"]);
    assert!(rig.worker.has_ended(plugin) && rig.worker.next_timer().is_none());
}

fn nobody_defers_for_ever(engine: &'static str) {
    let body = DEFERS.replace("(call $done)", "(i32.const 0)");
    let (mut rig, plugin) = Rig::with(engine, &body);
    rig.worker.remove_plugin(plugin, Duration::from_millis(250));
    for _ in 0..3 {
        assert!(!rig.worker.has_ended(plugin));
        rig.tick();
    }
    assert_eq!(ends(&rig), ["proxy_on_done(1)", "proxy_on_tick(1)", "proxy_on_tick(1)", "proxy_on_delete(1)"]);
    assert!(rig.worker.has_ended(plugin) && rig.worker.next_timer().is_none());
}

fn a_plugin_that_is_removed_serves_the_streams_that_it_has(engine: &'static str) {
    let body =
        format!(r#"{ENDS} (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#);
    let (mut rig, plugin) = Rig::with(engine, &body);
    let (begun, opened) = (rig.get(&[plugin], &[]), rig.open(&[plugin], &[]));
    rig.worker.remove_plugin(plugin, LIMIT);
    rig.worker.request_headers(opened, true);
    for key in [begun, opened] {
        rig.reply(key);
        assert_eq!(rig.response(key).unwrap().status(), "200");
    }
    rig.calls();
    rig.worker.close(begun);
    assert_eq!(ends(&rig), ["proxy_on_done(2) -> 1", "proxy_on_log(2)", "proxy_on_delete(2)"]);
    rig.worker.close(opened);
    assert_eq!(
        ends(&rig),
        [
            "proxy_on_done(3) -> 1",
            "proxy_on_log(3)",
            "proxy_on_delete(3)",
            "proxy_on_done(1) -> 1",
            "proxy_on_delete(1)"
        ]
    );
    assert!(rig.worker.has_ended(plugin));
}

fn only_what_was_removed_ends(engine: &'static str) {
    let (mut rig, gone) = Rig::with(engine, ENDS);
    let stays = rig.add("stays", DEFERS);
    rig.calls();
    rig.worker.remove_plugin(gone, LIMIT);
    assert_eq!(ends(&rig), ["proxy_on_done(1) -> 1", "proxy_on_delete(1)"]);
    assert!(!rig.worker.has_ended(stays) && !rig.worker.is_shut_down());
    assert_eq!(rig.round_trip(&[stays], &[]).unwrap().status(), "200");
    rig.tick();
    assert!(ends(&rig).contains(&"proxy_on_tick(1)".to_owned()));
}

fn streams_end_before_their_plugin(engine: &'static str) {
    let body =
        format!(r#"{ENDS} (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))"#);
    let (mut rig, plugin) = Rig::with(engine, &body);
    let key = rig.get(&[plugin], &[]);
    rig.calls();
    rig.worker.shutdown(LIMIT);
    assert_eq!(
        ends(&rig),
        [
            "proxy_on_done(2) -> 1",
            "proxy_on_log(2)",
            "proxy_on_delete(2)",
            "proxy_on_done(1) -> 1",
            "proxy_on_delete(1)"
        ]
    );
    assert!(rig.worker.progress(key).is_none() && rig.worker.is_shut_down());
}

fn a_trap_ends_a_plugin_that_is_to_end(engine: &'static str) {
    for (body, expected) in [
        (DEFERS.replace("(drop (call $done))", "unreachable"), vec!["proxy_on_done(1)", "proxy_on_tick(1) !! trap"]),
        (
            ENDS.replace(r#"(param i32))"#, "(param i32) unreachable)"),
            vec!["proxy_on_done(1) -> 1", "proxy_on_delete(1) !! trap"],
        ),
    ] {
        let (mut rig, plugin) = Rig::with(engine, &body);
        rig.worker.remove_plugin(plugin, LIMIT);
        if !rig.worker.has_ended(plugin) {
            rig.tick();
        }
        rig.worker.wait_prepared(crate::rig::LONG);
        assert_eq!(ends(&rig), expected);
        assert!(rig.worker.has_ended(plugin) && rig.worker.next_timer().is_none());
    }
}

fn numbers_of_contexts_wrap_and_skip_those_that_live(engine: &'static str) {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, body);
    let kept = rig.get(&[plugin], &[]);
    rig.worker.number_contexts_from(plugin, u32::MAX - 1);
    rig.calls();
    for _ in 0..4 {
        rig.get(&[plugin], &[]);
    }
    let seen: Vec<String> = rig
        .calls()
        .into_iter()
        .filter_map(|call| {
            let context = call.strip_prefix("proxy_on_request_headers(")?.split(',').next()?;
            Some(context.to_owned())
        })
        .collect();
    // 0 is the VM, 1 the plugin context, 2 a stream that lives.
    assert_eq!(seen, ["4294967294", "4294967295", "3", "4"]);
    assert!(rig.worker.progress(kept).is_some());
}

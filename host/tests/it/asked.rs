//! Bodies that plugins for APISIX ask for, and the headers that wait for them.

use bytes::Bytes;
use chassis_abi::{Dialect, Direction, HeaderList, Identity};
use chassis_host::{PluginId, PluginSpec, StreamKey};

use crate::guest::callbacks;
use crate::rig::{Response, Rig, spec};

cases! {
    each_engine: [
        headers_wait_for_the_body_that_was_asked_for,
        the_end_of_the_body_ends_no_pause,
        trailers_end_no_pause,
        a_continue_before_the_end_of_the_body_ends_the_pause_alone,
        a_continue_from_the_headers_callback_ends_the_pause_alone,
        a_continue_between_body_and_trailers_lets_all_go,
        a_body_that_is_paused_keeps_the_headers,
        a_second_pause_is_not_ended_by_the_first_continue,
    ]
}

/// Logs its callbacks, and asks for the body. `headers` and `body` are what it does then; a tick continues its stream.
fn asks(headers: &str, body: &str) -> String {
    let headers = format!(
        r#"(drop (call $set_property @"wasm_process_req_body" @"true"))
           (global.set $stream (local.get 0)) (call $say @"headers") {headers}"#
    );
    let body = format!(r#"(call $say_digit @"b" (local.get 1)) {body}"#);
    let tick = r#"
      (global $stream (mut i32) (i32.const 0))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (if (call $set_effective (global.get $stream)) (then (return)))
        (call $say_digit @"c" (call $continue (i32.const 0))))"#;
    callbacks(&["proxy_on_request_headers"], &headers) + &callbacks(&["proxy_on_request_body"], &body) + tick
}

const GO: &str = "(i32.const 0)";
const PAUSE: &str = "(i32.const 1)";
/// Logs its callback.
const NEXT: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $say @"next") (i32.const 0))"#;

fn of_apisix(name: &str) -> PluginSpec {
    let spec = spec(name);
    PluginSpec { identity: Identity { dialect: Dialect::Apisix, ..spec.identity }, ..spec }
}

/// A request through a plugin for APISIX and one after it, whose headers have come.
fn begun(engine: &'static str, first: &str, next: &str) -> (Rig, StreamKey) {
    let mut rig = Rig::new(engine);
    let plugins: [PluginId; 2] =
        [("first", first), ("next", next)].map(|(name, body)| rig.add_with(&of_apisix(name), body, &[""]).unwrap());
    let key = rig.open(&plugins, &[]);
    rig.worker.request_headers(key, false);
    assert_eq!(rig.said(), ["headers"]);
    assert!(!rig.progress(key).request.headers);
    (rig, key)
}

fn piece(rig: &mut Rig, key: StreamKey, text: &'static str, end: bool) -> Vec<String> {
    rig.worker.request_body(key, Bytes::from_static(text.as_bytes()), end);
    rig.said()
}

fn trailers(rig: &mut Rig, key: StreamKey) -> Vec<String> {
    rig.worker.request_trailers(key, [("t", "1")].into_iter().collect());
    rig.said()
}

fn tick(rig: &mut Rig) -> Vec<String> {
    rig.tick();
    rig.said()
}

/// Nothing is held back any more, and all has passed.
fn passed(rig: &mut Rig, key: StreamKey, body: &str, trailers: &[(&'static str, &'static str)]) {
    let progress = rig.progress(key).request;
    assert!(!progress.paused && progress.ended && progress.held == 0, "{progress:?}");
    let Response { body: got, trailers: given, .. } = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((got.as_str(), given), (body, trailers.iter().copied().collect::<HeaderList>()));
}

/// All waits; a tick of the plugin lets it go.
fn waits_for_a_tick(rig: &mut Rig, key: StreamKey) {
    let progress = rig.progress(key).request;
    assert!(progress.paused && !progress.headers, "{progress:?}");
    assert_eq!(tick(rig), ["c0", "next"]);
}

fn headers_wait_for_the_body_that_was_asked_for(engine: &'static str) {
    let (mut rig, key) = begun(engine, &asks(GO, GO), NEXT);
    assert!(piece(&mut rig, key, "ab", false).is_empty());
    // There is no pause that could be continued, now or later.
    assert_eq!(tick(&mut rig), ["c0"]);
    assert!(!rig.progress(key).request.headers);
    assert_eq!(piece(&mut rig, key, "c", true), ["b3", "next"]);
    passed(&mut rig, key, "abc", &[]);
}

fn the_end_of_the_body_ends_no_pause(engine: &'static str) {
    let (mut rig, key) = begun(engine, &asks(PAUSE, GO), NEXT);
    assert!(piece(&mut rig, key, "ab", false).is_empty());
    assert_eq!(piece(&mut rig, key, "c", true), ["b3"]);
    waits_for_a_tick(&mut rig, key);
    passed(&mut rig, key, "abc", &[]);
}

fn trailers_end_no_pause(engine: &'static str) {
    let with_callback = callbacks(&["proxy_on_request_trailers"], r#"(call $say @"trailers") (i32.const 0)"#);
    for (more, told) in [("", None), (with_callback.as_str(), Some("trailers"))] {
        let (mut rig, key) = begun(engine, &(asks(PAUSE, GO) + more), NEXT);
        assert_eq!(trailers(&mut rig, key), Vec::from_iter(told));
        waits_for_a_tick(&mut rig, key);
        passed(&mut rig, key, "", &[("t", "1")]);

        let (mut rig, key) = begun(engine, &(asks(PAUSE, GO) + more), NEXT);
        assert!(piece(&mut rig, key, "abc", false).is_empty());
        assert_eq!(trailers(&mut rig, key), Vec::from_iter(["b3"].into_iter().chain(told)));
        waits_for_a_tick(&mut rig, key);
        passed(&mut rig, key, "abc", &[("t", "1")]);
    }
}

fn a_continue_before_the_end_of_the_body_ends_the_pause_alone(engine: &'static str) {
    for trailing in [false, true] {
        let (mut rig, key) = begun(engine, &asks(PAUSE, GO), NEXT);
        assert!(piece(&mut rig, key, "ab", false).is_empty());
        assert_eq!(tick(&mut rig), ["c0"]);
        assert!(!rig.progress(key).request.headers);
        assert!(piece(&mut rig, key, "c", false).is_empty());
        if trailing {
            assert_eq!(trailers(&mut rig, key), ["b3", "next"]);
            passed(&mut rig, key, "abc", &[("t", "1")]);
        } else {
            assert_eq!(piece(&mut rig, key, "", true), ["b3", "next"]);
            passed(&mut rig, key, "abc", &[]);
        }
    }
}

fn a_continue_from_the_headers_callback_ends_the_pause_alone(engine: &'static str) {
    let continues = "(drop (call $continue (i32.const 0))) (i32.const 1)";
    let (mut rig, key) = begun(engine, &asks(continues, GO), NEXT);
    assert_eq!(piece(&mut rig, key, "abc", true), ["b3", "next"]);
    passed(&mut rig, key, "abc", &[]);
    // Without a body there is nothing to wait for.
    let (mut rig, key) = begun(engine, &asks(continues, GO), NEXT);
    assert_eq!(trailers(&mut rig, key), ["next"]);
    passed(&mut rig, key, "", &[("t", "1")]);
}

fn a_continue_between_body_and_trailers_lets_all_go(engine: &'static str) {
    let holds = callbacks(&["proxy_on_request_trailers"], r#"(call $say @"trailers") (i32.const 1)"#);
    let (mut rig, key) = begun(engine, &(asks(PAUSE, PAUSE) + &holds), NEXT);
    assert!(piece(&mut rig, key, "abc", false).is_empty());
    assert_eq!(trailers(&mut rig, key), ["b3", "trailers"]);
    waits_for_a_tick(&mut rig, key);
    passed(&mut rig, key, "abc", &[("t", "1")]);
}

fn a_body_that_is_paused_keeps_the_headers(engine: &'static str) {
    for headers in [GO, PAUSE] {
        let (mut rig, key) = begun(engine, &asks(headers, PAUSE), NEXT);
        assert_eq!(piece(&mut rig, key, "abc", true), ["b3"]);
        waits_for_a_tick(&mut rig, key);
        passed(&mut rig, key, "abc", &[]);
    }
    // A continue call before it is for the headers.
    let (mut rig, key) = begun(engine, &asks(PAUSE, PAUSE), NEXT);
    assert_eq!(tick(&mut rig), ["c0"]);
    assert_eq!(piece(&mut rig, key, "abc", true), ["b3"]);
    waits_for_a_tick(&mut rig, key);
    passed(&mut rig, key, "abc", &[]);
    // A trailers callback that goes on lets a paused body pass, and with it the headers that waited for that alone.
    let goes = callbacks(&["proxy_on_request_trailers"], r#"(call $say @"trailers") (i32.const 0)"#);
    let (mut rig, key) = begun(engine, &(asks(GO, PAUSE) + &goes), NEXT);
    assert!(piece(&mut rig, key, "abc", false).is_empty());
    assert_eq!(trailers(&mut rig, key), ["b3", "trailers", "next"]);
    passed(&mut rig, key, "abc", &[("t", "1")]);
}

fn a_second_pause_is_not_ended_by_the_first_continue(engine: &'static str) {
    let (mut rig, key) = begun(engine, &asks(PAUSE, GO), &asks(PAUSE, GO));
    assert_eq!(piece(&mut rig, key, "abc", true), ["b3"]);
    // The timers of both go off in turn.
    assert_eq!(tick(&mut rig), ["c0", "headers", "b3"]);
    assert!(!rig.progress(key).request.headers);
    assert_eq!(tick(&mut rig), ["c0"]);
    passed(&mut rig, key, "abc", &[]);
}

//! Callouts: who gets which answer, how often, and what is left when their owner is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{CalloutRules, Direction};
use chassis_host::{CalloutFailure, CalloutKey, CalloutWork, HttpAnswer, PluginId, StreamKey};

use crate::rig::{LONG, Rig, spec};

cases! {
    each_engine: [
        an_answer_resumes_the_stream_that_waits_for_it,
        an_answer_can_answer_the_stream_that_waits_for_it,
        a_failure_is_a_response_without_headers_and_has_a_reason,
        a_call_is_answered_once,
        of_many_calls_each_is_answered_once,
        an_answer_for_a_stream_that_is_gone_goes_to_the_plugin_alone,
        calls_of_a_vm_that_has_ended_are_cancelled_and_not_answered,
        a_guest_that_is_stopped_calls_nobody,
        a_spare_calls_when_its_time_has_come,
        a_response_that_is_too_large_is_a_failure,
        each_answer_can_be_a_call,
        a_call_is_a_part_of_the_trace_of_its_stream,
    ]
}

/// Functions that call `side`, and the request at 0x40: `GET /` of `side`.
const CALL: &str = r#"
  (data (i32.const 0x40) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\04\00\00\00"
    ":method\00GET\00:path\00/\00:authority\00side\00")
  ;; Calls; the status. The number goes to 8.
  (func $call (result i32)
    (call $http_call @"side" (i32.const 0x40) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 8)))
  ;; Calls for a stream, which is found under the number.
  (func $call_for (param $stream i32)
    (call $say_digit @"c" (call $call))
    (i32.store (i32.add (i32.const 0x3000) (i32.load (i32.const 8))) (local.get $stream)))
  (func $stream_of (param $id i32) (result i32)
    (i32.load (i32.add (i32.const 0x3000) (local.get $id))))
  (func $say_status
    (call $say_given (call $get_status (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $say_digit @"=" (i32.rem_u (i32.load (i32.const 12)) (i32.const 10))))
"#;

/// Pauses each request for a call whose answer decides: without headers or with a body it is refused.
const JUDGE: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $call_for (local.get 0))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param $context i32) (param $id i32) (param $headers i32)
    (param $body i32) (param $trailers i32)
    (call $say_status)
    (call $say_digit @"e" (call $set_effective (call $stream_of (local.get $id))))
    (if (i32.and (i32.gt_u (local.get $headers) (i32.const 0)) (i32.eqz (local.get $body)))
      (then (drop (call $continue (i32.const 0))))
      (else (call $answer (i32.const 403) @"refused"))))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32))
"#;

const RESPONSE: &str = "proxy_on_http_call_response";

fn add(rig: &mut Rig, name: &str, body: &str) -> PluginId {
    let mut spec = spec(name);
    let upstreams = Arc::new(["side".to_owned()].into());
    spec.limits.callouts = CalloutRules { upstreams, ..CalloutRules::default() };
    spec.limits.buffered_body = 100;
    rig.add_with(&spec, &format!("{CALL}{body}"), &[""]).unwrap()
}

fn judging(engine: &'static str) -> (Rig, PluginId) {
    let mut rig = Rig::new(engine);
    let plugin = add(&mut rig, "guest", JUDGE);
    (rig, plugin)
}

/// The calls that are to be made.
fn taken(rig: &mut Rig) -> Vec<CalloutKey> {
    let work = std::iter::from_fn(|| rig.worker.take_callout());
    work.map(|work| match work {
        CalloutWork::Http { key, call, limit } => {
            assert_eq!((call.upstream.as_str(), call.headers.len(), limit), ("side", 3, 100));
            assert_eq!(call.timeout, Some(Duration::from_secs(60)));
            key
        }
        other => panic!("{other:?}"),
    })
    .collect()
}

fn one(rig: &mut Rig) -> CalloutKey {
    let keys = taken(rig);
    assert_eq!(keys.len(), 1);
    keys[0]
}

fn answer(body: &'static str) -> Result<HttpAnswer, CalloutFailure> {
    let headers = [(":status", "200"), ("x", "1")].into_iter().collect();
    Ok(HttpAnswer { headers, body: Bytes::from_static(body.as_bytes()), ..HttpAnswer::default() })
}

fn responses(rig: &Rig) -> Vec<String> {
    rig.calls().into_iter().filter(|call| call.starts_with(RESPONSE)).collect()
}

fn is_open(rig: &mut Rig, key: StreamKey) -> bool {
    rig.passed(key, Direction::Request).is_some()
}

fn an_answer_resumes_the_stream_that_waits_for_it(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    let (first, second) = (rig.get(&[plugin], &[]), rig.get(&[plugin], &[]));
    let keys = taken(&mut rig);
    assert_eq!(keys.len(), 2);
    assert!(rig.worker.http_call_answered(keys[1], answer("")));
    assert!(!is_open(&mut rig, first) && is_open(&mut rig, second));
    assert!(rig.worker.http_call_answered(keys[0], answer("")));
    assert!(is_open(&mut rig, first));
    assert_eq!(responses(&rig), [format!("{RESPONSE}(1, 8, 2, 0, 0)"), format!("{RESPONSE}(1, 4, 2, 0, 0)")]);
    assert_eq!(rig.said(), ["c0", "c0", "", "=0", "e0", "", "=0", "e0"]);
}

fn an_answer_can_answer_the_stream_that_waits_for_it(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    let key = rig.get(&[plugin], &[]);
    let call = one(&mut rig);
    assert!(rig.worker.http_call_answered(call, answer("no")));
    let response = rig.response(key).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("403", "refused"));
    assert_eq!(rig.said().last().unwrap(), "s0");
}

fn a_failure_is_a_response_without_headers_and_has_a_reason(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    let key = rig.get(&[plugin], &[]);
    let call = one(&mut rig);
    assert!(rig.worker.http_call_answered(call, Err(CalloutFailure::Timeout)));
    assert_eq!(rig.response(key).unwrap().status(), "403");
    assert_eq!(responses(&rig), [format!("{RESPONSE}(1, 4, 0, 0, 0)")]);
    assert_eq!(rig.said(), ["c0", "timeout", "=1", "e0", "s0"]);
}

fn a_call_is_answered_once(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    rig.get(&[plugin], &[]);
    let call = one(&mut rig);
    assert!(rig.worker.http_call_answered(call, Err(CalloutFailure::Timeout)));
    assert!(!rig.worker.http_call_answered(call, answer("")));
    assert!(!rig.worker.http_call_answered(call, Err(CalloutFailure::Reset)));
    assert_eq!(responses(&rig).len(), 1);
}

fn of_many_calls_each_is_answered_once(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    let streams: Vec<_> = (0..100).map(|_| rig.get(&[plugin], &[])).collect();
    let keys = taken(&mut rig);
    assert_eq!(keys.len(), 100);
    // From both ends, half of them failing.
    for i in 0..100 {
        let key = if i % 2 == 0 { keys[i / 2] } else { keys[99 - i / 2] };
        let outcome = if i % 2 == 0 { answer("") } else { Err(CalloutFailure::Reset) };
        assert!(rig.worker.http_call_answered(key, outcome));
    }
    let mut told: Vec<u32> =
        responses(&rig).iter().map(|call| call.split(", ").nth(1).unwrap().parse().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, (1..=100).map(|id| id * 4).collect::<Vec<_>>());
    for (i, stream) in streams.into_iter().enumerate() {
        let refused = rig.response(stream).is_some_and(|response| response.status() == "403");
        assert_eq!(refused, i >= 50, "{i}");
        rig.worker.close(stream);
    }
    assert!(!rig.worker.http_call_answered(keys[3], answer("")));
}

fn an_answer_for_a_stream_that_is_gone_goes_to_the_plugin_alone(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    let key = rig.get(&[plugin], &[]);
    let call = one(&mut rig);
    rig.worker.close(key);
    assert_eq!(rig.calls().split_off(1), ["proxy_on_done(2) -> 1", "proxy_on_log(2)", "proxy_on_delete(2)"]);
    rig.lines();
    assert!(rig.worker.http_call_answered(call, answer("no")));
    assert_eq!(rig.calls(), [format!("{RESPONSE}(1, 4, 2, 2, 0)")]);
    // Neither the stream is known any more, nor is there one to be answered.
    assert_eq!(rig.said(), ["", "=0", "e2", "s2"]);
}

fn calls_of_a_vm_that_has_ended_are_cancelled_and_not_answered(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get_header (i32.const 0) @"boom" (i32.const 0) (i32.const 4))) (then (unreachable)))
        (call $call_for (local.get 0))
        (i32.const 1))
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32))"#;
    let plugin = add(&mut rig, "guest", body);
    rig.get(&[plugin], &[]);
    let begun = one(&mut rig);
    rig.get(&[plugin], &[]);
    let boom = rig.get(&[plugin], &[("boom", "1")]);
    assert_eq!(rig.response(boom).unwrap().status(), "503");
    // What was begun is to be left; what was not is not begun.
    assert_eq!(rig.worker.take_callout(), Some(CalloutWork::Cancel { key: begun }));
    assert_eq!(rig.worker.take_callout(), None);
    // The next VM counts anew: its call has the same number, and is another one.
    rig.worker.wait_prepared(LONG);
    rig.get(&[plugin], &[]);
    let other = one(&mut rig);
    assert_ne!(begun, other);
    assert!(!rig.worker.http_call_answered(begun, answer("")));
    assert!(responses(&rig).is_empty());
    assert!(rig.worker.http_call_answered(other, answer("")));
    assert_eq!(responses(&rig), [format!("{RESPONSE}(1, 4, 2, 0, 0)")]);
}

fn a_guest_that_is_stopped_calls_nobody(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $call)) (unreachable))"#;
    let plugin = add(&mut rig, "guest", body);
    rig.get(&[plugin], &[]);
    assert_eq!(rig.worker.take_callout(), None);
}

fn a_spare_calls_when_its_time_has_come(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.eqz (call $call)))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (unreachable))
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32))"#;
    let plugin = add(&mut rig, "guest", body);
    let first = one(&mut rig);
    rig.get(&[plugin], &[]);
    assert_eq!(rig.worker.take_callout(), Some(CalloutWork::Cancel { key: first }));
    let second = one(&mut rig);
    assert!(!rig.worker.http_call_answered(first, answer("")));
    assert!(rig.worker.http_call_answered(second, answer("")));
    rig.worker.wait_prepared(LONG);
    assert_eq!(rig.worker.take_callout(), None);
}

fn a_response_that_is_too_large_is_a_failure(engine: &'static str) {
    let (mut rig, plugin) = judging(engine);
    rig.get(&[plugin], &[]);
    let call = one(&mut rig);
    let body = Bytes::from(vec![b'x'; 101]);
    assert!(rig.worker.http_call_answered(call, answer("").map(|answer| HttpAnswer { body, ..answer })));
    assert_eq!(responses(&rig), [format!("{RESPONSE}(1, 4, 0, 0, 0)")]);
    assert_eq!(rig.said()[1..3], ["response too large", "=1"]);
}

fn each_answer_can_be_a_call(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $call)) (i32.const 0))
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) (drop (call $call)))"#;
    let plugin = add(&mut rig, "guest", body);
    rig.get(&[plugin], &[]);
    for round in 1..1000_u32 {
        let call = one(&mut rig);
        assert!(rig.worker.http_call_answered(call, answer("")));
        assert_eq!(responses(&rig), [format!("{RESPONSE}(1, {}, 2, 0, 0)", round * 4)]);
    }
}

fn a_call_is_a_part_of_the_trace_of_its_stream(engine: &'static str) {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (mut rig, plugin) = judging(engine);
    let mut traces = |headers: &[(&'static str, &'static str)]| {
        rig.get(&[plugin], headers);
        let Some(CalloutWork::Http { call, .. }) = rig.worker.take_callout() else { panic!("no call") };
        let text = |name: &str| call.headers.get_all(name.as_bytes()).map(|value| value.to_vec()).collect::<Vec<_>>();
        (text("traceparent"), text("tracestate"))
    };
    assert_eq!(traces(&[]), (vec![], vec![]));
    let both = [("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")];
    assert_eq!(traces(&both), (vec![parent.into()], vec![b"a=1".to_vec(), b"b=2".to_vec()]));
}

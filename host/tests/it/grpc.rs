//! gRPC callouts: which callbacks come in which order, how often, and what the embedder is left to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{CalloutRules, GrpcCall};
use chassis_host::{CalloutKey, CalloutWork, GrpcAnswer, GrpcEvent, GrpcStatus, PluginId};

use crate::rig::{LONG, Rig, spec};

cases! {
    each_engine: [
        a_call_is_answered_with_metadata_around_the_message,
        a_call_that_failed_is_closed_with_its_status,
        a_call_is_answered_once_and_never_as_a_stream,
        a_stream_is_told_everything_in_order_and_its_end_once,
        messages_go_out_in_order_and_make_room_when_they_were_sent,
        nothing_is_told_of_what_was_cancelled,
        an_answer_may_cancel_the_rest_of_it,
        an_answer_that_stops_the_guest_is_the_last,
        a_message_that_is_too_large_ends_its_stream_and_fails_its_call,
        calls_and_streams_end_with_their_vm,
    ]
}

/// Does what the request's `do` says, letter by letter: `c` starts a call, `s` a stream, `m` sends a message on the last
/// one, `e` the last message, `h` closes the last one, `x` cancels it, `!` traps. Callbacks log
/// what they are given, and then `proxy_on_grpc_receive` does what `then` said; `i` there cancels in the first callback.
const GUEST: &str = r#"
  (global $id (mut i32) (i32.const 0))
  (global $in_message (mut i32) (i32.const 0))
  (func $do (param $letter i32)
    (if (i32.eq (local.get $letter) (i32.const 99)) (then
      (call $say_digit @"c" (call $grpc_call @"side" @"a.B" @"C" (i32.const 0) (i32.const 0) @"hello" (i32.const 0)
        (i32.const 8)))
      (global.set $id (i32.load (i32.const 8)))))
    (if (i32.eq (local.get $letter) (i32.const 115)) (then
      (call $say_digit @"s" (call $grpc_stream @"side" @"a.B" @"C" (i32.const 0) (i32.const 0) (i32.const 8)))
      (global.set $id (i32.load (i32.const 8)))))
    (if (i32.eq (local.get $letter) (i32.const 109)) (then
      (call $say_digit @"m" (call $grpc_send (global.get $id) @"message" (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 101)) (then
      (call $say_digit @"e" (call $grpc_send (global.get $id) @"end" (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 104)) (then (call $say_digit @"h" (call $grpc_close (global.get $id)))))
    (if (i32.eq (local.get $letter) (i32.const 120)) (then (call $say_digit @"x" (call $grpc_cancel (global.get $id)))))
    (if (i32.eq (local.get $letter) (i32.const 33)) (then (unreachable))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (local $at i32) (local $end i32)
    (drop (call $get_header (i32.const 0) @"do" (i32.const 0) (i32.const 4)))
    (local.set $at (i32.load (i32.const 0)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 4))))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end)) (then
        (call $do (i32.load8_u (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next))))
    (if (i32.eqz (call $get_header (i32.const 0) @"then" (i32.const 0) (i32.const 4)))
      (then
        (global.set $in_message (i32.const 0))
        (if (i32.load (i32.const 4)) (then (global.set $in_message (i32.load8_u (i32.load (i32.const 0))))))))
    (i32.const 0))
  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (call $say_given (call $get_header (i32.const 4) @"i" (i32.const 0) (i32.const 4)))
    (if (i32.eq (global.get $in_message) (i32.const 105)) (then (call $do (i32.const 120)))))
  (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
    (call $say_given (call $get_buffer (i32.const 5) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)))
    (call $do (global.get $in_message)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (call $say_given (call $get_header (i32.const 5) @"t" (i32.const 0) (i32.const 4))))
  (func (export "proxy_on_grpc_close") (param i32 i32 i32)
    (call $say_given (call $get_status (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $say_digit @"=" (i32.rem_u (i32.load (i32.const 12)) (i32.const 10))))
"#;

const INITIAL: &str = "proxy_on_grpc_receive_initial_metadata";
const RECEIVE: &str = "proxy_on_grpc_receive";
const TRAILING: &str = "proxy_on_grpc_receive_trailing_metadata";
const CLOSE: &str = "proxy_on_grpc_close";

fn started(engine: &'static str, bytes: usize) -> (Rig, PluginId) {
    let mut rig = Rig::new(engine);
    let mut spec = spec("guest");
    let upstreams = Arc::new(["side".to_owned()].into());
    spec.limits.callouts = CalloutRules { upstreams, bytes, ..CalloutRules::default() };
    spec.limits.buffered_body = 100;
    let plugin = rig.add_with(&spec, GUEST, &[""]).unwrap();
    (rig, plugin)
}

/// Has the guest do what these letters say; what it said to it.
fn act(rig: &mut Rig, plugin: PluginId, letters: &'static str, then: &'static str) -> Vec<String> {
    rig.get(&[plugin], &[("do", letters), ("then", then)]);
    let said = rig.said();
    rig.calls();
    said
}

fn work(rig: &mut Rig) -> Vec<CalloutWork> {
    std::iter::from_fn(|| rig.worker.take_callout()).collect()
}

/// The one that is to be started, and nothing else.
fn one(rig: &mut Rig) -> (CalloutKey, GrpcCall) {
    match work(rig).as_mut_slice() {
        [CalloutWork::Grpc { key, call, limit: 100 }] => (*key, (**call).clone()),
        other => panic!("{other:?}"),
    }
}

fn answer(message: &'static str) -> Result<GrpcAnswer, GrpcStatus> {
    let initial = [(":status", "200"), ("i", "1")].into_iter().collect();
    let trailing = [("grpc-status", "0"), ("t", "2")].into_iter().collect();
    Ok(GrpcAnswer { initial, message: Bytes::from_static(message.as_bytes()), trailing })
}

fn message(text: &'static str) -> GrpcEvent {
    GrpcEvent::Message(Bytes::from_static(text.as_bytes()))
}

fn closed(code: u8, words: &'static str) -> GrpcEvent {
    GrpcEvent::Closed(GrpcStatus::new(code, words))
}

fn a_call_is_answered_with_metadata_around_the_message(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    assert_eq!(act(&mut rig, plugin, "c", ""), ["c0"]);
    let (key, call) = one(&mut rig);
    let expected = GrpcCall {
        upstream: "side".into(),
        service: "a.B".into(),
        method: "C".into(),
        message: Some(Bytes::from_static(b"hello")),
        timeout: Some(Duration::from_secs(60)),
        ..GrpcCall::default()
    };
    assert_eq!(call, expected);
    assert!(rig.worker.grpc_call_answered(key, answer("world")));
    assert_eq!(
        rig.calls(),
        [format!("{INITIAL}(1, 5, 2)"), format!("{RECEIVE}(1, 5, 5)"), format!("{TRAILING}(1, 5, 2)")]
    );
    assert_eq!(rig.said(), ["1", "world", "2"]);
    assert!(work(&mut rig).is_empty());
}

fn a_call_that_failed_is_closed_with_its_status(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    // What is no failure is no answer either.
    for (code, told) in [(14, 14), (0, 2), (16, 16)] {
        act(&mut rig, plugin, "c", "");
        let (key, _) = one(&mut rig);
        assert!(rig.worker.grpc_call_answered(key, Err(GrpcStatus::new(code, "words"))));
        let [call] = rig.calls().try_into().unwrap();
        assert!(call.starts_with(CLOSE) && call.ends_with(&format!(", {told})")), "{call}");
        assert_eq!(rig.said(), ["words".to_owned(), format!("={}", told % 10)]);
    }
}

fn a_call_is_answered_once_and_never_as_a_stream(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    act(&mut rig, plugin, "c", "");
    let (key, _) = one(&mut rig);
    assert!(!rig.worker.grpc_stream(key, message("a")) && !rig.worker.grpc_stream(key, closed(0, "")));
    assert!(!rig.worker.http_call_answered(key, Err(chassis_host::CalloutFailure::Reset)));
    assert!(rig.calls().is_empty());
    assert!(rig.worker.grpc_call_answered(key, answer("")));
    assert!(!rig.worker.grpc_call_answered(key, answer("")));
    assert!(!rig.worker.grpc_call_answered(key, Err(GrpcStatus::default())));
    assert_eq!(rig.calls().len(), 3);
}

fn a_stream_is_told_everything_in_order_and_its_end_once(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    assert_eq!(act(&mut rig, plugin, "s", ""), ["s0"]);
    let (key, call) = one(&mut rig);
    assert_eq!((call.message, call.timeout), (None, None));
    assert!(!rig.worker.grpc_call_answered(key, answer("")));
    let initial = GrpcEvent::Initial([("i", "1")].into_iter().collect());
    let trailing = GrpcEvent::Trailing([("t", "2"), ("u", "3")].into_iter().collect());
    for event in [initial, message("a"), message(""), message("bc"), trailing, closed(0, "fine")] {
        assert!(rig.worker.grpc_stream(key, event));
    }
    let received = |size| format!("{RECEIVE}(1, 6, {size})");
    assert_eq!(
        rig.calls(),
        [
            format!("{INITIAL}(1, 6, 1)"),
            received(1),
            received(0),
            received(2),
            format!("{TRAILING}(1, 6, 2)"),
            format!("{CLOSE}(1, 6, 0)")
        ]
    );
    assert_eq!(rig.said(), ["1", "a", "", "bc", "2", "fine", "=0"]);
    assert!(!rig.worker.grpc_stream(key, message("late")) && !rig.worker.grpc_stream(key, closed(14, "again")));
    assert!(rig.calls().is_empty());
}

fn messages_go_out_in_order_and_make_room_when_they_were_sent(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 300);
    assert_eq!(act(&mut rig, plugin, "smmm", ""), ["s0", "m0", "m0", "m:"]);
    let work = work(&mut rig);
    let CalloutWork::Grpc { key, .. } = work[0] else { panic!("{work:?}") };
    let sent = |end_of_stream, text: &'static str| CalloutWork::GrpcSend {
        key,
        message: Some(Bytes::from_static(text.as_bytes())),
        end_of_stream,
    };
    assert_eq!(work[1..], [sent(false, "message"), sent(false, "message")]);
    // One more does not fit before one was sent.
    rig.worker.grpc_sent(key, &Bytes::from_static(b"message"));
    assert_eq!(act(&mut rig, plugin, "ehm", ""), ["e0", "h0", "m2"]);
    assert_eq!(rig.worker.take_callout(), Some(sent(true, "end")));
    assert_eq!(rig.worker.take_callout(), None);
    act(&mut rig, plugin, "sh", "");
    let work = self::work(&mut rig);
    let CalloutWork::Grpc { key, .. } = work[0] else { panic!("{work:?}") };
    assert_eq!(work[1..], [CalloutWork::GrpcSend { key, message: None, end_of_stream: true }]);
}

fn nothing_is_told_of_what_was_cancelled(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    for letter in ["c", "s"] {
        act(&mut rig, plugin, letter, "");
        let (key, _) = one(&mut rig);
        assert_eq!(act(&mut rig, plugin, "xxmh", ""), ["x0", "x1", "m1", "h1"]);
        assert_eq!(work(&mut rig), [CalloutWork::Cancel { key }]);
        assert!(!rig.worker.grpc_call_answered(key, answer("")));
        assert!(!rig.worker.grpc_stream(key, message("")));
        assert!(!rig.worker.grpc_stream(key, closed(1, "")));
        assert!(rig.calls().is_empty());
    }
    // To close a call is to cancel it.
    act(&mut rig, plugin, "c", "");
    let (key, _) = one(&mut rig);
    assert_eq!(act(&mut rig, plugin, "h", ""), ["h0"]);
    assert_eq!(work(&mut rig), [CalloutWork::Cancel { key }]);
    assert!(!rig.worker.grpc_call_answered(key, answer("")));
}

fn an_answer_may_cancel_the_rest_of_it(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    act(&mut rig, plugin, "c", "i");
    let (key, _) = one(&mut rig);
    assert!(rig.worker.grpc_call_answered(key, answer("world")));
    assert_eq!(rig.said(), ["1", "x0"]);
    work(&mut rig);
    // Its message is the end of a call; a stream goes on for as long as its guest wants.
    act(&mut rig, plugin, "c", "x");
    let (key, _) = one(&mut rig);
    assert!(rig.worker.grpc_call_answered(key, answer("world")));
    assert_eq!(rig.said(), ["1", "world", "x1", "2"]);
    act(&mut rig, plugin, "s", "x");
    let (key, _) = one(&mut rig);
    assert!(rig.worker.grpc_stream(key, message("a")));
    assert!(!rig.worker.grpc_stream(key, message("b")));
    assert_eq!(rig.said(), ["a", "x0"]);
    assert_eq!(work(&mut rig), [CalloutWork::Cancel { key }]);
}

fn an_answer_that_stops_the_guest_is_the_last(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    rig.worker.wait_prepared(LONG);
    act(&mut rig, plugin, "c", "!");
    let (key, _) = one(&mut rig);
    assert!(rig.worker.grpc_call_answered(key, answer("world")));
    let calls = rig.calls();
    assert!(calls.len() == 2 && calls[1].starts_with(RECEIVE), "{calls:?}");
    assert_eq!(rig.worker.take_callout(), None);
}

fn a_message_that_is_too_large_ends_its_stream_and_fails_its_call(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    let large = Bytes::from(vec![b'x'; 101]);
    act(&mut rig, plugin, "c", "");
    let (key, _) = one(&mut rig);
    assert!(
        rig.worker.grpc_call_answered(key, answer("").map(|answer| GrpcAnswer { message: large.clone(), ..answer }))
    );
    assert_eq!(rig.said(), ["message too large", "=8"]);
    act(&mut rig, plugin, "s", "");
    let (key, _) = one(&mut rig);
    rig.calls();
    assert!(rig.worker.grpc_stream(key, GrpcEvent::Message(large)));
    assert_eq!(rig.calls(), [format!("{CLOSE}(1, {}, 8)", 10)]);
    assert_eq!(work(&mut rig), [CalloutWork::Cancel { key }]);
}

fn calls_and_streams_end_with_their_vm(engine: &'static str) {
    let (mut rig, plugin) = started(engine, 1000);
    rig.worker.wait_prepared(LONG);
    act(&mut rig, plugin, "s", "");
    let (begun, _) = one(&mut rig);
    act(&mut rig, plugin, "m", "");
    act(&mut rig, plugin, "cs", "");
    act(&mut rig, plugin, "x!", "");
    // What was begun is to be left, though its cancellation was dropped; what was not is not begun.
    assert_eq!(work(&mut rig), [CalloutWork::Cancel { key: begun }]);
    assert!(!rig.worker.grpc_stream(begun, message("late")));
    assert!(!rig.worker.grpc_stream(begun, closed(14, "")));
    assert!(!rig.calls().iter().any(|call| call.contains("grpc")));
}

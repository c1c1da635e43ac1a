//! What a plugin holds back, and how it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList};

use crate::guest::callbacks;
use crate::rig::{LONG, Rig};

cases! {
    each_engine: [
        a_paused_request_waits_until_it_is_continued_by_a_tick,
        an_unknown_action_is_a_pause,
        a_continue_from_the_callback_that_pauses_resumes,
        a_continue_without_a_pause_is_nothing,
        a_continue_of_the_other_direction_is_nothing,
        another_stream_resumes_by_the_effective_context,
        another_plugin_cannot_resume,
        only_the_first_of_many_continues_counts,
        body_is_shown_while_headers_are_paused_and_waits_behind_them,
        body_that_left_the_last_plugin_waits_for_its_headers,
        a_paused_body_grows_until_it_is_let_pass,
        a_paused_body_can_be_changed_and_continued_from_a_tick,
        body_that_was_not_shown_does_not_pass_by_a_continue,
        paused_trailers_hold_the_end_back,
        a_body_is_not_ended_before_its_trailers_may_pass,
        a_plugin_without_trailers_callback_holds_them_behind_its_body,
        a_paused_response_waits_too,
        a_stream_that_ends_while_it_is_paused_is_gone,
        many_streams_are_resumed_in_turns,
        the_stream_is_woken_when_it_gets_further,
    ]
}

const REQUEST_HEADERS: &str = "proxy_on_request_headers";

/// A tick continues the stream context 2 in a direction.
fn tick_continues(direction: u32) -> String {
    format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick (i32.const 100))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (call $say_digit @"e" (call $set_effective (i32.const 2)))
             (call $say_digit @"c" (call $continue (i32.const {direction}))))"#
    )
}

fn paused(name: &str) -> String {
    callbacks(&[name], "(i32.const 1)")
}

fn a_paused_request_waits_until_it_is_continued_by_a_tick(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused(REQUEST_HEADERS) + &tick_continues(0)));
    let key = rig.get(&[plugin], &[]);
    let progress = rig.progress(key).request;
    assert!(progress.paused && !progress.headers && !progress.ended);
    assert_eq!(rig.passed(key, Direction::Request), None);
    rig.tick();
    let progress = rig.progress(key).request;
    assert!(!progress.paused && progress.headers && progress.ended);
    assert_eq!(rig.said(), ["e0", "c0"]);
    assert_eq!(rig.calls().iter().filter(|call| call.starts_with(REQUEST_HEADERS)).count(), 1);
}

fn an_unknown_action_is_a_pause(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&[REQUEST_HEADERS], "(i32.const 7)"));
    let key = rig.get(&[plugin], &[]);
    assert!(rig.progress(key).request.paused);
}

fn a_continue_from_the_callback_that_pauses_resumes(engine: &'static str) {
    let body = "(drop (call $continue (i32.const 0))) (i32.const 1)";
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &callbacks(&[REQUEST_HEADERS, "proxy_on_request_body"], body));
    let second = rig.add("b", &callbacks(&[REQUEST_HEADERS], "(call $say @\"second\") (i32.const 0)"));
    let key = rig.open(&[first, second], &[]);
    rig.worker.request_headers(key, false);
    assert!(rig.progress(key).request.headers);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), true);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), rig.progress(key).request.paused), ("abc", false));
    assert_eq!(rig.said(), ["second"]);
}

fn a_continue_without_a_pause_is_nothing(engine: &'static str) {
    let body = "(call $say_digit @\"c\" (call $continue (i32.const 0))) (i32.const 0)";
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&[REQUEST_HEADERS], body));
    let key = rig.get(&[plugin], &[]);
    assert!(rig.progress(key).request.headers);
    assert_eq!(rig.said(), ["c0"]);
    rig.reply(key);
    assert_eq!(rig.response(key).unwrap().body, "ok");
}

fn a_continue_of_the_other_direction_is_nothing(engine: &'static str) {
    let body = "(drop (call $continue (i32.const 1))) (i32.const 1)";
    let guest = callbacks(&[REQUEST_HEADERS], body) + &paused("proxy_on_response_headers");
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.get(&[plugin], &[]);
    // And it is not remembered for later.
    rig.reply(key);
    let progress = rig.progress(key);
    assert!(progress.request.paused && progress.response.paused);
}

/// Pauses a request; one with `x-go` continues stream context 2 and itself passes.
const GATE: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (call $get_header (i32.const 0) @"x-go" (i32.const 0) (i32.const 4)) (then (return (i32.const 1))))
    (call $say_digit @"e" (call $set_effective (i32.const 2)))
    (call $say_digit @"c" (call $continue (i32.const 0)))
    (i32.const 0))"#;

fn another_stream_resumes_by_the_effective_context(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let gate = rig.add("gate", GATE);
    let after = rig.add("after", &callbacks(&[REQUEST_HEADERS], "(call $say @\"after\") (i32.const 0)"));
    let held = rig.get(&[gate, after], &[]);
    assert!(rig.progress(held).request.paused);
    let other = rig.get(&[gate], &[("x-go", "1")]);
    assert!(rig.progress(held).request.headers && rig.progress(other).request.headers);
    assert_eq!(rig.said(), ["e0", "c0", "after"]);
}

fn another_plugin_cannot_resume(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let (held_by, other) = (rig.add("a", &paused(REQUEST_HEADERS)), rig.add("b", GATE));
    let held = rig.get(&[held_by], &[]);
    // Context 2 of the other plugin is the stream that asks, so its own; a later one is not known to it.
    rig.get(&[other], &[("x-go", "1")]);
    assert!(rig.progress(held).request.paused);
    assert_eq!(rig.said(), ["e0", "c0"]);
}

fn only_the_first_of_many_continues_counts(engine: &'static str) {
    let thrice = "(drop (call $continue (i32.const 0)))".repeat(3) + "(i32.const 1)";
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &(callbacks(&[REQUEST_HEADERS], &thrice) + &tick_continues(0)));
    let second = rig.add("b", &(paused(REQUEST_HEADERS)));
    let key = rig.get(&[first, second], &[]);
    let second_calls = |rig: &Rig| rig.calls().iter().filter(|call| call.starts_with(REQUEST_HEADERS)).count();
    assert_eq!(second_calls(&rig), 2);
    // The first one's continue does not undo the second one's pause, however often it comes.
    rig.tick();
    rig.tick();
    assert!(rig.progress(key).request.paused);
    assert_eq!(second_calls(&rig), 0);
}

fn body_is_shown_while_headers_are_paused_and_waits_behind_them(engine: &'static str) {
    let body = callbacks(&["proxy_on_request_body"], "(i32.const 0)");
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &(paused(REQUEST_HEADERS) + &body + &tick_continues(0)));
    let second =
        rig.add("b", &callbacks(&[REQUEST_HEADERS, "proxy_on_request_body"], "(call $say @\"b\") (i32.const 0)"));
    rig.calls();
    let key = rig.open(&[first, second], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_body(key, Bytes::from_static(b"de"), true);
    let shown =
        ["proxy_on_request_headers(2, 4, 0) -> 1", "proxy_on_request_body(2, 3, 0)", "proxy_on_request_body(2, 2, 1)"];
    assert_eq!(rig.calls(), shown);
    let progress = rig.progress(key).request;
    assert!(progress.paused && !progress.headers && progress.body == 0 && progress.held == 5);
    assert_eq!(rig.worker.take_body(key, Direction::Request), None);
    rig.tick();
    assert_eq!(rig.said(), ["e0", "c0", "b", "b"]);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "abcde");
    assert!(rig.progress(key).request.ended);
}

fn body_that_left_the_last_plugin_waits_for_its_headers(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused(REQUEST_HEADERS) + &tick_continues(0)));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), true);
    let progress = rig.progress(key).request;
    assert!(!progress.ended && progress.body == 0 && progress.held == 3);
    assert_eq!(rig.worker.take_body(key, Direction::Request), None);
    rig.tick();
    let progress = rig.progress(key).request;
    assert!(progress.ended && progress.body == 3 && progress.held == 0);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "abc");
}

fn a_paused_body_grows_until_it_is_let_pass(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&["proxy_on_response_body"], "(i32.eqz (local.get 2))"));
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    for (piece, end) in [("ab", false), ("c", false), ("de", true)] {
        assert_eq!(rig.response(key).unwrap().body, "");
        rig.worker.response_body(key, Bytes::from(piece), end);
    }
    let sizes = [
        "proxy_on_response_body(2, 2, 0) -> 1",
        "proxy_on_response_body(2, 3, 0) -> 1",
        "proxy_on_response_body(2, 5, 1)",
    ];
    assert_eq!(rig.calls(), sizes);
    assert_eq!(rig.response(key).unwrap().body, "abcde");
    assert!(rig.progress(key).response.ended);
}

fn a_paused_body_can_be_changed_and_continued_from_a_tick(engine: &'static str) {
    let guest = paused("proxy_on_request_body")
        + r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
               (drop (call $set_tick (i32.const 100))) (i32.const 1))
             (func (export "proxy_on_tick") (param i32)
               (drop (call $set_effective (i32.const 2)))
               (call $say_digit @"b" (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 1) @"X"))
               (drop (call $continue (i32.const 0))))"#;
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), true);
    assert!(rig.progress(key).request.paused && !rig.progress(key).request.ended);
    rig.tick();
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "Xbc");
    // Once it has passed, there is nothing to look at, nor to continue.
    rig.tick();
    assert_eq!(rig.said(), ["b0", "b1"]);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "");
    assert!(rig.progress(key).request.ended);
}

fn trailers(text: &'static str) -> HeaderList {
    [("t", text)].into_iter().collect()
}

fn body_that_was_not_shown_does_not_pass_by_a_continue(engine: &'static str) {
    // The first context, 2, lets pass and continues the second one, 3, which holds everything back.
    let body = r#"(if (i32.eq (local.get 0) (i32.const 3)) (then (return (i32.const 1))))
      (drop (call $set_effective (i32.const 3)))
      (drop (call $continue (i32.const 0)))
      (i32.const 0)"#;
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&["proxy_on_request_body"], body));
    let key = rig.open(&[plugin, plugin], &[]);
    rig.worker.request_headers(key, false);
    for (piece, size) in [("abc", 3), ("de", 5)] {
        rig.calls();
        rig.worker.request_body(key, Bytes::from(piece), false);
        let seen = format!("proxy_on_request_body(3, {size}, 0) -> 1");
        assert_eq!(rig.calls().last(), Some(&seen));
        let progress = rig.progress(key).request;
        assert_eq!((progress.body, progress.held, progress.paused), (0, size, true));
    }
}

fn paused_trailers_hold_the_end_back(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused("proxy_on_request_trailers") + &tick_continues(0)));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_trailers(key, trailers("1"));
    let progress = rig.progress(key).request;
    assert!(progress.paused && progress.body == 3 && !progress.ended && !progress.trailers);
    rig.tick();
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), sent.trailers.len()), ("abc", 1));
    assert!(rig.progress(key).request.ended);
}

fn a_body_is_not_ended_before_its_trailers_may_pass(engine: &'static str) {
    // Body and trailers are there before the plugin is asked for either, since it holds the headers of another one.
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &(paused(REQUEST_HEADERS) + &tick_continues(0)));
    let second =
        rig.add("b", &(callbacks(&["proxy_on_request_body"], "(i32.const 0)") + &paused("proxy_on_request_trailers")));
    let key = rig.open(&[first, second], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_trailers(key, trailers("1"));
    rig.tick();
    let progress = rig.progress(key).request;
    assert!(progress.headers && progress.body == 3 && progress.paused && !progress.ended && !progress.trailers);
}

fn a_plugin_without_trailers_callback_holds_them_behind_its_body(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused("proxy_on_request_body") + &tick_continues(0)));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_trailers(key, trailers("1"));
    assert!(rig.progress(key).request.paused && !rig.progress(key).request.trailers);
    rig.tick();
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), sent.trailers.len()), ("abc", 1));
}

fn a_paused_response_waits_too(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused("proxy_on_response_headers") + &tick_continues(1)));
    let key = rig.get(&[plugin], &[]);
    rig.reply(key);
    assert!(rig.progress(key).response.paused && rig.response(key).is_none());
    rig.tick();
    assert_eq!(rig.response(key).unwrap().body, "ok");
}

fn a_stream_that_ends_while_it_is_paused_is_gone(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused(REQUEST_HEADERS) + &tick_continues(0)));
    let key = rig.get(&[plugin], &[]);
    rig.worker.close(key);
    rig.tick();
    // Its context is not valid any more, so the continue is about the plugin context: nothing.
    assert_eq!(rig.said(), ["e2", "c0"]);
    assert_eq!(rig.worker.progress(key), None);
    let next = rig.get(&[plugin], &[]);
    assert_ne!(key, next);
    rig.tick();
    assert!(rig.progress(next).request.paused);
}

fn many_streams_are_resumed_in_turns(engine: &'static str) {
    const STREAMS: usize = 700;
    let resume_all = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick (i32.const 100))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32) (local $id i32)
             (local.set $id (i32.const 2))
             (loop $next
               (drop (call $set_effective (local.get $id)))
               (drop (call $continue (i32.const 0)))
               (local.set $id (i32.add (local.get $id) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $id) (i32.const {})))))"#,
        STREAMS + 2
    );
    let mut rig = Rig::new(engine);
    let first = rig.add("a", &(paused(REQUEST_HEADERS) + &resume_all));
    let second = rig.add("b", &callbacks(&[REQUEST_HEADERS], "(i32.const 0)"));
    let keys: Vec<_> = (0..STREAMS).map(|_| rig.get(&[first, second], &[])).collect();
    let bell = Arc::new(Bell::default());
    rig.worker.set_waker(Some(Waker::from(bell.clone())));
    rig.calls();
    rig.tick();
    let mut turns = 1;
    while rig.worker.has_work() {
        assert_eq!(bell.0.load(Ordering::Relaxed), turns, "the embedder is told of each further turn");
        assert!(rig.calls().len() <= 300, "a turn has an end");
        rig.worker.receive_prepared();
        turns += 1;
    }
    assert!((2..10).contains(&turns), "{turns} turns");
    assert!(keys.iter().all(|key| rig.worker.progress(*key).unwrap().request.headers));
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn the_stream_is_woken_when_it_gets_further(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &(paused(REQUEST_HEADERS) + &tick_continues(0)));
    let bell = Arc::new(Bell::default());
    let key = rig.get(&[plugin], &[]);
    rig.worker.set_stream_waker(key, &Waker::from(bell.clone()));
    rig.get(&[plugin], &[]);
    rig.worker.wait_prepared(LONG);
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    rig.tick();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
}

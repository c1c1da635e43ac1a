//! What a plugin may hold and how long it may take.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::Direction;

use crate::guest::callbacks;
use crate::rig::{LONG, Rig, spec};

cases! {
    each_engine: [
        a_request_body_over_the_limit_is_answered_with_413,
        a_response_body_over_the_limit_is_answered_with_502,
        a_request_over_the_limit_is_cut_off_where_its_response_has_passed,
        body_behind_paused_headers_counts,
        a_body_that_passes_does_not_count,
        an_edit_may_not_grow_a_body_over_the_limit,
        memory_is_granted_up_to_its_limit,
        the_limit_of_a_chain_is_its_smallest,
        all_streams_of_a_worker_share_one_limit,
        a_large_answer_needs_room,
        the_deadline_is_each_callbacks_own,
    ]
}

/// Adds a plugin that may hold back 10 bytes.
fn small(rig: &mut Rig, name: &str, body: &str) -> usize {
    let mut spec = spec(name);
    spec.limits.buffered_body = 10;
    let id = rig.add_with(&spec, body, &[""]).unwrap();
    rig.worker.wait_prepared(LONG);
    id
}

const REQUEST_BODY: &str = "proxy_on_request_body";

fn a_request_body_over_the_limit_is_answered_with_413(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let plugin = small(&mut rig, "a", &callbacks(&[REQUEST_BODY], "(i32.const 1)"));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"0123456789"), false);
    let progress = rig.progress(key);
    assert!(!progress.answered && progress.request.held == 10);
    rig.worker.request_body(key, Bytes::from_static(b"x"), false);
    let progress = rig.progress(key);
    assert!(progress.answered && progress.request.held == 0);
    assert_eq!(rig.response(key).unwrap().status(), "413");
    rig.calls();
    rig.worker.request_body(key, Bytes::from_static(b"y"), true);
    assert!(rig.calls().is_empty(), "nothing more is shown to the plugin");
}

fn a_response_body_over_the_limit_is_answered_with_502(engine: &'static str) {
    let pauses = callbacks(&["proxy_on_response_body"], "(i32.const 1)");
    let mut rig = Rig::new(engine);
    let plugin = small(&mut rig, "a", &pauses);
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    rig.worker.response_body(key, Bytes::from_static(b"0123456789x"), false);
    assert_eq!(rig.response(key).unwrap().status(), "502");
    // Where the headers have left, there is only the end.
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    assert_eq!(rig.response(key).unwrap().status(), "200");
    rig.worker.response_body(key, Bytes::from_static(b"0123456789x"), false);
    assert!(rig.progress(key).reset);
}

fn a_request_over_the_limit_is_cut_off_where_its_response_has_passed(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let plugin = small(&mut rig, "a", &callbacks(&[REQUEST_BODY], "(i32.const 1)"));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.take_headers(key, Direction::Request);
    // The upstream does not wait for the body.
    rig.reply(key);
    rig.worker.take_headers(key, Direction::Response);
    rig.worker.request_body(key, Bytes::from_static(b"0123456789"), false);
    let progress = rig.progress(key).request;
    assert!(progress.paused && !progress.cut && progress.held == 10);
    rig.calls();
    for _ in 0..3 {
        rig.worker.request_body(key, Bytes::from_static(b"x"), false);
        let progress = rig.progress(key);
        assert!(!progress.answered && !progress.reset);
        let request = progress.request;
        assert_eq!(
            (request.cut, request.paused, request.ended, request.body, request.held),
            (true, false, false, 0, 0)
        );
    }
    assert_eq!(rig.calls().len(), 1, "nothing more is shown to the plugin");
    assert_eq!(rig.response(key).unwrap().body, "ok");
}

fn body_behind_paused_headers_counts(engine: &'static str) {
    for body_callback in ["", &callbacks(&[REQUEST_BODY], "(i32.const 0)")] {
        let mut rig = Rig::new(engine);
        let guest = callbacks(&["proxy_on_request_headers"], "(i32.const 1)") + body_callback;
        let plugin = small(&mut rig, "a", &guest);
        let key = rig.open(&[plugin], &[]);
        rig.worker.request_headers(key, false);
        for piece in ["01234", "56789", "x"] {
            assert!(!rig.progress(key).answered);
            rig.worker.request_body(key, Bytes::from(piece), false);
        }
        assert_eq!(rig.response(key).unwrap().status(), "413");
    }
}

fn a_body_that_passes_does_not_count(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let plugin = small(&mut rig, "a", &callbacks(&[REQUEST_BODY], "(i32.const 0)"));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    for _ in 0..100 {
        rig.worker.request_body(key, Bytes::from_static(b"0123456789"), false);
    }
    let progress = rig.progress(key);
    assert_eq!((progress.answered, progress.request.body, progress.request.held), (false, 1000, 0));
}

fn an_edit_may_not_grow_a_body_over_the_limit(engine: &'static str) {
    let body = r#"(call $say_digit @"a" (call $set_buffer (i32.const 0) (i32.const -1) (i32.const 0) @"1234567"))
      (call $say_digit @"b" (call $set_buffer (i32.const 0) (i32.const -1) (i32.const 0) @"8"))
      (i32.const 0)"#;
    let mut rig = Rig::new(engine);
    let plugin = small(&mut rig, "a", &callbacks(&[REQUEST_BODY], body));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), true);
    assert_eq!(rig.said(), ["a0", "b:"], "status 10 is the character behind 9");
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "abc1234567");
}

fn memory_is_granted_up_to_its_limit(engine: &'static str) {
    // The specification of these tests grants 4 MiB: 64 pages, one of which is there.
    let body = "(call $say_digit @\"a\" (i32.ne (memory.grow (i32.const 63)) (i32.const 1)))
      (call $say_digit @\"b\" (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (i32.const 0)";
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&["proxy_on_request_headers"], body));
    assert_eq!(rig.worker.memory_bytes(plugin), Some(64 << 10));
    rig.get(&[plugin], &[]);
    assert_eq!(rig.said(), ["a0", "b1"]);
    assert_eq!(rig.worker.memory_bytes(plugin), Some(4 << 20));
    assert_eq!(rig.worker.memory_bytes(plugin + 1), None);
}

fn the_limit_of_a_chain_is_its_smallest(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let large = rig.add("large", &callbacks(&[REQUEST_BODY], "(i32.const 1)"));
    let small = small(&mut rig, "small", "");
    for chain in [[large, small], [small, large]] {
        let key = rig.open(&chain, &[]);
        rig.worker.request_headers(key, false);
        rig.worker.request_body(key, Bytes::from_static(b"0123456789x"), false);
        assert_eq!(rig.response(key).unwrap().status(), "413");
    }
}

fn all_streams_of_a_worker_share_one_limit(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let holds = rig.add("holds", &callbacks(&[REQUEST_BODY, "proxy_on_response_body"], "(i32.const 1)"));
    let passes = rig.add("passes", "");
    rig.worker.set_buffer_limit(15);
    let open = |rig: &mut Rig, plugin| {
        let key = rig.open(&[plugin], &[]);
        rig.worker.request_headers(key, false);
        key
    };
    let (one, two, other) = (open(&mut rig, holds), open(&mut rig, holds), open(&mut rig, passes));
    rig.worker.request_body(one, Bytes::from_static(b"0123456789"), false);
    rig.worker.request_body(two, Bytes::from_static(b"01234"), false);
    assert_eq!(rig.worker.buffered(), 15);
    assert!(!rig.progress(one).answered && !rig.progress(two).answered);
    // What passes is not held, and counts until it is taken.
    rig.worker.request_body(other, Bytes::from_static(b"x"), false);
    assert_eq!(rig.worker.buffered(), 16);
    assert_eq!(rig.worker.take_body(other, Direction::Request).as_deref(), Some(&b"x"[..]));
    assert!(!rig.progress(other).answered && rig.worker.buffered() == 15);
    // Who asks for more than there is gets the answer, and gives back what it had but for that.
    rig.worker.request_body(two, Bytes::from_static(b"x"), false);
    assert!(!rig.progress(one).answered);
    assert_eq!(rig.response(two).unwrap().status(), "413");
    assert_eq!(rig.worker.buffered(), 10);
    rig.worker.request_body(one, Bytes::from_static(b"01234"), false);
    assert!(!rig.progress(one).answered && rig.worker.buffered() == 15);
    rig.worker.close(one);
    rig.worker.close(two);
    assert_eq!(rig.worker.buffered(), 0);
    // The same for responses, before their headers have left and after.
    let key = rig.get(&[holds], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    rig.worker.response_body(key, Bytes::from_static(b"0123456789abcde"), false);
    assert!(!rig.progress(key).answered);
    let late = rig.get(&[holds], &[]);
    rig.worker.response_headers(late, [(":status", "200")].into_iter().collect(), false);
    rig.worker.take_headers(late, Direction::Response);
    rig.worker.response_body(late, Bytes::from_static(b"x"), false);
    assert!(rig.progress(late).reset);
    rig.worker.close(late);
    rig.worker.response_body(key, Bytes::from_static(b"x"), false);
    assert_eq!(rig.response(key).unwrap().status(), "502");
}

fn a_large_answer_needs_room(engine: &'static str) {
    let answers = |bytes: usize| {
        let answer = format!("(call $answer (i32.const 418) (i32.const 0x4000) (i32.const {bytes})) (i32.const 1)");
        callbacks(&["proxy_on_request_headers"], &answer)
    };
    for (limit, bytes, status) in [(20_000, 20_000, "418"), (20_000, 20_001, "503"), (0, 16 << 10, "418")] {
        let mut rig = Rig::new(engine);
        let plugin = rig.add("answers", &answers(bytes));
        rig.worker.set_buffer_limit(limit);
        let key = rig.get(&[plugin], &[]);
        assert_eq!(rig.response(key).unwrap().status(), status, "{limit} {bytes}");
        assert_eq!(rig.worker.buffered(), 0);
    }
}

fn the_deadline_is_each_callbacks_own(engine: &'static str) {
    const DEADLINE: Duration = Duration::from_millis(600);
    let works_50_ms = "(local $end i64) (local $i i32)
      (local.set $end (i64.add (call $now) (i64.const 50_000_000)))
      (loop $again
        (local.set $i (i32.const 2000))
        (loop $work (br_if $work (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
        (br_if $again (i64.lt_s (call $now) (local.get $end))))
      (i32.const 0)";
    let guest = callbacks(&[REQUEST_BODY], works_50_ms)
        + &callbacks(&["proxy_on_response_headers"], "(loop $for_ever (br $for_ever)) (i32.const 0)");
    let mut spec = spec("guest");
    spec.limits.deadline = DEADLINE;
    let mut rig = Rig::new(engine);
    let plugin = rig.add_with(&spec, &guest, &[""]).unwrap();
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.calls();
    // No engine lets one call take more than twice its deadline.
    let began = Instant::now();
    let mut pieces = 0;
    while began.elapsed() < 3 * DEADLINE {
        rig.worker.request_body(key, Bytes::from_static(b"x"), false);
        pieces += 1;
        assert_eq!(rig.calls().len(), 1);
        let progress = rig.progress(key);
        assert_eq!((progress.answered, progress.request.body), (false, pieces));
    }
    assert!(pieces > 1);
    rig.reply(key);
    assert_eq!(rig.calls().last().map(|call| call.ends_with(" !! deadline")), Some(true));
}

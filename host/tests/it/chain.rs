//! Headers, bodies and trailers through one plugin and through several.

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList};

use crate::guest::callbacks;
use crate::rig::{Rig, spec};

cases! {
    each_engine: [
        headers_are_shown_and_changed_both_ways,
        callbacks_get_sizes_and_the_end,
        a_message_that_ended_with_its_headers_has_no_body,
        the_response_passes_the_chain_in_reverse,
        bodies_are_changed_piece_by_piece,
        each_plugin_sees_what_the_one_before_let_pass,
        trailers_are_shown_and_changed,
        trailers_follow_a_body_without_bytes,
        trailers_may_be_added_to_a_body,
        trailers_that_were_added_are_shown_to_those_behind,
        trailers_that_were_added_from_outside_pass_with_what_was_held,
        what_comes_after_the_end_or_twice_is_dropped,
        framing_and_hop_by_hop_fields_belong_to_the_host,
        a_chain_without_plugins_lets_everything_pass,
    ]
}

fn headers(list: &[(&'static str, &'static str)]) -> HeaderList {
    list.iter().copied().collect()
}

fn text(list: &HeaderList) -> String {
    let pairs = list.iter().map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
    pairs.collect::<Vec<_>>().join(" ")
}

const ADD: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $say_given (call $get_header (i32.const 0) @"x" (i32.const 0) (i32.const 4)))
    (drop (call $add_header (i32.const 0) @"x" @"2"))
    (drop (call $replace_header (i32.const 0) @":path" @"/other"))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $say_given (call $get_header (i32.const 2) @":status" (i32.const 0) (i32.const 4)))
    (call $say_digit @"q" (call $add_header (i32.const 0) @"late" @"1"))
    (drop (call $replace_header (i32.const 2) @":status" @"201"))
    (drop (call $add_header (i32.const 2) @"y" @"3"))
    (i32.const 0))"#;

fn headers_are_shown_and_changed_both_ways(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, ADD);
    let key = rig.get(&[plugin], &[("x", "1")]);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!(text(&sent.headers), ":method=GET :path=/other :authority=host :scheme=http x=1 x=2");
    rig.reply(key);
    let got = rig.response(key).unwrap();
    assert_eq!((text(&got.headers).as_str(), got.body.as_str()), (":status=201 y=3", "ok"));
    // The request's headers have left: they can be read, not changed.
    assert_eq!(rig.said(), ["1", "200", "q2"]);
}

const ALL: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (i32.const 0))"#;

fn callbacks_get_sizes_and_the_end(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, ALL);
    let key = rig.open(&[plugin], &[("a", "b")]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_body(key, Bytes::new(), false);
    rig.worker.request_body(key, Bytes::new(), true);
    rig.worker.response_headers(key, headers(&[(":status", "200"), ("c", "d")]), false);
    rig.worker.response_body(key, Bytes::from_static(b"12345"), true);
    let calls = [
        "proxy_on_request_headers(2, 5, 0)",
        "proxy_on_request_body(2, 3, 0)",
        "proxy_on_request_body(2, 0, 1)",
        "proxy_on_response_headers(2, 2, 0)",
        "proxy_on_response_body(2, 5, 1)",
    ];
    assert_eq!(rig.calls(), calls);
    let progress = rig.progress(key);
    assert_eq!((progress.request.body, progress.request.ended, progress.request.trailers), (3, true, false));
    assert_eq!((progress.response.body, progress.response.ended, progress.response.held), (5, true, 0));
}

fn a_message_that_ended_with_its_headers_has_no_body(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, ALL);
    let key = rig.get(&[plugin], &[]);
    rig.worker.request_body(key, Bytes::from_static(b"late"), true);
    rig.worker.request_trailers(key, headers(&[("t", "late")]));
    assert_eq!(rig.calls(), ["proxy_on_request_headers(2, 4, 1)"]);
    let progress = rig.progress(key).request;
    assert!(progress.headers && progress.ended && !progress.trailers && progress.body == 0);
}

fn named(name: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header (i32.const 0) @"by" @"{name}")) (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header (i32.const 2) @"by" @"{name}")) (i32.const 0))"#
    )
}

fn the_response_passes_the_chain_in_reverse(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let chain = ["a", "b", "c"].map(|name| rig.add(name, &named(name)));
    let key = rig.get(&chain, &[]);
    rig.reply(key);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert!(text(&sent.headers).ends_with("by=a by=b by=c"));
    assert_eq!(text(&rig.response(key).unwrap().headers), ":status=200 by=c by=b by=a");
}

/// Puts a letter in front of each piece, and behind the end.
fn marks(letter: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (drop (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"{letter}"))
             (if (local.get 2) (then (drop (call $set_buffer (i32.const 0) (i32.const -1) (i32.const 0) @"{letter}"))))
             (i32.const 0))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
             (drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 1) @"{letter}")) (i32.const 0))"#
    )
}

fn bodies_are_changed_piece_by_piece(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &marks("a"));
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"1"), false);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "a1");
    rig.worker.request_body(key, Bytes::from_static(b"2"), true);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "a2a");
    rig.reply(key);
    assert_eq!(rig.response(key).unwrap().body, "ak");
}

fn each_plugin_sees_what_the_one_before_let_pass(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let chain = ["a", "b"].map(|name| rig.add(name, &marks(name)));
    let key = rig.open(&chain, &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"1"), true);
    rig.reply(key);
    assert_eq!(rig.passed(key, Direction::Request).unwrap().body, "ba1ab");
    assert_eq!(rig.response(key).unwrap().body, "ak");
}

const TRAILERS: &str = r#"
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $say @"body") (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (call $say_given (call $get_header (i32.const 1) @"t" (i32.const 0) (i32.const 4)))
    (drop (call $replace_header (i32.const 1) @"t" @"2")) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
    (drop (call $add_header (i32.const 3) @"u" @"3")) (i32.const 0))"#;

fn trailers_are_shown_and_changed(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let chain = [rig.add("a", TRAILERS), rig.add("b", TRAILERS)];
    let key = rig.open(&chain, &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"1"), false);
    assert!(!rig.progress(key).request.ended);
    rig.worker.request_trailers(key, headers(&[("t", "1")]));
    rig.worker.response_headers(key, headers(&[(":status", "200")]), false);
    rig.worker.response_trailers(key, headers(&[("u", "1")]));
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), text(&sent.trailers).as_str()), ("1", "t=2"));
    assert_eq!(text(&rig.response(key).unwrap().trailers), "u=1 u=3 u=3");
    let progress = rig.progress(key);
    assert!(progress.request.ended && progress.response.ended);
    assert_eq!(rig.said(), ["body", "body", "1", "2"]);
}

fn trailers_follow_a_body_without_bytes(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let chain = [rig.add("a", TRAILERS), rig.add("b", TRAILERS)];
    let key = rig.open(&chain, &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_trailers(key, headers(&[("t", "1")]));
    assert_eq!(rig.said(), ["1", "2"]);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), text(&sent.trailers).as_str()), ("", "t=2"));
}

fn trailers_may_be_added_to_a_body(engine: &'static str) {
    let body = r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
      (call $say_digit @"t" (call $add_header (i32.const 3) @"sum" @"9")) (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, body);
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, headers(&[(":status", "200")]), false);
    rig.worker.response_body(key, Bytes::from_static(b"1"), false);
    rig.worker.response_body(key, Bytes::from_static(b"2"), true);
    assert_eq!(rig.said(), ["t2", "t0"]);
    assert_eq!(text(&rig.response(key).unwrap().trailers), "sum=9");
}

fn trailers_that_were_added_are_shown_to_those_behind(engine: &'static str) {
    let adds = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
      (drop (call $add_header (i32.const 1) @"sum" @"9")) (i32.const 0))
      (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))"#;
    let mut rig = Rig::new(engine);
    let first = rig.add("first", adds);
    // One that looks at bodies alone sees the body end as it did.
    let bodies = callbacks(&["proxy_on_request_body"], "(i32.const 0)");
    let second = rig.add("second", &bodies);
    let third = rig.add("third", ALL);
    let key = rig.open(&[first, second, third], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"body"), true);
    let calls = [
        "proxy_on_request_headers(2, 4, 0)",
        "proxy_on_request_body(2, 4, 1)",
        "proxy_on_request_body(2, 4, 1)",
        "proxy_on_request_body(2, 4, 0)",
        "proxy_on_request_trailers(2, 1)",
    ];
    assert_eq!(rig.calls(), calls);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), text(&sent.trailers).as_str()), ("body", "sum=9"));
    assert!(rig.progress(key).request.ended);
}

fn trailers_that_were_added_from_outside_pass_with_what_was_held(engine: &'static str) {
    let adds = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $set_tick (i32.const 1)))
        (i32.const 1))
      (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (drop (call $set_effective (i32.const 2)))
        (drop (call $add_header (i32.const 3) @"sum" @"9"))
        (drop (call $continue (i32.const 1))))"#;
    let mut rig = Rig::new(engine);
    let first = rig.add("first", ALL);
    let second = rig.add("second", adds);
    let key = rig.get(&[first, second], &[]);
    rig.reply(key);
    rig.calls();
    rig.tick();
    assert_eq!(rig.calls()[1..], ["proxy_on_response_body(2, 2, 0)", "proxy_on_response_trailers(2, 1)"]);
    let got = rig.response(key).unwrap();
    assert_eq!((got.body.as_str(), text(&got.trailers).as_str()), ("ok", "sum=9"));
}

fn what_comes_after_the_end_or_twice_is_dropped(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, ALL);
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_headers(key, true);
    rig.worker.request_body(key, Bytes::from_static(b"1"), true);
    rig.worker.request_body(key, Bytes::from_static(b"2"), true);
    rig.worker.request_trailers(key, headers(&[("t", "1")]));
    rig.reply(key);
    rig.worker.response_headers(key, headers(&[(":status", "500")]), false);
    rig.worker.response_trailers(key, headers(&[("t", "1")]));
    assert_eq!(rig.calls().len(), 4);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), sent.trailers.len()), ("1", 0));
    let got = rig.response(key).unwrap();
    assert_eq!((got.status(), got.body.as_str(), got.trailers.len()), ("200", "ok", 0));
}

fn framing_and_hop_by_hop_fields_belong_to_the_host(engine: &'static str) {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $say_digit @"t" (call $add_header (i32.const 0) @"transfer-encoding" @"chunked"))
      (call $say_digit @"c" (call $add_header (i32.const 0) @"Connection" @"close"))
      (call $say_digit @"l" (call $replace_header (i32.const 0) @"content-length" @"7"))
      (call $say_digit @"v" (call $add_header (i32.const 0) @"x" @"a\0d\0ab: c"))
      (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, body);
    let key = rig.get(&[plugin], &[]);
    assert_eq!(rig.said(), ["t2", "c2", "l0", "v2"]);
    // A length is the host's to compute; what a plugin said of it is shown to the one that frames the message.
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert!(text(&sent.headers).ends_with(":scheme=http content-length=7"), "{}", text(&sent.headers));
}

fn a_chain_without_plugins_lets_everything_pass(engine: &'static str) {
    let mut rig = Rig::new(engine);
    rig.add_with(&spec("unused"), ALL, &[]).unwrap();
    let key = rig.open(&[], &[]);
    rig.worker.request_body(key, Bytes::from_static(b"1"), false);
    assert_eq!(rig.progress(key).request.body, 0);
    rig.worker.request_headers(key, false);
    rig.worker.request_trailers(key, headers(&[("t", "1")]));
    rig.reply(key);
    let sent = rig.passed(key, Direction::Request).unwrap();
    assert_eq!((sent.body.as_str(), text(&sent.trailers).as_str()), ("1", "t=1"));
    assert_eq!(rig.response(key).unwrap().body, "ok");
    assert!(rig.calls().is_empty());
}

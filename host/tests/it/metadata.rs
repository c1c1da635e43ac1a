//! HTTP/2 metadata.

use bytes::Bytes;
use chassis_abi::HeaderList;

use crate::rig::{Rig, spec};

cases! {
    each_engine: [
        who_asks_for_metadata_is_told_how_much_came,
        metadata_waits_for_the_headers,
        only_so_much_waits,
    ]
}

const BOTH: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_request_metadata") (param i32 i32) (result i32)
    (call $say_digit @"v" (call $get_header (i32.const 0) @"m" (i32.const 0) (i32.const 4)))
    ;; No answer but going on.
    (i32.const 1))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_metadata") (param i32 i32) (result i32) (i32.const 0))"#;

fn headers(list: &[(&'static str, &'static str)]) -> HeaderList {
    list.iter().copied().collect()
}

fn who_asks_for_metadata_is_told_how_much_came(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, BOTH);
    let silent = rig.add("silent", "");
    let last = rig.add_with(&spec("last"), BOTH, &[""]).unwrap();
    let key = rig.open(&[plugin, silent, last], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_metadata(key, 2);
    rig.worker.request_body(key, Bytes::from_static(b"x"), true);
    rig.worker.request_metadata(key, 0);
    rig.worker.response_headers(key, headers(&[(":status", "200")]), false);
    rig.worker.response_metadata(key, 3);
    let calls: Vec<String> = rig.calls().into_iter().filter(|call| call.contains("metadata")).collect();
    let expected = [
        "proxy_on_request_metadata(2, 2) -> 1",
        "proxy_on_request_metadata(2, 2) -> 1",
        "proxy_on_request_metadata(2, 0) -> 1",
        "proxy_on_request_metadata(2, 0) -> 1",
        "proxy_on_response_metadata(2, 3)",
        "proxy_on_response_metadata(2, 3)",
    ];
    assert_eq!(calls, expected);
    // It is in no map, and holds nothing.
    assert_eq!(rig.said(), ["v1"; 4]);
    assert!(rig.progress(key).request.ended && rig.progress(key).response.headers);
}

const PAUSES: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $set_tick (i32.const 1)))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_metadata") (param i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_tick") (param i32)
    (drop (call $set_effective (i32.const 2)))
    (drop (call $continue (i32.const 0))))"#;

fn metadata_waits_for_the_headers(engine: &'static str) {
    let (mut rig, first) = Rig::with(engine, PAUSES);
    let second = rig.add_with(&spec("second"), BOTH, &[""]).unwrap();
    let key = rig.open(&[first, second], &[]);
    rig.calls();
    rig.worker.request_metadata(key, 7);
    assert!(rig.calls().is_empty(), "no headers have come");
    rig.worker.request_headers(key, true);
    // Who holds the headers is told; who has not seen them is not.
    assert_eq!(rig.calls(), ["proxy_on_request_headers(2, 4, 1) -> 1", "proxy_on_request_metadata(2, 7)"]);
    rig.tick();
    assert_eq!(rig.calls()[1..], ["proxy_on_request_headers(2, 4, 1)", "proxy_on_request_metadata(2, 7) -> 1"]);
    assert!(rig.progress(key).request.headers);
}

fn only_so_much_waits(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, BOTH);
    let key = rig.open(&[plugin], &[]);
    (0..1000).for_each(|entries| rig.worker.request_metadata(key, entries));
    rig.calls();
    rig.worker.request_headers(key, false);
    let calls: Vec<String> = rig.calls().into_iter().filter(|call| call.contains("metadata")).collect();
    assert_eq!(calls.len(), 64);
    assert_eq!(calls[63], "proxy_on_request_metadata(2, 63) -> 1");
    // What was told makes room.
    rig.worker.request_metadata(key, 9);
    assert_eq!(rig.calls(), ["proxy_on_request_metadata(2, 9) -> 1"]);
    // Of a stream that is over, and of none, nothing is told.
    rig.worker.answer(key, 500, Bytes::new());
    rig.worker.request_metadata(key, 1);
    rig.worker.close(key);
    rig.calls();
    rig.worker.response_metadata(key, 1);
    assert!(rig.calls().is_empty());
}

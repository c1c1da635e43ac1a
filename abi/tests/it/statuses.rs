//! Every status that a row lists is reached, and no other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chassis_abi::{Answer, Callback, Context, HostCall, Observer, Property, Status, TABLE};
use chassis_engine_api::Stop;

use crate::rig::{DATA, Rig, V010, Wasm, module};
use crate::{callouts, grpc};

type Reached = Arc<Mutex<BTreeSet<(&'static str, &'static str)>>>;

struct Notes(Reached);

impl Observer for Notes {
    fn callback_begins(&mut self, _: Callback, _: u32, _: &[u32]) {}

    fn callback_ends(&mut self, _: Callback, _: Result<u32, &Stop>) {}

    fn host_call(&mut self, call: HostCall<'_>) {
        if call.row.answer == Answer::Status {
            self.0.lock().unwrap().insert((call.row.name, call.result_name));
        }
    }
}

fn watched(reached: &Reached) -> Rig {
    let mut rig = Rig::new();
    rig.board().observer = Some(Box::new(Notes(reached.clone())));
    rig
}

/// Every function with arguments that are all 0: of the first kind where there are kinds, with no bytes.
fn with_zeros(wasm: &mut Wasm<'_>) {
    for row in TABLE.iter().filter(|row| row.answer == Answer::Status) {
        wasm.import("env", row.name, &vec![0; row.sig.params.len()]).unwrap();
    }
}

/// Kinds that do not exist, and names, numbers and values that are not there or not allowed.
fn with_mistakes(wasm: &mut Wasm<'_>) {
    for name in [
        "proxy_log",
        "proxy_set_effective_context",
        "proxy_get_buffer_bytes",
        "proxy_get_buffer_status",
        "proxy_set_buffer_bytes",
        "proxy_get_header_map_size",
        "proxy_get_header_map_pairs",
        "proxy_set_header_map_pairs",
        "proxy_get_header_map_value",
        "proxy_add_header_map_value",
        "proxy_replace_header_map_value",
        "proxy_remove_header_map_value",
        "proxy_continue_stream",
        "proxy_close_stream",
        "proxy_define_metric",
    ] {
        let row = TABLE.iter().find(|row| row.name == name).unwrap();
        let mut args = vec![0; row.sig.params.len()];
        args[0] = 99;
        assert_eq!(wasm.import("env", name, &args).unwrap(), Status::BadArgument as u32, "{name}");
    }
    assert_eq!(wasm.env("proxy_get_buffer_status", &[8, 0, 4]).unwrap(), Status::NotFound as u32);
    assert_eq!(wasm.env("proxy_set_buffer_bytes", &[2, 0, 0, 0, 0]).unwrap(), Status::NotFound as u32);
    assert_eq!(wasm.buffer(8, 0, 9), Err(Status::NotFound as u32));
    assert_eq!(wasm.property("broken"), Err(Status::SerializationFailure as u32));
    assert_eq!(wasm.set_property("new", b"value"), Status::Ok as u32);
    assert_eq!(wasm.property("new"), Ok(b"value".to_vec()));
    let too_large = 1 << 16;
    assert_eq!(wasm.env("proxy_set_buffer_bytes", &[0, 0, 0, 0, too_large]).unwrap(), Status::InternalFailure as u32);
    assert_eq!(wasm.env("proxy_send_local_response", &[200, 0, 0, 0, too_large, 0, 0, 0]).unwrap(), 10);
    assert_eq!(wasm.env("proxy_send_local_response", &[200, 0, 0, 0, 0, 0, 0, 0]).unwrap(), Status::Ok as u32);
    for i in 0..1000_u32 {
        wasm.set_property(&format!("p{i}"), b"");
    }
    assert_eq!(wasm.set_property("one more", b""), Status::InternalFailure as u32);
    // Good names and values, where zeros were none.
    for name in ["proxy_add_header_map_value", "proxy_replace_header_map_value"] {
        assert_eq!(wasm.edit(name, 0, b"x-b", b"2"), Status::Ok as u32);
    }
    assert!(wasm.header(0, "x-a").is_ok());
    assert_eq!(callouts::http_call(wasm, "side", callouts::GET, b"", 100), Status::Ok as u32);
    assert_eq!(callouts::http_call(wasm, "side", callouts::GET, &[0; 300], 100), Status::InternalFailure as u32);
    grpc::reach_statuses(wasm);
    let [pairs, len] = wasm.put(DATA, b"\0");
    assert_eq!(wasm.env("proxy_set_header_map_pairs", &[1, pairs, len]).unwrap(), Status::Ok as u32);
    assert_eq!(wasm.property("known"), Ok(b"yes".to_vec()));
}

/// Stores with something in them, and full.
fn with_stores(wasm: &mut Wasm<'_>) {
    fn call(wasm: &mut Wasm<'_>, name: &str, texts: &[&str], behind: &[u32]) -> u32 {
        let mut args = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            args.extend(wasm.put(DATA + 0x400 * i as u32, text.as_bytes()));
        }
        args.extend(behind);
        wasm.env(name, &args).unwrap()
    }
    for (key, cas, status) in [("a", 0, 0), ("a", 9, 8), ("b", 0, 0), ("c", 0, 0), ("d", 0, 10)] {
        assert_eq!(call(wasm, "proxy_set_shared_data", &[key, ""], &[cas]), status);
    }
    assert_eq!(call(wasm, "proxy_get_shared_data", &["a"], &[16, 20, 24]), 0);
    for (queue, status) in [("a", 0), ("b", 0), ("c", 0), ("d", 10)] {
        assert_eq!(call(wasm, "proxy_register_shared_queue", &[queue], &[0]), status);
    }
    assert_eq!(call(wasm, "proxy_resolve_shared_queue", &["", "a"], &[0]), 0);
    assert_eq!(call(wasm, "proxy_resolve_shared_queue", &["", "e"], &[0]), 1);
    assert_eq!(wasm.env("proxy_dequeue_shared_queue", &[1, 0, 4]).unwrap(), 7);
    for status in [0, 0, 0, 10] {
        assert_eq!(wasm.env("proxy_enqueue_shared_queue", &[1, DATA, 1]).unwrap(), status);
    }
    assert_eq!(wasm.env("proxy_dequeue_shared_queue", &[1, 0, 4]).unwrap(), 0);
    for (kind, name, status) in [(0, "c", 0), (1, "c", 2), (2, "h", 0), (1, "g", 0), (1, "f", 10)] {
        let [at, len] = wasm.put(DATA, name.as_bytes());
        assert_eq!(wasm.env("proxy_define_metric", &[kind, at, len, 0]).unwrap(), status);
    }
    for (id, offset, status) in [(1, 1, 0), (1, u64::MAX, 2), (9, 1, 1)] {
        assert_eq!(wasm.import("env", "proxy_increment_metric", &[id, offset]).unwrap(), status);
    }
    assert_eq!(wasm.import("env", "proxy_record_metric", &[1, 1]).unwrap(), 0);
    for (id, status) in [(1, 0), (2, 2), (9, 1)] {
        assert_eq!(wasm.env("proxy_get_metric", &[id, 0]).unwrap(), status);
    }
    for (name, status) in [("echo", 0), ("bad argument", 2), ("no form", 3), ("fails", 10), ("else", 1)] {
        assert_eq!(call(wasm, "proxy_call_foreign_function", &[name, ""], &[0, 0]), status);
    }
}

#[test]
fn every_listed_status_is_reached_and_no_other() {
    let reached = Reached::default();
    let mut rig = watched(&reached);
    *rig.shared.known.lock().unwrap() = vec![
        ("known".into(), Property::Value(Bytes::from_static(b"yes"))),
        ("broken".into(), Property::Unserializable),
    ];
    rig.exchange().body_limit = 1 << 15;
    callouts::allow(&mut rig, 320);
    rig.request(with_mistakes);
    let mut rig = watched(&reached);
    rig.request(with_stores);
    let mut rig = watched(&reached);
    let root = rig.root;
    if let Some(Context::Plugin { pending_done, .. }) = rig.instance.state().contexts.get_mut(root) {
        *pending_done = true;
    }
    rig.request(with_zeros);
    let mut rig = watched(&reached);
    let (stream, root) = (rig.stream, rig.root);
    rig.run(Callback::Tick, root, move |wasm| {
        with_zeros(wasm);
        assert_eq!(wasm.env("proxy_set_effective_context", &[stream])?, Status::Ok as u32);
        Ok(())
    })
    .unwrap();

    let mut listed = BTreeSet::new();
    for row in TABLE.iter().filter(|row| row.answer == Answer::Status) {
        listed.extend(row.statuses.iter().map(|status| (row.name, status.as_str())));
    }
    assert_eq!(*reached.lock().unwrap(), listed);
}

#[test]
fn the_functions_of_0_1_0_have_both_types_and_do_the_same() {
    for silent in [false, true] {
        let mut rig = Rig::of(&module(V010, silent));
        rig.request(move |wasm| {
            for name in ["proxy_continue_request", "proxy_continue_response", "proxy_clear_route_cache"] {
                assert_eq!(wasm.env(name, &[]).unwrap(), 0);
            }
            // A name that is not there has an empty value.
            assert_eq!(wasm.header(0, "x-missing"), Ok(Vec::new()));
        });
        assert_eq!(rig.board().effects.len(), 2);
    }
    assert_eq!(Rig::new().request(|wasm| wasm.header(0, "x-missing")), Err(Status::NotFound as u32));
}

#[test]
fn logging_time_and_configuration() {
    let mut rig = Rig::new();
    let (root, stream) = (rig.root, rig.stream);
    rig.request(move |wasm| {
        assert_eq!(wasm.env("proxy_get_log_level", &[0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 3);
        assert_eq!(wasm.env("proxy_get_current_time_nanoseconds", &[1]).unwrap(), 0);
        assert_eq!(wasm.u64_at(1), 0x0102_0304_0506_0708);
        wasm.put(8, &[0xff; 4]);
        assert_eq!(wasm.env("proxy_get_status", &[8, 0, 4]).unwrap(), 0);
        assert_eq!((wasm.u32_at(8), wasm.given()), (0, Vec::new()));
        let [text, len] = wasm.put(DATA, b"any\xff\0bytes\n");
        assert_eq!(wasm.env("proxy_log", &[5, text, len]).unwrap(), 0);
        wasm.env("proxy_set_effective_context", &[root]).unwrap();
        assert_eq!(wasm.env("proxy_log", &[0, 0, 0x1_ffff]).unwrap(), 0);
    });
    let logs = rig.take_logs();
    assert_eq!(logs[0].1, b"any\xff\0bytes\n");
    assert_eq!((logs[0].2, logs[0].3), (stream, Some(Callback::RequestHeaders)));
    assert_eq!((logs[1].1.len(), logs[1].2), (64 << 10, root), "a line is cut");

    let (other_root, other) = (rig.other_root, rig.other);
    let configuration = |wasm: &mut Wasm<'_>| {
        assert_eq!(wasm.env("proxy_get_configuration", &[0, 4])?, 0);
        Ok((wasm.given(), wasm.buffer(6, 3, u32::MAX), wasm.buffer(7, 0, 6)))
    };
    let none = Err(Status::NotFound as u32);
    let seen = rig.run(Callback::VmStart, root, configuration).unwrap();
    assert_eq!(seen, (b"vm configuration".to_vec(), Ok(b"configuration".to_vec()), none.clone()));
    let seen = rig.run(Callback::Configure, root, configuration).unwrap();
    assert_eq!(seen, (b"configuration".to_vec(), none.clone(), Ok(b"config".to_vec())));
    let seen = rig.run(Callback::Configure, other_root, configuration).unwrap();
    assert_eq!(seen.2, Ok(b"second".to_vec()));
    let seen = rig.run(Callback::Tick, root, configuration).unwrap();
    assert_eq!(seen, (Vec::new(), none.clone(), none));
    let flags = rig.run(Callback::Configure, root, |wasm| {
        wasm.put(8, &[0xff; 8]);
        wasm.env("proxy_get_buffer_status", &[7, 8, 12])?;
        Ok((wasm.u32_at(8), wasm.u32_at(12)))
    });
    assert_eq!(flags.unwrap(), (13, 0));
    let _ = other;
}

//! A guest that is stopped ends its instance, and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::LogLevel;
use chassis_engine_api::Profile;
use chassis_host::{PluginId, Reason, StreamKey};

use crate::guest::callbacks;
use crate::rig::{HOST_FAILS, LONG, Rig, spec};

cases! {
    each_engine: [
        an_unreachable,
        a_division_by_zero,
        an_endless_loop,
        an_endless_loop_in_the_allocator,
        endless_growth_of_memory,
        endless_recursion,
        an_exit,
        a_host_function_where_it_is_not_allowed,
        what_a_stopped_entry_asked_for_is_dropped,
        a_stream_whose_response_has_passed_whole_is_not_touched,
        a_request_is_cut_off_where_its_response_has_passed,
        a_stream_whose_response_has_begun_is_reset,
        streams_that_the_vm_did_not_carry_go_on,
        the_crash_is_logged_with_its_frames,
        the_same_plugin_twice_in_a_chain,
        a_crash_while_a_stream_of_the_same_vm_is_resumed,
        a_failure_of_the_host_ends_the_vm_too,
    ]
}

/// How a guest ends, as its function `$crash`, and the kind that the host calls it.
struct Ending {
    code: &'static str,
    kind: &'static str,
}

const CALLBACKS: [&str; 11] = [
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_tick",
    "proxy_on_done",
    "proxy_on_log",
    "proxy_on_delete",
];

/// A guest that ends in one callback, once a stream with `x-boom` was created. Each stream context passes through all
/// callbacks; a timer runs.
fn bomb(callback: &str, ending: &Ending) -> String {
    let mut body = format!(
        r#"(global $armed (mut i32) (i32.const 0))
           (func $crash {})
           (func $maybe (if (global.get $armed) (then (call $crash))))
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick (i32.const 100))) (i32.const 1))"#,
        ending.code
    );
    for name in CALLBACKS {
        let (ty, result) = match name {
            "proxy_on_context_create" => ("(param i32 i32)", ""),
            "proxy_on_tick" | "proxy_on_log" | "proxy_on_delete" => ("(param i32)", ""),
            "proxy_on_done" => ("(param i32) (result i32)", "(i32.const 1)"),
            name if name.ends_with("trailers") => ("(param i32 i32) (result i32)", "(i32.const 0)"),
            _ => ("(param i32 i32 i32) (result i32)", "(i32.const 0)"),
        };
        let arm = match name {
            "proxy_on_context_create" => {
                "(if (i32.eqz (call $get_header (i32.const 0) @\"x-boom\" (i32.const 0) (i32.const 4)))
                   (then (global.set $armed (i32.const 1))))"
            }
            _ => "",
        };
        let act = if name == callback { "(call $maybe)" } else { "" };
        body.push_str(&format!("(func (export \"{name}\") {ty} {arm} {act} {result})\n"));
    }
    body
}

/// Lets everything of a stream happen, the tick included, without taking anything.
fn live(rig: &mut Rig, plugins: &[PluginId], headers: &[(&'static str, &'static str)]) -> StreamKey {
    let trailers = || [("t", "1")].into_iter().collect();
    let key = rig.open(plugins, headers);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), false);
    rig.worker.request_trailers(key, trailers());
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    rig.worker.response_body(key, Bytes::from_static(b"ok"), false);
    rig.worker.response_trailers(key, trailers());
    rig.tick();
    key
}

fn ends_alone(engine: &'static str, ending: &Ending) {
    for callback in CALLBACKS {
        let mut rig = Rig::new(engine);
        let calm = rig.add("calm", &callbacks(&["proxy_on_response_headers"], "(call $say @\"calm\") (i32.const 0)"));
        let bomb = rig.add("bomb", &bomb(callback, ending));
        let other = rig.get(&[calm], &[]);
        let carried = rig.get(&[calm, bomb], &[]);
        rig.lines();

        let start = Instant::now();
        let key = live(&mut rig, &[calm, bomb], &[("x-boom", "1")]);
        let at_the_end = ["proxy_on_done", "proxy_on_log", "proxy_on_delete"].contains(&callback);
        if at_the_end {
            // The client has its answer already; what comes then is the end of the stream.
            assert_eq!(rig.response(key).unwrap().status(), "200");
        } else {
            assert_eq!(rig.response(key).unwrap().status(), "503", "{callback}");
            let crash = rig.worker.crash(key).unwrap();
            assert_eq!((crash.plugin.as_str(), crash.callback, crash.kind), ("bomb", callback, ending.kind));
        }
        rig.worker.close(key);
        assert!(start.elapsed() < Duration::from_millis(1500), "{callback} took {:?}", start.elapsed());

        // What the VM carried is answered, and told why.
        let answer = rig.response(carried).unwrap();
        assert_eq!((answer.status(), answer.body.as_str()), ("503", "Service Unavailable\n"), "{callback}");
        let crash = rig.worker.crash(carried).unwrap();
        assert_eq!((crash.callback, crash.kind), (callback, ending.kind));
        rig.worker.close(carried);
        let reports = rig.lines().into_iter().filter(|line| line.reason == Reason::Crash).count();
        assert_eq!(reports, 1, "{callback}: one crash, one line");

        // The other plugin has noticed nothing, and the spare serves at once.
        rig.lines();
        rig.reply(other);
        assert_eq!(rig.response(other).unwrap().status(), "200");
        assert_eq!(rig.said(), ["calm"]);
        assert!(rig.worker.next_timer().is_some(), "the spare has its timer");
        let next = live(&mut rig, &[calm, bomb], &[]);
        assert_eq!(rig.response(next).unwrap().status(), "200", "{callback}");
        rig.worker.close(next);

        // And so it does after another crash.
        rig.worker.wait_prepared(LONG);
        let again = live(&mut rig, &[calm, bomb], &[("x-boom", "1")]);
        rig.worker.close(again);
        let next = live(&mut rig, &[calm, bomb], &[]);
        assert_eq!(rig.response(next).unwrap().status(), "200", "{callback}, again");
    }
}

fn an_unreachable(engine: &'static str) {
    ends_alone(engine, &Ending { code: "unreachable", kind: "trap" });
}

fn a_division_by_zero(engine: &'static str) {
    ends_alone(engine, &Ending { code: "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 32))))", kind: "trap" });
}

fn an_endless_loop(engine: &'static str) {
    ends_alone(engine, &Ending { code: "(loop $l (br $l))", kind: "deadline" });
}

fn an_endless_loop_in_the_allocator(engine: &'static str) {
    let code = r#"(global.set $broken_allocator (i32.const 1))
      (drop (call $get_property @"plugin_name" (i32.const 0) (i32.const 4)))"#;
    ends_alone(engine, &Ending { code, kind: "deadline" });
}

fn endless_growth_of_memory(engine: &'static str) {
    // Asks for ever; what it is not granted is not there to be written to.
    let code = r#"(local $last i32)
      (loop $more
        (local.set $last (i32.mul (memory.size) (i32.const 65536)))
        (drop (memory.grow (i32.const 8)))
        (i32.store (local.get $last) (i32.const 1))
        (br $more))"#;
    ends_alone(engine, &Ending { code, kind: "trap" });
}

fn endless_recursion(engine: &'static str) {
    ends_alone(engine, &Ending { code: "(call $crash)", kind: "trap" });
}

fn an_exit(engine: &'static str) {
    ends_alone(engine, &Ending { code: "(call $exit (i32.const 3))", kind: "exit" });
}

fn a_host_function_where_it_is_not_allowed(engine: &'static str) {
    let guest = r#"
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_done" (func $done (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 64) ":path")
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (drop (call $done)) (i32.const 1024))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 0) (i32.const 4)))
        (i32.const 0))"#;
    let mut rig = Rig::new(engine);
    let plugin = crate::rig::load(engine, spec("guest"), &format!("(module {guest})")).unwrap();
    let plugin = rig.worker.add_plugin(plugin, vec![Bytes::new()]).unwrap();
    let key = rig.get(&[plugin], &[]);
    assert_eq!(rig.response(key).unwrap().status(), "503");
    let crash = rig.worker.crash(key).unwrap();
    assert_eq!((crash.kind, crash.message.as_str()), ("host", "proxy_done may not be called in the allocator"));
}

fn what_a_stopped_entry_asked_for_is_dropped(engine: &'static str) {
    let guest = r#"
      (func (export "proxy_on_context_create") (param i32 i32) (drop (call $set_tick (i32.const 7000))))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $answer (i32.const 200) @"fine")
        (drop (call $set_tick (i32.const 1)))
        (drop (call $close (i32.const 0)))
        unreachable)"#;
    let (mut rig, plugin) = Rig::with(engine, guest);
    let (set, now) = (rig.worker.next_timer().unwrap(), Instant::now());
    let key = rig.get(&[plugin], &[]);
    let progress = rig.progress(key);
    assert!(progress.answered && !progress.reset);
    assert_eq!(rig.response(key).unwrap().body, "Service Unavailable\n");
    // The only timer is the new VM's, which its own start set.
    let next = rig.worker.next_timer().unwrap();
    assert!(next > set && next > now + Duration::from_secs(6));
    // What the guest said before it ended is kept.
    assert_eq!(rig.said(), ["s0"]);
}

const BOMB_TICK: &str = "(func (export \"proxy_on_configure\") (param i32 i32) (result i32)
    (drop (call $set_tick (i32.const 100))) (i32.const 1))
  (func (export \"proxy_on_tick\") (param i32) unreachable)";

fn a_stream_whose_response_has_passed_whole_is_not_touched(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, BOMB_TICK);
    let key = rig.get(&[plugin], &[]);
    rig.reply(key);
    // The client has taken the headers and is slow to take the body.
    rig.worker.take_headers(key, chassis_abi::Direction::Response);
    rig.tick();
    let progress = rig.progress(key);
    assert!(!progress.reset && !progress.answered && progress.response.ended);
    assert_eq!(rig.response(key).unwrap().body, "ok");
    rig.worker.close(key);
}

fn a_request_is_cut_off_where_its_response_has_passed(engine: &'static str) {
    let guest = format!("{BOMB_TICK} {}", callbacks(&["proxy_on_request_body"], "(i32.const 1)"));
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let key = rig.open(&[plugin], &[]);
    rig.worker.request_headers(key, false);
    rig.worker.request_body(key, Bytes::from_static(b"abc"), true);
    rig.reply(key);
    rig.worker.take_headers(key, chassis_abi::Direction::Response);
    rig.tick();
    rig.calls();
    rig.worker.request_body(key, Bytes::from_static(b"def"), true);
    // The VM that took over has not seen how it began, and what was held back does not pass for the whole.
    assert!(rig.calls().is_empty());
    let progress = rig.progress(key);
    assert!(progress.request.cut && !progress.request.ended && !progress.reset);
    assert_eq!(rig.response(key).unwrap().body, "ok");
}

fn a_stream_whose_response_has_begun_is_reset(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, BOMB_TICK);
    let key = rig.get(&[plugin], &[]);
    rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    assert_eq!(rig.response(key).unwrap().status(), "200");
    rig.tick();
    assert!(rig.progress(key).reset);
    rig.worker.response_body(key, Bytes::from_static(b"ok"), true);
    assert_eq!(rig.progress(key).response.body, 0);
}

fn streams_that_the_vm_did_not_carry_go_on(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let hold = rig.add("hold", &callbacks(&["proxy_on_request_headers"], "(i32.const 1)"));
    let bomb = rig.add("bomb", BOMB_TICK);
    // Its way to the bomb has not come yet, so it meets the VM that takes over.
    let key = rig.get(&[hold, bomb], &[]);
    rig.tick();
    let progress = rig.progress(key);
    assert!(progress.request.paused && !progress.answered && rig.worker.crash(key).is_none());
}

fn the_crash_is_logged_with_its_frames(engine: &'static str) {
    let guest = r#"(func $inner unreachable)
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $inner) (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, guest);
    rig.lines();
    let key = rig.get(&[plugin], &[]);
    let [line] = &rig.lines()[..] else { panic!("one line") };
    assert_eq!((line.reason, line.level, line.plugin.as_str()), (Reason::Crash, LogLevel::Error, "guest"));
    assert_eq!((line.callback, line.context), ("proxy_on_request_headers", 0));
    assert!(line.message.starts_with("trap: unreachable"), "{}", line.message);
    let frames = &rig.worker.crash(key).unwrap().backtrace;
    let capabilities = chassis_engines::open(engine, Profile::Deadline).unwrap().capabilities();
    if capabilities.backtrace.is_some() {
        assert!(line.message.contains("inner"), "{}", line.message);
        assert_eq!(frames.len(), 2);
    } else {
        assert!(frames.is_empty());
    }
}

fn the_same_plugin_twice_in_a_chain(engine: &'static str) {
    let guest = "(func (export \"proxy_on_done\") (param i32) (result i32) unreachable)";
    let (mut rig, plugin) = Rig::with(engine, guest);
    let key = rig.get(&[plugin, plugin], &[]);
    rig.reply(key);
    assert_eq!(rig.response(key).unwrap().status(), "200");
    rig.lines();
    rig.worker.close(key);
    // The second context went with the VM of the first.
    assert_eq!(rig.lines().len(), 1);
    assert_eq!(rig.worker.progress(key), None);
}

fn a_crash_while_a_stream_of_the_same_vm_is_resumed(engine: &'static str) {
    // Context 2 pauses; the next one resumes it and then ends: the resumption is dropped, and both get 503.
    let guest = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eq (local.get 0) (i32.const 2)) (then (return (i32.const 1))))
        (drop (call $set_effective (i32.const 2)))
        (drop (call $continue (i32.const 0)))
        unreachable)"#;
    let (mut rig, plugin) = Rig::with(engine, guest);
    let (held, key) = (rig.get(&[plugin], &[]), rig.get(&[plugin], &[]));
    for key in [held, key] {
        assert_eq!(rig.response(key).unwrap().status(), "503");
        assert!(!rig.progress(key).request.headers);
    }
}

fn a_failure_of_the_host_ends_the_vm_too(engine: &'static str) {
    let guest = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get_header (i32.const 0) @"x-boom" (i32.const 0) (i32.const 4)))
          (then (call $say @"{HOST_FAILS}")))
        (i32.const 1))"#
    );
    let (mut rig, plugin) = Rig::with(engine, &guest);
    let held = rig.get(&[plugin], &[]);
    let key = rig.get(&[plugin], &[("x-boom", "1")]);
    for key in [held, key] {
        assert_eq!(rig.response(key).unwrap().status(), "503");
        let crash = rig.worker.crash(key).unwrap();
        assert_eq!((crash.callback, crash.kind), ("proxy_on_request_headers", "host"));
        rig.worker.close(key);
    }
    let next = rig.get(&[plugin], &[]);
    assert!(rig.progress(next).request.paused && rig.worker.crash(next).is_none());
}

//! What plugins share, within a worker and between workers.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{ForeignCall, ForeignCallback, ForeignError, Identity};
use chassis_host::{PluginLimits, PluginSpec, Reason, Stores};

use crate::guest::callbacks;
use crate::rig::{LONG, Rig, spec};

cases! {
    each_engine: [
        items_reach_a_consumer_on_another_thread_one_signal_each,
        the_last_that_registered_consumes,
        a_plugin_is_signalled_for_its_own_items,
        a_consumer_that_ends_leaves_its_items_and_loses_its_signals,
        nothing_comes_for_a_worker_that_is_gone,
        signals_are_delivered_in_turns,
        shared_data_survives_the_vm_and_is_one_for_all_workers,
        a_vm_id_is_a_space_of_its_own,
        quotas_are_those_of_the_plugin,
        metrics_are_one_for_all_workers_and_count_across_a_crash,
        a_foreign_function_answers_and_edits_the_stream,
        a_foreign_function_calls_back_from_another_thread,
        a_call_back_to_a_vm_that_ended_is_dropped,
        the_hosts_own_functions,
    ]
}

/// Registers the queue `q` when it is configured, and says what it gets out of it.
const CONSUMER: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $register @"q" (i32.const 0))) (i32.const 1))
  (func (export "proxy_on_queue_ready") (param i32 i32)
    (call $say_given (call $dequeue (local.get 1) (i32.const 0) (i32.const 4))))"#;

/// Puts `count` items into the queue `q` for each request, and says how the last one went.
fn producer(count: u32) -> String {
    let body = format!(
        r#"(local $left i32)
           (call $say_digit @"r" (call $resolve @"" @"q" (i32.const 0)))
           (local.set $left (i32.const {count}))
           (loop $more
             (drop (call $enqueue (i32.load (i32.const 0)) @"item"))
             (local.set $left (i32.sub (local.get $left) (i32.const 1)))
             (br_if $more (local.get $left)))
           (i32.const 0)"#
    );
    callbacks(&["proxy_on_request_headers"], &body)
}

fn signals(rig: &Rig) -> Vec<String> {
    rig.calls().into_iter().filter(|call| call.starts_with("proxy_on_queue_ready")).collect()
}

/// Tells a channel.
struct Bell(Mutex<Sender<()>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

fn items_reach_a_consumer_on_another_thread_one_signal_each(engine: &'static str) {
    const ITEMS: usize = 300;
    let stores = Stores::new();
    let (ready, is_ready) = channel();
    let consumer = {
        let stores = stores.clone();
        thread::spawn(move || {
            let mut rig = Rig::sharing(engine, stores);
            let (rung, rings) = channel();
            rig.worker.set_waker(Some(Waker::from(Arc::new(Bell(Mutex::new(rung))))));
            rig.add("consumer", CONSUMER);
            rig.calls();
            ready.send(()).unwrap();
            let (mut calls, mut said) = (Vec::new(), Vec::new());
            while said.len() < ITEMS && rings.recv_timeout(LONG).is_ok() {
                rig.worker.receive_prepared();
                calls.extend(signals(&rig));
                said.extend(rig.said());
            }
            rig.worker.receive_prepared();
            calls.extend(signals(&rig));
            (calls, said)
        })
    };
    is_ready.recv_timeout(LONG).unwrap();
    let mut rig = Rig::sharing(engine, stores);
    let plugin = rig.add("producer", &producer(3));
    for _ in 0..ITEMS / 3 {
        rig.round_trip(&[plugin], &[]).unwrap();
    }
    assert!(signals(&rig).is_empty(), "the producer's own worker has no part in it");
    let (calls, said) = consumer.join().unwrap();
    assert_eq!(calls, vec!["proxy_on_queue_ready(1, 1)"; ITEMS]);
    assert_eq!(said, vec!["item"; ITEMS]);
}

fn the_last_that_registered_consumes(engine: &'static str) {
    let stores = Stores::new();
    let mut first = Rig::sharing(engine, stores.clone());
    first.add("consumer", CONSUMER);
    let mut last = Rig::sharing(engine, stores);
    last.add("consumer", CONSUMER);
    let plugin = first.add("producer", &producer(2));
    first.round_trip(&[plugin], &[]);
    assert!(last.worker.has_work());
    last.worker.receive_prepared();
    assert_eq!((signals(&first).len(), signals(&last).len()), (0, 2));
    assert_eq!(last.said(), ["item", "item"]);
}

fn a_plugin_is_signalled_for_its_own_items(engine: &'static str) {
    let guest = format!("{CONSUMER}{}", producer(2));
    let (mut rig, plugin) = Rig::with(engine, &guest);
    rig.calls();
    let key = rig.get(&[plugin], &[]);
    // Not within the callback that put them there, but before the event is over.
    let seen: Vec<String> = rig.calls().into_iter().map(|call| call[..call.find('(').unwrap()].to_owned()).collect();
    let expected =
        ["proxy_on_context_create", "proxy_on_request_headers", "proxy_on_queue_ready", "proxy_on_queue_ready"];
    assert_eq!(seen[seen.len() - 3..], expected[1..]);
    assert_eq!(rig.said(), ["r0", "item", "item"]);
    rig.worker.close(key);
}

fn a_consumer_that_ends_leaves_its_items_and_loses_its_signals(engine: &'static str) {
    // The first one ends at its first signal; the one that takes over does not.
    let consumer = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register @"q" (i32.const 0))) (i32.const 1))
      (func (export "proxy_on_queue_ready") (param i32 i32)
        (if (call $get_shared @"crashed" (i32.const 0) (i32.const 4) (i32.const 8)) (then
          (drop (call $set_shared @"crashed" @"yes" (i32.const 0)))
          (unreachable)))
        (call $say_given (call $dequeue (local.get 1) (i32.const 0) (i32.const 4))))"#;
    let mut rig = Rig::new(engine);
    rig.add("consumer", consumer);
    let plugin = rig.add("producer", &producer(3));
    rig.calls();
    rig.round_trip(&[plugin], &[]);
    assert_eq!(signals(&rig), ["proxy_on_queue_ready(1, 1) !! trap"]);
    assert!(!rig.worker.has_work());
    rig.worker.wait_prepared(LONG);
    assert!(signals(&rig).is_empty());
    rig.said();
    // Four items are there, and one signal for the new one.
    let one_more = rig.add("one more", &producer(1));
    rig.round_trip(&[one_more], &[]);
    assert_eq!(signals(&rig), ["proxy_on_queue_ready(1, 1)"]);
    assert_eq!(rig.said(), ["r0", "item"]);
    let rest = callbacks(
        &["proxy_on_request_headers"],
        r#"(drop (call $resolve @"" @"q" (i32.const 32)))
           (loop $more
             (call $say_given (call $dequeue (i32.load (i32.const 32)) (i32.const 0) (i32.const 4)))
             (br_if $more (i32.eqz (i32.eq (i32.load (i32.const 16)) (i32.const 0x656e6f6e)))))
           (i32.const 0)"#,
    );
    let rest = rig.add("rest", &rest);
    rig.round_trip(&[rest], &[]);
    assert_eq!(rig.said(), ["item", "item", "item", "none"]);
}

fn nothing_comes_for_a_worker_that_is_gone(engine: &'static str) {
    let mut consumer = Rig::new(engine);
    consumer.add("consumer", CONSUMER);
    let stores = consumer.stores.clone();
    drop(consumer);
    let mut rig = Rig::sharing(engine, stores);
    let plugin = rig.add("producer", &producer(2));
    rig.round_trip(&[plugin], &[]);
    assert_eq!(rig.said(), ["r0"], "the queue is still there");
    // Who consumes it next finds what is in it, and hears of what comes.
    let both = format!("{CONSUMER}{}", producer(1));
    let both = rig.add("both", &both);
    rig.calls();
    rig.round_trip(&[both], &[]);
    assert_eq!(signals(&rig).len(), 1);
    assert_eq!(rig.said(), ["r0", "item"]);
}

fn signals_are_delivered_in_turns(engine: &'static str) {
    const ITEMS: u32 = 1000;
    let mut rig = Rig::new(engine);
    rig.add("consumer", CONSUMER);
    let mut producing = spec("producer");
    producing.limits.deadline = Duration::from_secs(5);
    let plugin = rig.add_with(&producing, &producer(ITEMS), &[""]).unwrap();
    rig.calls();
    let key = rig.get(&[plugin], &[]);
    let mut turns = vec![signals(&rig).len()];
    while rig.worker.has_work() {
        rig.worker.receive_prepared();
        turns.push(signals(&rig).len());
    }
    assert!(turns.len() > 3 && turns.iter().all(|turn| *turn <= 256), "{turns:?}");
    assert_eq!(turns.iter().sum::<usize>(), ITEMS as usize);
    rig.worker.close(key);
}

/// Says what is under `k`, then sets it to `v`; a request with a header `die` ends the instance after that.
fn keeper() -> String {
    callbacks(
        &["proxy_on_request_headers"],
        r#"(call $say_given (call $get_shared @"k" (i32.const 0) (i32.const 4) (i32.const 8)))
           (call $say_digit @"s" (call $set_shared @"k" @"v" (i32.const 0)))
           (if (i32.eqz (call $get_header (i32.const 0) @"die" (i32.const 0) (i32.const 4))) (then (unreachable)))
           (i32.const 0)"#,
    )
}

fn shared_data_survives_the_vm_and_is_one_for_all_workers(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &keeper());
    let response = rig.round_trip(&[plugin], &[("die", "1")]).unwrap();
    assert_eq!(response.status(), "503");
    rig.worker.wait_prepared(LONG);
    rig.round_trip(&[plugin], &[]).unwrap();
    assert_eq!(rig.said(), ["none", "s0", "v", "s0"]);
    let mut other = Rig::sharing(engine, rig.stores.clone());
    drop(rig);
    let plugin = other.add("other", &keeper());
    other.round_trip(&[plugin], &[]).unwrap();
    assert_eq!(other.said(), ["v", "s0"]);
}

fn a_vm_id_is_a_space_of_its_own(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let of = |vm_id: &str| {
        let identity = Identity { name: format!("plugin of {vm_id}"), vm_id: vm_id.to_owned(), ..Identity::default() };
        PluginSpec { identity, ..spec("") }
    };
    let [a, b] = ["a", "b"].map(|vm_id| rig.add_with(&of(vm_id), &keeper(), &[""]).unwrap());
    for plugin in [a, a, b] {
        rig.round_trip(&[plugin], &[]);
    }
    assert_eq!(rig.said(), ["none", "s0", "v", "s0", "none", "s0"]);
}

fn quotas_are_those_of_the_plugin(engine: &'static str) {
    let guest = callbacks(
        &["proxy_on_request_headers"],
        r#"(call $say_digit @"d" (call $set_shared @"k" @"12345" (i32.const 0)))
           (call $say_digit @"q" (i32.div_u (call $register @"q" (i32.const 0)) (i32.const 2)))
           (call $say_digit @"m" (i32.div_u (call $define (i32.const 0) @"m" (i32.const 0)) (i32.const 2)))
           (i32.const 0)"#,
    );
    let limited = |shared_data, queues, metrics| PluginSpec {
        limits: PluginLimits { shared_data, queues, metrics, ..spec("").limits },
        ..spec("p")
    };
    // 64 bytes are what an entry costs besides its own, and four times as many a queue.
    for (limits, said) in [
        (limited(6 + 64, 1 + 256, 1), ["d0", "q0", "m0"]),
        (limited(5 + 64, 256, 0), ["d:", "q5", "m5"]),
        (limited(0, 0, 0), ["d:", "q5", "m5"]),
    ] {
        let mut rig = Rig::new(engine);
        let plugin = rig.add_with(&limits, &guest, &[""]).unwrap();
        rig.round_trip(&[plugin], &[]);
        assert_eq!(rig.said(), said, "{:?}", limits.limits);
    }
}

fn metrics_are_one_for_all_workers_and_count_across_a_crash(engine: &'static str) {
    let counter = r#"
      (global $metric (mut i32) (i32.const 0))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $define (i32.const 0) @"requests.total" (i32.const 0)))
        (global.set $metric (i32.load (i32.const 0)))
        (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $increment (global.get $metric) (i64.const 2)))
        (if (i32.eqz (call $get_header (i32.const 0) @"die" (i32.const 0) (i32.const 4))) (then (unreachable)))
        (i32.const 0))"#;
    let stores = Stores::new();
    let threads = [(); 2].map(|()| {
        let stores = stores.clone();
        thread::spawn(move || {
            let mut rig = Rig::sharing(engine, stores);
            let plugin = rig.add("p\"", counter);
            for i in 0..50 {
                let headers: &[_] = if i == 20 { &[("die", "1")] } else { &[] };
                rig.round_trip(&[plugin], headers);
                rig.worker.wait_prepared(LONG);
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let expected = "# TYPE wasmcustom_requests_total counter\n\
         wasmcustom_requests_total{plugin=\"p\\\"\",metric=\"requests.total\"} 200\n";
    assert_eq!(stores.prometheus(), expected);
}

/// Calls the foreign function `f` with the argument `text`, says what it answers, and in each call back its number and its
/// arguments. A request with a header `die` ends the instance after that.
const CALLER: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    ;; A return pointer of 0 would say that the answer is not wanted.
    (drop (call $foreign @"f" @"text" (i32.const 32) (i32.const 36)))
    (call $say (i32.load (i32.const 32)) (i32.load (i32.const 36)))
    (if (i32.eqz (call $get_header (i32.const 0) @"die" (i32.const 0) (i32.const 4))) (then (unreachable)))
    (i32.const 0))
  (func (export "proxy_on_foreign_function") (param i32 i32 i32)
    (call $say_digit @"f" (local.get 1))
    (call $say_digit @"n" (local.get 2))
    (call $say_given (call $get_buffer (i32.const 8) (i32.const 0) (i32.const 100) (i32.const 0) (i32.const 4))))"#;

fn a_foreign_function_answers_and_edits_the_stream(engine: &'static str) {
    let mut rig = Rig::new(engine);
    rig.stores.register_function("f", |call: &mut ForeignCall<'_>| {
        let exchange = call.exchange.as_mut().ok_or(ForeignError::NotFound)?;
        exchange.request.headers.add(b"x-from", call.plugin.name.as_bytes()).map_err(|_| ForeignError::BadArgument)?;
        Ok(call.arguments.to_ascii_uppercase().into())
    });
    let plugin = rig.add("caller", CALLER);
    let key = rig.get(&[plugin], &[]);
    let request = rig.passed(key, chassis_abi::Direction::Request).unwrap();
    assert_eq!(request.header("x-from"), Some("caller"));
    assert_eq!(rig.said(), ["TEXT"]);
    rig.worker.close(key);
}

/// A function `f` that gives its callback away.
fn with_callbacks(rig: &Rig) -> std::sync::mpsc::Receiver<ForeignCallback> {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    rig.stores.register_function("f", move |call: &mut ForeignCall<'_>| {
        let callback = call.callback();
        // What is called at once comes later all the same.
        assert!(callback.call(1, Bytes::from_static(b"at once")));
        sender.lock().unwrap().send(callback).unwrap();
        Ok(Bytes::new())
    });
    receiver
}

fn a_foreign_function_calls_back_from_another_thread(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let callbacks = with_callbacks(&rig);
    let (rung, rings) = channel();
    rig.worker.set_waker(Some(Waker::from(Arc::new(Bell(Mutex::new(rung))))));
    let plugin = rig.add("caller", CALLER);
    rig.round_trip(&[plugin], &[]);
    assert_eq!(rig.said(), ["", "f1", "n7", "at once"]);
    while rings.try_recv().is_ok() {}
    let callback = callbacks.recv().unwrap();
    let thread = thread::spawn(move || assert!((2..4).all(|i| callback.call(i, Bytes::from_static(b"later")))));
    rings.recv_timeout(LONG).unwrap();
    thread.join().unwrap();
    rig.calls();
    rig.worker.receive_prepared();
    assert_eq!(rig.calls(), ["proxy_on_foreign_function(1, 2, 5)", "proxy_on_foreign_function(1, 3, 5)"]);
    assert_eq!(rig.said(), ["f2", "n5", "later", "f3", "n5", "later"]);
}

fn a_call_back_to_a_vm_that_ended_is_dropped(engine: &'static str) {
    let mut rig = Rig::new(engine);
    let callbacks = with_callbacks(&rig);
    let plugin = rig.add("caller", CALLER);
    // The entry was stopped: its effects are dropped, and so is what was called at once.
    rig.round_trip(&[plugin], &[("die", "1")]);
    rig.worker.wait_prepared(LONG);
    rig.round_trip(&[plugin], &[]);
    let (lost, heard) = (callbacks.recv().unwrap(), callbacks.recv().unwrap());
    rig.lines();
    lost.call(8, Bytes::new());
    heard.call(9, Bytes::new());
    rig.worker.receive_prepared();
    assert_eq!(rig.said(), ["f9", "n0", ""]);
    rig.round_trip(&[plugin], &[("die", "1")]);
    rig.worker.wait_prepared(LONG);
    let crashes = rig.lines().iter().filter(|line| line.reason == Reason::Crash).count();
    assert_eq!(crashes, 1);
    heard.call(9, Bytes::new());
    rig.worker.receive_prepared();
    assert!(rig.said().is_empty());
    drop(rig);
    assert!(!heard.call(9, Bytes::new()), "the worker is gone");
}

fn the_hosts_own_functions(engine: &'static str) {
    let guest = callbacks(
        &["proxy_on_request_headers"],
        r#"(call $say_digit @"c" (call $foreign @"compress" @"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" (i32.const 32) (i32.const 36)))
           (drop (call $foreign @"uncompress" (i32.load (i32.const 32)) (i32.load (i32.const 36)) (i32.const 32) (i32.const 36)))
           (call $say (i32.load (i32.const 32)) (i32.load (i32.const 36)))
           (call $say_digit @"b" (call $foreign @"uncompress" @"no zlib" (i32.const 0) (i32.const 4)))
           (call $say_digit @"r" (call $foreign @"clear_route_cache" @"" (i32.const 0) (i32.const 0)))
           (drop (call $foreign @"get_log_level" @"" (i32.const 32) (i32.const 36)))
           (call $say_digit @"l" (i32.load (i32.load (i32.const 32))))
           ;; A path `p` and a value `value`, as a protocol buffers message.
           (i64.store (i32.const 48) (i64.const 0x6c6176051270010a))
           (i32.store16 (i32.const 56) (i32.const 0x6575))
           (call $say_digit @"e" (call $foreign @"set_envoy_filter_state" (i32.const 48) (i32.const 10) (i32.const 0) (i32.const 4)))
           (call $say_given (call $get_property (call $with_nul @"filter_state.p") (i32.const 0) (i32.const 4)))
           (drop (call $set_shared @"key" @"value" (i32.const 0)))
           (call $say_digit @"k" (call $foreign @"shared_data_keys" @"k" (i32.const 32) (i32.const 36)))
           (call $say (i32.add (i32.load (i32.const 32)) (i32.const 4)) (i32.sub (i32.load (i32.const 36)) (i32.const 4)))
           (call $say_digit @"d" (call $foreign @"shared_data_delete" @"key" (i32.const 0) (i32.const 4)))
           (call $say_digit @"d" (call $foreign @"shared_data_delete" @"key" (i32.const 0) (i32.const 4)))
           (i32.const 0)"#,
    );
    // Where a dot is in the texts, there is to be a NUL.
    let with_nul = r#"
      (func $with_nul (param i32 i32) (result i32 i32)
        (i32.store8 (i32.add (local.get 0) (i32.const 12)) (i32.const 0))
        (local.get 0) (local.get 1))"#;
    let guest = format!("{with_nul}{guest}");
    let (mut rig, plugin) = Rig::with(engine, &guest);
    rig.round_trip(&[plugin], &[]);
    let same = "a".repeat(32);
    assert_eq!(rig.said(), ["c0", &same, "b3", "r0", "l0", "e0", "value", "k0", "key", "d0", "d1"]);
}

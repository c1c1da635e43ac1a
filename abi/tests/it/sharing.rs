//! Shared data, queues, metrics and foreign functions: what they answer, and that nothing is lost on the way.

use bytes::Bytes;
use chassis_abi::{Callback, Effect};

use crate::rig::{Allocator, DATA, END, Rig, Wasm};

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const BAD_MEMORY: u32 = 6;
const EMPTY: u32 = 7;
const CAS_MISMATCH: u32 = 8;
const FULL: u32 = 10;

/// Calls with texts where the function takes bytes, and numbers before, between and behind them.
fn call(wasm: &mut Wasm<'_>, name: &str, texts: &[&str], before: &[u32], behind: &[u32]) -> u32 {
    let mut args: Vec<u32> = before.to_vec();
    for (i, text) in texts.iter().enumerate() {
        args.extend(wasm.put(DATA + 0x400 * i as u32, text.as_bytes()));
    }
    args.extend(behind);
    wasm.env(name, &args).unwrap()
}

fn get(wasm: &mut Wasm<'_>, key: &str) -> Result<(Vec<u8>, u32), u32> {
    match call(wasm, "proxy_get_shared_data", &[key], &[], &[0, 4, 8]) {
        OK => Ok((wasm.given(), wasm.u32_at(8))),
        status => Err(status),
    }
}

fn set(wasm: &mut Wasm<'_>, key: &str, value: &str, cas: u32) -> u32 {
    call(wasm, "proxy_set_shared_data", &[key, value], &[], &[cas])
}

fn register(wasm: &mut Wasm<'_>, name: &str) -> u32 {
    assert_eq!(call(wasm, "proxy_register_shared_queue", &[name], &[], &[0]), OK);
    wasm.u32_at(0)
}

fn dequeue(wasm: &mut Wasm<'_>, queue: u32) -> Result<Vec<u8>, u32> {
    match wasm.env("proxy_dequeue_shared_queue", &[queue, 0, 4]).unwrap() {
        OK => Ok(wasm.given()),
        status => Err(status),
    }
}

#[test]
fn shared_data_is_set_and_got() {
    Rig::new().request(|wasm| {
        assert_eq!(get(wasm, "k"), Err(NOT_FOUND));
        assert_eq!(set(wasm, "k", "v", 9), CAS_MISMATCH);
        assert_eq!(set(wasm, "k", "v", 0), OK);
        assert_eq!(get(wasm, "k"), Ok((b"v".to_vec(), 1)));
        assert_eq!(set(wasm, "k", "", 1), OK);
        assert_eq!(get(wasm, "k"), Ok((Vec::new(), 2)));
        assert_eq!(set(wasm, "k", "w", 1), CAS_MISMATCH);
        for (key, status) in [("l", OK), ("", OK), ("m", FULL)] {
            assert_eq!(set(wasm, key, "", 0), status, "{key}");
        }
    });
}

/// RC-005.
#[test]
fn a_cas_outside_the_memory_is_refused_before_the_allocator_is_asked() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        set(wasm, "k", "v", 0);
        assert_eq!(call(wasm, "proxy_get_shared_data", &["k"], &[], &[0, 4, END - 3]), BAD_MEMORY);
    });
    assert!(rig.shared.asked.lock().unwrap().is_empty());
    assert_eq!(rig.request(|wasm| get(wasm, "k")), Ok((b"v".to_vec(), 1)));
}

/// RC-006 and RC-007.
#[test]
fn nothing_is_made_for_a_number_that_has_no_place() {
    let mut rig = Rig::new();
    let before = rig.snapshot();
    rig.request(|wasm| {
        assert_eq!(call(wasm, "proxy_register_shared_queue", &["q"], &[], &[END - 3]), BAD_MEMORY);
        assert_eq!(call(wasm, "proxy_define_metric", &["m"], &[0], &[END - 3]), BAD_MEMORY);
    });
    assert_eq!(rig.snapshot(), before);
    rig.request(|wasm| assert_eq!(call(wasm, "proxy_resolve_shared_queue", &["vm", "q"], &[], &[0]), NOT_FOUND));
}

#[test]
fn queues_are_found_by_name_and_pass_items_on_in_order() {
    let mut rig = Rig::new();
    let (stream, root) = (rig.stream, rig.root);
    rig.run(Callback::RequestHeaders, stream, |wasm| {
        let queue = register(wasm, "q");
        assert_eq!(register(wasm, "q"), queue);
        for (vm_id, name, status) in [("vm", "q", OK), ("", "q", OK), ("other", "q", NOT_FOUND), ("", "r", NOT_FOUND)] {
            wasm.put(0, &[0xff; 4]);
            assert_eq!(call(wasm, "proxy_resolve_shared_queue", &[vm_id, name], &[], &[0]), status, "{vm_id} {name}");
            assert_eq!(wasm.u32_at(0), if status == OK { queue } else { u32::MAX });
        }
        assert_eq!(dequeue(wasm, queue), Err(EMPTY));
        assert_eq!(dequeue(wasm, 7), Err(NOT_FOUND));
        assert_eq!(call(wasm, "proxy_enqueue_shared_queue", &["x"], &[7], &[]), NOT_FOUND);
        for (item, status) in [("one", OK), ("", OK), ("three", OK), ("four", FULL)] {
            assert_eq!(call(wasm, "proxy_enqueue_shared_queue", &[item], &[queue], &[]), status);
        }
        for item in ["one", "", "three"] {
            assert_eq!(dequeue(wasm, queue), Ok(item.into()));
        }
        for name in ["r", "s"] {
            register(wasm, name);
        }
        assert_eq!(call(wasm, "proxy_register_shared_queue", &["t"], &[], &[0]), FULL);
        Ok(())
    })
    .unwrap();
    // The plugin context consumes, whichever context registered; each item is one signal.
    let consume = |queue| Effect::ConsumeQueue { context: root, queue };
    let expected = [consume(1), Effect::WakeConsumer { queue: 1, items: 3 }, consume(2), consume(3)];
    assert_eq!(rig.board().effects, expected);
}

#[test]
fn the_context_that_registered_last_in_a_callback_consumes() {
    let mut rig = Rig::new();
    let (other, other_root) = (rig.other, rig.other_root);
    rig.request(move |wasm| {
        register(wasm, "q");
        wasm.env("proxy_set_effective_context", &[other]).unwrap();
        register(wasm, "q");
    });
    assert_eq!(rig.board().effects, [Effect::ConsumeQueue { context: other_root, queue: 1 }]);
}

#[test]
fn an_item_stays_in_the_queue_unless_it_was_handed_over() {
    let item = |wasm: &mut Wasm<'_>| {
        let queue = register(wasm, "q");
        for item in ["first", "second"] {
            assert_eq!(call(wasm, "proxy_enqueue_shared_queue", &[item], &[queue], &[]), OK);
        }
    };
    let both = |rig: &mut Rig| {
        rig.allocator(Allocator::Good);
        let items = rig.request(|wasm| [dequeue(wasm, 1), dequeue(wasm, 1), dequeue(wasm, 1)]);
        assert_eq!(items, [Ok(b"first".to_vec()), Ok(b"second".to_vec()), Err(EMPTY)]);
    };
    for slots in [[END - 3, 4], [0, END - 3], [u32::MAX, u32::MAX]] {
        let mut rig = Rig::new();
        rig.request(item);
        rig.request(move |wasm| {
            assert_eq!(wasm.env("proxy_dequeue_shared_queue", &[1, slots[0], slots[1]]).unwrap(), 6)
        });
        assert!(rig.shared.asked.lock().unwrap().is_empty());
        both(&mut rig);
    }
    for allocator in [Allocator::Answers(0), Allocator::Answers(END - 1), Allocator::Answers(u32::MAX)] {
        let mut rig = Rig::new();
        rig.request(item);
        rig.allocator(allocator);
        assert_eq!(rig.request(|wasm| dequeue(wasm, 1)), Err(BAD_MEMORY));
        both(&mut rig);
    }
    for allocator in [Allocator::Traps, Allocator::Exits, Allocator::Calls("env", "proxy_done")] {
        let mut rig = Rig::new();
        rig.request(item);
        rig.allocator(allocator);
        let stream = rig.stream;
        rig.run(Callback::RequestHeaders, stream, |wasm| wasm.env("proxy_dequeue_shared_queue", &[1, 0, 4]))
            .unwrap_err();
        both(&mut rig);
    }
}

#[test]
fn the_signals_of_a_guest_that_is_stopped_are_dropped_and_its_items_stay() {
    let mut rig = Rig::new();
    let stream = rig.stream;
    rig.request(|wasm| register(wasm, "q"));
    let before = rig.board().effects.len();
    let stopped = rig.run(Callback::RequestHeaders, stream, |wasm| {
        call(wasm, "proxy_enqueue_shared_queue", &["x"], &[1], &[]);
        Err::<(), _>(chassis_engine_api::Stop::Exit(1))
    });
    assert!(stopped.is_err());
    assert_eq!(rig.board().effects.len(), before);
    assert_eq!(rig.request(|wasm| dequeue(wasm, 1)), Ok(b"x".to_vec()));
}

#[test]
fn metrics_are_counted_by_their_types() {
    Rig::new().request(|wasm| {
        let mut define = |kind: u32, name: &str| match call(wasm, "proxy_define_metric", &[name], &[kind], &[0]) {
            OK => Ok(wasm.u32_at(0)),
            status => Err(status),
        };
        assert_eq!(define(3, "x"), Err(BAD_ARGUMENT));
        let counter = define(0, "c").unwrap();
        assert_eq!(define(0, "c"), Ok(counter));
        assert_eq!(define(1, "c"), Err(BAD_ARGUMENT));
        let (gauge, histogram) = (define(1, "g").unwrap(), define(2, "h").unwrap());
        assert_eq!(define(0, "one more"), Err(FULL));
        let mut number =
            |name: &str, id: u32, value: i64| wasm.import("env", name, &[u64::from(id), value as u64]).unwrap();
        // 2^32 is more than 32 bits can hold.
        assert_eq!(number("proxy_increment_metric", counter, 1 << 32), OK);
        assert_eq!(number("proxy_increment_metric", counter, -1), BAD_ARGUMENT);
        assert_eq!(number("proxy_increment_metric", gauge, -1), OK);
        assert_eq!(number("proxy_increment_metric", 9, 1), NOT_FOUND);
        assert_eq!(number("proxy_record_metric", 0, 1), NOT_FOUND);
        assert_eq!(number("proxy_record_metric", histogram, -1), OK);
        let mut get = |id: u32| match wasm.env("proxy_get_metric", &[id, 1]).unwrap() {
            OK => Ok(wasm.u64_at(1)),
            status => Err(status),
        };
        assert_eq!(get(counter), Ok(1 << 32));
        assert_eq!(get(gauge), Ok(u64::MAX));
        assert_eq!((get(histogram), get(u32::MAX)), (Err(BAD_ARGUMENT), Err(NOT_FOUND)));
    });
}

fn foreign(wasm: &mut Wasm<'_>, name: &str, arguments: &str, slots: [u32; 2]) -> u32 {
    call(wasm, "proxy_call_foreign_function", &[name, arguments], &[], &slots)
}

#[test]
fn foreign_functions_get_what_they_need_and_say_how_it_went() {
    let mut rig = Rig::new();
    let (root, stream) = (rig.root, rig.stream);
    rig.request(move |wasm| {
        assert_eq!(foreign(wasm, "echo", "text", [16, 20]), OK);
        let (at, len) = (wasm.u32_at(16) as usize, wasm.u32_at(20) as usize);
        assert_eq!(wasm.host.memory()[at..at + len], *b"text");
        let statuses = [("nothing", 1), ("bad argument", 2), ("no form", 3), ("fails", 10)];
        for (name, status) in statuses {
            assert_eq!(foreign(wasm, name, "", [16, 20]), status, "{name}");
        }
        wasm.env("proxy_set_effective_context", &[root]).unwrap();
        assert_eq!(foreign(wasm, "echo", "", [16, 20]), OK);
        assert_eq!((wasm.u32_at(16), wasm.u32_at(20)), (0, 0));
    });
    let called = std::mem::take(&mut rig.shared.shelf.0.lock().unwrap().called);
    let echo = b"echo".to_vec();
    assert_eq!(called, [(echo.clone(), b"text".to_vec(), stream, true), (echo, Vec::new(), root, false)]);
    assert!(rig.board().effects.is_empty());
}

#[test]
fn a_guest_need_not_want_what_a_foreign_function_answers() {
    let mut rig = Rig::new();
    rig.allocator(Allocator::Traps);
    rig.request(|wasm| {
        wasm.put(0, &[0xee; 32]);
        assert_eq!(foreign(wasm, "echo", "text", [0, 0]), OK);
        assert_eq!(foreign(wasm, "echo", "text", [16, 0]), OK);
        assert_eq!(wasm.host.memory()[..32], [0xee; 32]);
        assert_eq!(foreign(wasm, "echo", "text", [0, 16]), OK);
        assert_eq!(wasm.u32_at(16), 4);
        for slots in [[0, END - 3], [END - 3, 0], [16, END], [END, 16]] {
            assert_eq!(foreign(wasm, "echo", "text", slots), BAD_MEMORY, "{slots:x?}");
        }
    });
    assert_eq!(rig.shared.shelf.0.lock().unwrap().called.len(), 3, "it is not called if its answer has no place");
}

#[test]
fn a_foreign_function_may_call_back_and_its_arguments_are_buffer_8() {
    let mut rig = Rig::new();
    let (root, stream) = (rig.root, rig.stream);
    rig.request(|wasm| assert_eq!(foreign(wasm, "later", "", [16, 20]), OK));
    let callback = rig.shared.shelf.0.lock().unwrap().callback.take().unwrap();
    assert_eq!(rig.board().effects, [Effect::ListenForeign { context: root, callback: callback.clone() }]);
    assert!(callback.call(1, Bytes::from_static(b"early")));
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    callback.connect(std::sync::Arc::new(move |function, arguments| {
        sender.lock().unwrap().send((function, arguments)).is_ok()
    }));
    assert!(callback.call(2, Bytes::new()));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [(1, Bytes::from_static(b"early")), (2, Bytes::new())]);
    drop(receiver);
    assert!(!callback.call(3, Bytes::new()));

    rig.instance.state().foreign_arguments = Bytes::from_static(b"arguments");
    let read = |wasm: &mut Wasm<'_>| Ok((wasm.buffer(8, 3, 4), wasm.env("proxy_get_buffer_status", &[8, 0, 4])?));
    assert_eq!(rig.run(Callback::ForeignFunction, root, read).unwrap(), (Ok(b"umen".to_vec()), OK));
    assert_eq!(rig.run(Callback::Tick, root, read).unwrap(), (Err(NOT_FOUND), NOT_FOUND));
    assert_eq!(rig.run(Callback::RequestHeaders, stream, read).unwrap(), (Err(NOT_FOUND), NOT_FOUND));
    let set = |wasm: &mut Wasm<'_>| wasm.env("proxy_set_buffer_bytes", &[8, 0, 1, 0, 0]);
    assert_eq!(rig.run(Callback::ForeignFunction, root, set).unwrap(), BAD_ARGUMENT);
}

#[test]
fn callbacks_wait_up_to_a_limit() {
    let callback = chassis_abi::ForeignCallback::default();
    assert!((0..1024).all(|i| callback.call(i, Bytes::new())));
    assert!(!callback.call(0, Bytes::new()));
}

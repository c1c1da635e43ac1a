//! VMs from the preparer's thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Exchange, Identity, LogLevel, LogRecord, NoRandomness, Property, Services};
use chassis_host::{HostServices, LogLine, LogSink, Preparer, Worker};

use crate::guest::{callbacks, guest};
use crate::rig::{LONG, Rig, load, spec};

cases! {
    each_engine: [
        the_spare_is_started_on_another_thread,
        a_stream_waits_for_a_vm_and_goes_on_with_it,
        there_is_one_spare_however_many_crashes_come,
        a_vm_that_cannot_be_started_again_fails_its_streams,
        the_embedder_is_woken_when_a_vm_is_there,
        a_host_that_fails_while_it_starts_a_vm_leaves_nobody_waiting,
    ]
}

const TRAP: &str = "unreachable";

fn bomb() -> String {
    let action = "(if (i32.eqz (call $get_header (i32.const 0) @\"x-boom\" (i32.const 0) (i32.const 4)))
      (then unreachable)) (i32.const 0)";
    callbacks(&["proxy_on_request_headers"], action)
}

/// Services that say on which thread something was logged.
struct Threads(HostServices, mpsc::Sender<Option<String>>);

impl Services for Threads {
    fn realtime_nanos(&mut self) -> u64 {
        self.0.realtime_nanos()
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.0.monotonic_nanos()
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.random(out)
    }

    fn log(&mut self, record: LogRecord<'_>) {
        assert_ne!(record.message, b"panic", "a test of what a panic of the host does");
        self.1.send(std::thread::current().name().map(str::to_owned)).unwrap();
    }

    fn log_level(&mut self, plugin: &Identity) -> LogLevel {
        self.0.log_level(plugin)
    }

    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        self.0.property(exchange, path)
    }
}

struct Nobody;

impl LogSink for Nobody {
    fn log(&self, _line: &LogLine<'_>) {}
}

fn services(threads: &mpsc::Sender<Option<String>>) -> Box<dyn Services> {
    Box::new(Threads(HostServices::new(Arc::new(Nobody), LogLevel::Trace), threads.clone()))
}

fn the_spare_is_started_on_another_thread(engine: &'static str) {
    let (sender, threads) = mpsc::channel();
    let spare_sender = sender.clone();
    let preparer = Preparer::new(Arc::new(move || services(&spare_sender))).unwrap();
    let mut worker = Worker::new(services(&sender), Arc::new(Nobody), preparer);
    let body = guest("(func (export \"_initialize\") (call $say @\"x\"))");
    let plugin = load(engine, spec("guest"), &body).unwrap();
    worker.add_plugin(plugin, vec![Bytes::new()]).unwrap();
    let here = std::thread::current().name().map(str::to_owned);
    assert_eq!(threads.recv_timeout(LONG).unwrap(), here);
    assert_eq!(threads.recv_timeout(LONG).unwrap().as_deref(), Some("chassis-preparer"));
    worker.wait_prepared(LONG);
    assert!(threads.try_recv().is_err(), "there is one spare");
}

fn a_stream_waits_for_a_vm_and_goes_on_with_it(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &bomb());
    // The spare takes over at once; the next VM is not taken from the preparer before the next crash.
    for _ in 0..2 {
        let key = rig.get(&[plugin], &[("x-boom", "1")]);
        assert_eq!(rig.response(key).unwrap().status(), "503");
        rig.worker.close(key);
    }
    let key = rig.get(&[plugin], &[]);
    rig.worker.request_body(key, Bytes::from_static(b"dropped"), true);
    let progress = rig.progress(key);
    assert!(progress.waits_for_vm && !progress.answered && !progress.request.headers && !progress.request.paused);
    rig.worker.wait_prepared(LONG);
    let progress = rig.progress(key);
    assert!(!progress.waits_for_vm && progress.request.headers && progress.request.ended);
    rig.reply(key);
    assert_eq!(rig.response(key).unwrap().status(), "200");
}

fn there_is_one_spare_however_many_crashes_come(engine: &'static str) {
    let guest = bomb()
        + "(func (export \"proxy_on_vm_start\") (param i32 i32) (result i32) (call $say @\"start\") (i32.const 1))";
    let (mut rig, plugin) = Rig::with(engine, &guest);
    assert_eq!(rig.said().len(), 2);
    for round in 0..3 {
        // The first crash takes the spare; a second one finds none and what was ordered becomes the VM.
        for crash in 0..2 {
            let key = rig.get(&[plugin], &[("x-boom", "1")]);
            assert_eq!(rig.response(key).unwrap().status(), "503", "{round} {crash}");
            rig.worker.close(key);
        }
        rig.worker.wait_prepared(LONG);
        let starts = rig.said().len();
        assert_eq!(starts, 2, "two crashes cost two starts");
    }
}

fn a_vm_that_cannot_be_started_again_fails_its_streams(engine: &'static str) {
    // It starts only where there is a property that the worker's services have and the preparer's have not.
    let guest = bomb()
        + r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
               (i32.eqz (call $get_property @"first" (i32.const 0) (i32.const 4))))"#;
    let sink = Arc::new(Nobody);
    let preparer = {
        let sink = sink.clone();
        Preparer::new(Arc::new(move || Box::new(HostServices::new(sink.clone(), LogLevel::Trace)) as Box<dyn Services>))
            .unwrap()
    };
    let properties = [(b"first".to_vec(), Bytes::from_static(b"1"))].into_iter().collect();
    let services = HostServices::new(sink.clone(), LogLevel::Trace).with_properties(Arc::new(properties));
    let mut worker = Worker::new(Box::new(services), sink, preparer);
    let plugin = load(engine, spec("guest"), &crate::guest::guest(&guest)).unwrap();
    let plugin = worker.add_plugin(plugin, vec![Bytes::new()]).unwrap();
    worker.wait_prepared(LONG);
    let link = chassis_host::Link { plugin, configuration: 0 };
    let mut get = |headers: &[(&'static str, &'static str)]| {
        let key = worker.open([link].into(), headers.iter().copied().collect(), []);
        worker.request_headers(key, true);
        worker.wait_prepared(LONG);
        let progress = worker.progress(key).unwrap();
        let crash = worker.crash(key).cloned();
        let status = worker.take_headers(key, chassis_abi::Direction::Response).get(b":status").cloned();
        worker.close(key);
        (progress.answered, status, crash)
    };
    assert!(!get(&[]).0);
    // The VM ends and there is no other: the stream, and those that come, get 503 at once and are told why.
    let (_, status, crash) = get(&[("x-boom", "1")]);
    assert_eq!((status.unwrap(), crash.unwrap().kind), (Bytes::from("503"), "trap"));
    for _ in 0..3 {
        let (answered, status, crash) = get(&[]);
        let crash = crash.unwrap();
        assert!(answered && status.unwrap() == "503");
        assert_eq!((crash.kind, crash.message.as_str()), ("start", "proxy_on_vm_start refused to start"));
    }
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn the_embedder_is_woken_when_a_vm_is_there(engine: &'static str) {
    let (mut rig, plugin) = Rig::with(engine, &callbacks(&["proxy_on_request_headers"], TRAP));
    let bell = Arc::new(Bell::default());
    rig.worker.set_waker(Some(Waker::from(bell.clone())));
    rig.get(&[plugin], &[]);
    let start = std::time::Instant::now();
    while bell.0.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(1));
    }
    rig.worker.receive_prepared();
    // It was the spare: the next crash does not have to wait.
    rig.get(&[plugin], &[]);
    let key = rig.get(&[plugin], &[]);
    assert_eq!(rig.response(key).unwrap().status(), "503");
}

fn a_host_that_fails_while_it_starts_a_vm_leaves_nobody_waiting(engine: &'static str) {
    let (sender, _threads) = mpsc::channel();
    let preparer = Preparer::new(Arc::new(move || services(&sender))).unwrap();
    let here = HostServices::new(Arc::new(Nobody), LogLevel::Trace);
    let mut worker = Worker::new(Box::new(here), Arc::new(Nobody), preparer);
    let body = guest("(func (export \"_initialize\") (call $say @\"panic\"))");
    let bad = load(engine, spec("bad"), &body).unwrap();
    let good = load(engine, spec("good"), &guest(&callbacks(&["proxy_on_request_headers"], TRAP))).unwrap();
    worker.add_plugin(bad, vec![Bytes::new()]).unwrap();
    let start = std::time::Instant::now();
    worker.wait_prepared(LONG);
    assert!(start.elapsed() < LONG);
    // The thread lives on: it starts others.
    let good = worker.add_plugin(good, vec![Bytes::new()]).unwrap();
    worker.wait_prepared(LONG);
    let link = chassis_host::Link { plugin: good, configuration: 0 };
    for _ in 0..2 {
        let key = worker.open([link].into(), [(":method", "GET")].into_iter().collect(), []);
        worker.request_headers(key, true);
        assert!(worker.progress(key).unwrap().answered, "the spare is there");
        worker.close(key);
    }
}

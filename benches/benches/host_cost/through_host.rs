//! The same guest in a worker, as a gateway would run it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{Direction, EXPORTS, HeaderList, Identity, LogLevel, ProxyWasm, Services, VmState};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{AnyEngine, Engine, erase};
use chassis_host::{
    FailPolicy, HostServices, Link, LogLine, LogSink, Plugin, PluginLimits, PluginSpec, Preparer, StreamKey, Worker,
};

use crate::Side;

struct Silent;

impl LogSink for Silent {
    fn log(&self, line: &LogLine<'_>) {
        panic!("{}: {}", line.plugin, line.message);
    }
}

/// A worker with one plugin, whose spare is ready, and the chain of that plugin.
pub(crate) fn worker<E: Engine>(engine: E, guest: PathBuf) -> (Worker, Arc<[Link]>) {
    let services = || Box::new(HostServices::new(Arc::new(Silent), LogLevel::Info)) as Box<dyn Services>;
    let mut worker = Worker::new(services(), Arc::new(Silent), Preparer::new(Arc::new(services)).unwrap());
    let spec = PluginSpec {
        identity: Identity { name: "guest".to_owned(), ..Identity::default() },
        file: guest,
        limits: PluginLimits::default(),
        fail_policy: FailPolicy::Closed,
    };
    let engine: Arc<dyn AnyEngine<VmState>> = erase::<E, ProxyWasm, VmState>(engine, EXPORTS);
    let plugin = Plugin::load(spec, &*engine, &CompilePolicy::InProcess).unwrap();
    let plugin = worker.add_plugin(plugin, vec![Bytes::new(); CONTEXTS]).unwrap();
    worker.wait_prepared(Duration::from_secs(60));
    (worker, [Link { plugin, configuration: 0 }].into())
}

/// How many plugin contexts the VM has: configurations of its plugin.
pub(crate) const CONTEXTS: usize = 32;

pub(crate) struct ThroughHost {
    worker: Worker,
    stream: StreamKey,
    now: Instant,
}

impl ThroughHost {
    pub(crate) fn new<E: Engine>(engine: E, guest: PathBuf) -> Self {
        let (mut worker, links) = worker(engine, guest);
        let stream = worker.open(links, crate::headers().into_iter().collect::<HeaderList>(), []);
        worker.request_headers(stream, false);
        ThroughHost { worker, stream, now: Instant::now() }
    }
}

impl Side for ThroughHost {
    /// The ticks of all plugin contexts, whose timers are all due.
    fn empty_callbacks(&mut self) {
        self.now += Duration::from_millis(1);
        self.worker.run_timers(self.now);
    }

    fn body(&mut self, size: u32) {
        self.worker.request_body(self.stream, Bytes::from_static(&[b'x'; 2][..size as usize]), false);
        assert!(self.worker.take_body(self.stream, Direction::Request).is_some());
    }
}

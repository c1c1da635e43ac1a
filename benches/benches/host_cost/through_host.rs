//! The same guest in a worker, as a gateway would run it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList};
use chassis_engine_api::Engine;
use chassis_host::{StreamKey, Worker};

use crate::{Side, life};

/// How many plugin contexts the VM has: configurations of its plugin.
pub(crate) const CONTEXTS: usize = 32;

pub(crate) struct ThroughHost {
    worker: Worker,
    stream: StreamKey,
    now: Instant,
}

impl ThroughHost {
    pub(crate) fn new<E: Engine>(engine: E, guest: Vec<u8>) -> Self {
        let (mut worker, links) = life::worker(engine, guest, CONTEXTS);
        let stream = worker.open(links, life::headers().into_iter().collect::<HeaderList>(), []);
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

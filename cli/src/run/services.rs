//! The outside world of a guest under `chassis run`: what it logs is recorded, and its timer need not be waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{Exchange, Identity, LogLevel, LogRecord, Property, Services};
use chassis_host::{HostServices, LogLine, LogSink};

use super::record::Recorder;

/// The time, which can be put forward: to the next tick instead of waiting for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    ahead: Arc<AtomicU64>,
}

impl Clock {
    /// Now, as guests see it.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + Duration::from_nanos(self.ahead())
    }

    /// Puts it forward.
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }
}

/// Services whose log lines go to a recorder.
pub(crate) struct RunServices {
    pub(crate) system: HostServices,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) clock: Clock,
    pub(crate) level: LogLevel,
    pub(crate) properties: Arc<HashMap<Vec<u8>, Bytes>>,
}

impl Services for RunServices {
    fn realtime_nanos(&mut self) -> u64 {
        self.system.realtime_nanos().saturating_add(self.clock.ahead())
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.system.monotonic_nanos().saturating_add(self.clock.ahead())
    }

    fn random(&mut self, out: &mut [u8]) {
        self.system.random(out);
    }

    fn log(&mut self, record: LogRecord<'_>) {
        if record.level < self.level {
            return;
        }
        if let Some(recorder) = &self.recorder {
            recorder.line(&record);
        }
    }

    fn log_level(&mut self, _plugin: &Identity) -> LogLevel {
        self.level
    }

    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        match self.properties.get(&path.join(&b'.')) {
            Some(value) => Property::Value(value.clone()),
            None => self.system.property(exchange, path),
        }
    }
}

/// Drops the worker's own words, which say what the recorder knows.
pub(crate) struct Silent;

impl LogSink for Silent {
    fn log(&self, _line: &LogLine<'_>) {}
}

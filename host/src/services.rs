//! The services that answer host calls from the outside world.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chassis_abi::{Exchange, Identity, LogLevel, LogRecord, NoRandomness, Property, Services, SharedServices};
use rustc_hash::FxHashMap;

use crate::log::{LogLine, LogSink, Reason, escape};
use crate::properties::{attribute, is_group};
use crate::stores::{StoreAccess, Stores};

/// Makes the services of one worker, or of the preparer.
pub type ServicesFactory = Arc<dyn Fn() -> Box<dyn Services> + Send + Sync>;

/// Clocks and random numbers of the system, a log sink, properties from the stream, and stores.
pub struct HostServices {
    start: Instant,
    sink: Arc<dyn LogSink>,
    level: LogLevel,
    overrides: Arc<FxHashMap<Vec<u8>, Bytes>>,
    /// How much each plugin logs, by its name: one that logs much does not silence the others.
    rates: HashMap<String, LogRate>,
    stores: StoreAccess,
}

impl HostServices {
    /// Services that log to `sink` what is at `level` or above, with stores of their own.
    pub fn new(sink: Arc<dyn LogSink>, level: LogLevel) -> Self {
        HostServices {
            start: Instant::now(),
            sink,
            level,
            overrides: Arc::default(),
            rates: HashMap::new(),
            stores: StoreAccess::new(Stores::new()),
        }
    }

    /// Has plugins share what is in these stores. The workers of a process have the same ones, and so has their preparer.
    #[must_use]
    pub fn with_stores(mut self, stores: Arc<Stores>) -> Self {
        self.stores = StoreAccess::new(stores);
        self
    }

    /// Answers these properties, by path with dots, instead of what the stream says.
    #[must_use]
    pub fn with_properties(mut self, properties: Arc<FxHashMap<Vec<u8>, Bytes>>) -> Self {
        self.overrides = properties;
        self
    }
}

impl Services for HostServices {
    fn realtime_nanos(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic_nanos(&mut self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(out).map_err(|_| NoRandomness)
    }

    fn log(&mut self, record: LogRecord<'_>) {
        if record.level < self.level {
            return;
        }
        let rate = match self.rates.get_mut(&record.plugin.name) {
            Some(rate) => rate,
            None => self.rates.entry(record.plugin.name.clone()).or_default(),
        };
        let Some(dropped) = rate.admit(self.start.elapsed().as_secs(), record.message.len()) else { return };
        let mut line = LogLine {
            reason: Reason::Guest,
            level: record.level,
            message: escape(record.message),
            plugin: &record.plugin.name,
            context: record.context,
            callback: record.callback.map_or("", |callback| callback.name()),
            exchange: record.exchange,
        };
        self.sink.log(&line);
        if dropped > 0 {
            line.level = LogLevel::Warn;
            line.message =
                format!("{dropped} log lines were dropped: over {MAX_BYTES_PER_SECOND} bytes a second").into();
            self.sink.log(&line);
        }
    }

    fn log_level(&mut self, _plugin: &Identity) -> LogLevel {
        self.level
    }

    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        if !self.overrides.is_empty()
            && let Some(value) = self.overrides.get(&path.join(&b'.'))
        {
            return Property::Value(value.clone());
        }
        match exchange.and_then(|exchange| attribute(exchange, path)) {
            Some(value) => Property::Value(value),
            None if exchange.is_some() && is_group(path) => Property::Unserializable,
            None => Property::NotFound,
        }
    }

    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        Some(&mut self.stores)
    }
}

/// How much each plugin of a worker may log each second.
const MAX_BYTES_PER_SECOND: usize = 1 << 20;

/// Counts log bytes by the second.
#[derive(Debug, Default)]
struct LogRate {
    second: u64,
    bytes: usize,
    dropped: u64,
}

impl LogRate {
    /// Whether a line may pass, and if so how many were dropped before it.
    fn admit(&mut self, second: u64, bytes: usize) -> Option<u64> {
        if second != self.second {
            self.second = second;
            self.bytes = 0;
        }
        // A line costs something even when it is empty.
        self.bytes = self.bytes.saturating_add(bytes + 64);
        if self.bytes > MAX_BYTES_PER_SECOND {
            self.dropped += 1;
            return None;
        }
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_dropped_and_counted() {
        let mut rate = LogRate::default();
        assert_eq!(rate.admit(1, MAX_BYTES_PER_SECOND - 64), Some(0));
        assert_eq!(rate.admit(1, 0), None);
        assert_eq!(rate.admit(1, 10), None);
        assert_eq!(rate.admit(2, 10), Some(2));
        assert_eq!(rate.admit(2, 10), Some(0));
    }
}

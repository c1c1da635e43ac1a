//! The outside world of a guest that is driven: what it logs is recorded, its timer need not be waited for, and
//! time and random numbers are the same on each engine, so that what engines do can be compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chassis_abi::{Exchange, Identity, LogLevel, LogRecord, NoRandomness, Property, Services, SharedServices};
use chassis_host::{HostServices, LogLine, LogSink, Stores};

use super::record::Recorder;

/// Where time and random numbers begin.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    start: Instant,
    realtime: Duration,
    seed: u64,
}

impl Origin {
    /// The same for each process: midnight of 1 January 2026, UTC, and one seed.
    pub fn fixed() -> Self {
        Origin { start: Instant::now(), realtime: Duration::from_secs(1_767_225_600), seed: 1 }
    }

    /// Now, and random numbers that nobody has seen; those of the time if the system has none.
    pub fn now() -> Self {
        let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut seed = [0; 8];
        let seed = match HostServices::new(Arc::new(Silent), LogLevel::Critical).random(&mut seed) {
            Ok(()) => u64::from_le_bytes(seed),
            Err(NoRandomness) => nanos(realtime),
        };
        Origin { start: Instant::now(), realtime, seed }
    }
}

/// A time that stands still unless it is put forward: to the next tick, instead of waiting for it.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    start: Instant,
    ahead: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn new(origin: &Origin) -> Self {
        Clock { start: origin.start, ahead: Arc::default() }
    }

    /// Now, as timers see it.
    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.ahead())
    }

    /// Puts it forward.
    pub(super) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(nanos(by), Ordering::Relaxed);
    }

    fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }
}

/// How much time passes for a guest between two looks at a clock; one that measures how long it takes must not divide
/// by nothing.
const LOOK: Duration = Duration::from_micros(1);

/// Services whose log lines go to a recorder.
pub(super) struct RunServices {
    system: HostServices,
    recorder: Option<Recorder>,
    clock: Clock,
    realtime: Duration,
    /// How often a guest has looked at a clock.
    looks: u64,
    random: u64,
    level: LogLevel,
    properties: Arc<HashMap<Vec<u8>, Bytes>>,
}

impl RunServices {
    /// Services from an origin; a VM that is not recorded has no recorder.
    pub(super) fn new(
        origin: &Origin,
        clock: Clock,
        recorder: Option<Recorder>,
        level: LogLevel,
        properties: Arc<HashMap<Vec<u8>, Bytes>>,
        stores: Arc<Stores>,
    ) -> Self {
        let system = HostServices::new(Arc::new(Silent), level).with_stores(stores);
        let Origin { realtime, seed: random, .. } = *origin;
        RunServices { system, recorder, clock, realtime, looks: 0, random, level, properties }
    }

    /// The time that has passed for the guest.
    fn passed(&mut self) -> u64 {
        self.looks += 1;
        self.clock.ahead().saturating_add(self.looks.saturating_mul(nanos(LOOK)))
    }
}

impl Services for RunServices {
    fn realtime_nanos(&mut self) -> u64 {
        nanos(self.realtime).saturating_add(self.passed())
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.passed()
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&split_mix(&mut self.random).to_le_bytes()[..piece.len()]);
        }
        Ok(())
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

    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        self.system.shared()
    }
}

/// The generator SplitMix64: spread well, and not secret, which nothing here needs.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Drops the worker's own words, which say what the recorder knows.
pub(super) struct Silent;

impl LogSink for Silent {
    fn log(&self, _line: &LogLine<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(origin: &Origin, clock: &Clock) -> RunServices {
        RunServices::new(origin, clock.clone(), None, LogLevel::Trace, Arc::default(), Stores::new())
    }

    #[test]
    fn engines_see_the_same_times_and_random_numbers() {
        let origin = Origin::now();
        let seen = || {
            let clock = Clock::new(&origin);
            let mut services = services(&origin, &clock);
            let mut random = [0; 21];
            services.random(&mut random).unwrap();
            let first = services.realtime_nanos();
            clock.advance(Duration::from_secs(3600));
            (random, first, services.monotonic_nanos(), services.realtime_nanos() - first)
        };
        let (random, _, monotonic, later) = seen();
        assert_eq!(seen(), seen());
        assert!(random.iter().any(|byte| *byte != 0));
        assert_eq!((monotonic, later), (3_600_000_002_000, 3_600_000_002_000));
    }

    /// The first numbers of the generator from 0, as in the reference implementation.
    #[test]
    fn the_generator_is_split_mix() {
        let mut state = 0;
        assert_eq!(split_mix(&mut state), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(&mut state), 0x6e78_9e6a_a1b9_65f4);
    }
}

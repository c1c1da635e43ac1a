//! What is counted of the requests of a route.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::{WorkerMetrics, add};

/// What one worker has counted for one route.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    /// By hundreds and the rest; what never came has no room.
    statuses: [OnceLock<Box<[AtomicU64; 100]>>; 9],
    latency: Histogram,
    upstream_latency: Histogram,
    /// Bytes of bodies of responses.
    sent: AtomicU64,
}

/// Upper bounds of latencies, in milliseconds: those of APISIX.
pub(super) const BOUNDS: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// How latencies are spread.
#[derive(Debug, Default)]
struct Histogram {
    /// How many were at most the bound at the same place, and more than the one before; at last those above all.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// The sum over workers of what was counted for a route.
#[derive(Debug, Default)]
pub(super) struct RouteTotals {
    pub(super) statuses: BTreeMap<usize, u64>,
    pub(super) latency: Latencies,
    pub(super) upstream_latency: Latencies,
    pub(super) sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Latencies {
    pub(super) counts: [u64; BOUNDS.len() + 1],
    pub(super) micros: u64,
}

impl RouteMetrics {
    /// Notes how long an upstream took until its response began, or failed.
    pub(crate) fn upstream_took(&self, time: Duration) {
        self.upstream_latency.record(time);
    }

    fn ends(&self, status: u16, time: Duration, sent: u64) {
        let (hundreds, rest) = (usize::from(status / 100), usize::from(status % 100));
        if let Some(class) = self.statuses.get(hundreds.wrapping_sub(1)) {
            let counts = class.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
            add(&counts[rest], 1);
        }
        self.latency.record(time);
        add(&self.sent, sent);
    }

    pub(super) fn add_to(&self, totals: &mut RouteTotals) {
        for (class, counts) in self.statuses.iter().enumerate() {
            let Some(counts) = class_counts(counts) else { continue };
            for (rest, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                *totals.statuses.entry((class + 1) * 100 + rest).or_default() += count;
            }
        }
        self.latency.add_to(&mut totals.latency);
        self.upstream_latency.add_to(&mut totals.upstream_latency);
        totals.sent += self.sent.load(Relaxed);
    }
}

fn class_counts(counts: &OnceLock<Box<[AtomicU64; 100]>>) -> Option<[u64; 100]> {
    counts.get().map(|counts| std::array::from_fn(|rest| counts[rest].load(Relaxed)))
}

impl Histogram {
    fn record(&self, time: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < time);
        add(&self.counts[bucket], 1);
        add(&self.micros, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn add_to(&self, sum: &mut Latencies) {
        sum.counts.iter_mut().zip(&self.counts).for_each(|(sum, count)| *sum += count.load(Relaxed));
        sum.micros = sum.micros.saturating_add(self.micros.load(Relaxed));
    }
}

/// A request, from when it came to when its response's body was dropped. It is counted then.
#[derive(Debug)]
pub(crate) struct Meter {
    worker: Arc<WorkerMetrics>,
    route: Option<Arc<RouteMetrics>>,
    begun: Instant,
    status: u16,
    sent: u64,
}

/// nginx's number for a client that went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// nginx's number for a connection that was closed without an answer.
const CLOSED: u16 = 444;

impl Meter {
    pub(crate) fn begin(worker: &Arc<WorkerMetrics>) -> Self {
        worker.request_begins();
        Meter { worker: Arc::clone(worker), route: None, begun: Instant::now(), status: CLIENT_GONE, sent: 0 }
    }

    /// Notes what it is counted with.
    pub(crate) fn set_route(&mut self, route: &Arc<RouteMetrics>) {
        self.route = Some(Arc::clone(route));
    }

    /// Notes the status of the response.
    pub(crate) fn answers(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Notes that the connection is closed without an answer.
    pub(crate) fn is_reset(&mut self) {
        self.status = CLOSED;
    }

    /// Counts bytes of the response's body.
    pub(crate) fn sends(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(route) = &self.route {
            route.ends(self.status, self.begun.elapsed(), self.sent);
        }
        self.worker.request_ends();
    }
}

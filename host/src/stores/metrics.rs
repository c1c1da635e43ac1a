//! Metrics that plugins define.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chassis_abi::{DefineMetricError, Identity, MetricError, MetricId, MetricType};
use parking_lot::{Mutex, RwLock};

use super::names::Names;

/// Metrics by number and, for each plugin, by name. They are never removed.
#[derive(Default)]
pub(super) struct Metrics(RwLock<Registry>);

#[derive(Default)]
struct Registry {
    /// By plugin and name as the guest has it.
    ids: HashMap<Box<str>, HashMap<Box<[u8]>, MetricId>>,
    /// By number; the first one is number 1.
    list: Vec<Arc<Metric>>,
    names: Names,
}

/// A metric of one plugin.
pub(super) struct Metric {
    pub(super) plugin: Box<str>,
    /// As the guest has it.
    pub(super) name: Box<[u8]>,
    /// What it is called outside.
    pub(super) family: Arc<str>,
    value: Value,
}

enum Value {
    Counter(AtomicU64),
    /// Gauges may pass below 0 where two workers change them at once.
    Gauge(AtomicI64),
    Histogram(Mutex<Histogram>),
}

/// How values are spread; always of the same size.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// How many values were at most the bound at the same place, and more than the one before; at last those above all.
    counts: [u64; BOUNDS.len() + 1],
    pub(super) sum: f64,
}

/// Upper bounds of buckets: those of Envoy, which suit milliseconds and bytes alike.
pub(super) const BOUNDS: [u64; 18] =
    [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000];

/// The longest name; a plugin with all the metrics that it may have is bounded in bytes by it.
const LONGEST_NAME: usize = 1024;

impl Metrics {
    pub(super) fn define(
        &self,
        plugin: &Identity,
        kind: MetricType,
        name: &[u8],
    ) -> Result<MetricId, DefineMetricError> {
        if let Some(found) = self.0.read().find(plugin, kind, name) {
            return found;
        }
        let mut registry = self.0.write();
        if let Some(found) = registry.find(plugin, kind, name) {
            return found;
        }
        let has = registry.ids.get(&*plugin.name).map_or(0, HashMap::len);
        let id = u32::try_from(registry.list.len() + 1).map_err(|_| DefineMetricError::Full)?;
        if has >= plugin.quotas.metrics || name.len() > LONGEST_NAME {
            return Err(DefineMetricError::Full);
        }
        let family = registry.names.family(name, kind);
        let metric = Metric { plugin: plugin.name.as_str().into(), name: name.into(), family, value: Value::new(kind) };
        registry.list.push(Arc::new(metric));
        registry.ids.entry(plugin.name.as_str().into()).or_default().insert(name.into(), id);
        Ok(id)
    }

    /// Adds to `known` the metrics that are not in it.
    pub(super) fn catch_up(&self, known: &mut Vec<Arc<Metric>>) {
        let registry = self.0.read();
        if let Some(unknown) = registry.list.get(known.len()..) {
            known.extend(unknown.iter().cloned());
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Metric>> {
        self.0.read().list.clone()
    }
}

impl Registry {
    /// The plugin's metric of this name, if there is one, or what is wrong with its type.
    fn find(&self, plugin: &Identity, kind: MetricType, name: &[u8]) -> Option<Result<MetricId, DefineMetricError>> {
        let id = *self.ids.get(&*plugin.name)?.get(name)?;
        let metric = self.list.get(id as usize - 1)?;
        Some(if metric.kind() == kind { Ok(id) } else { Err(DefineMetricError::OtherType) })
    }
}

impl Metric {
    pub(super) fn is_of(&self, plugin: &str) -> bool {
        *self.plugin == *plugin
    }

    pub(super) fn kind(&self) -> MetricType {
        match self.value {
            Value::Counter(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram(_) => MetricType::Histogram,
        }
    }

    pub(super) fn increment(&self, offset: i64) -> Result<(), MetricError> {
        match &self.value {
            Value::Counter(counter) => {
                let offset = u64::try_from(offset).map_err(|_| MetricError::BadArgument)?;
                counter.fetch_add(offset, Ordering::Relaxed);
            }
            Value::Gauge(gauge) => {
                gauge.fetch_add(offset, Ordering::Relaxed);
            }
            Value::Histogram(_) => return Err(MetricError::BadArgument),
        }
        Ok(())
    }

    pub(super) fn record(&self, value: u64) {
        match &self.value {
            Value::Counter(counter) => {
                counter.fetch_add(value, Ordering::Relaxed);
            }
            Value::Gauge(gauge) => gauge.store(value as i64, Ordering::Relaxed),
            Value::Histogram(histogram) => histogram.lock().record(value),
        }
    }

    pub(super) fn value(&self) -> Result<u64, MetricError> {
        match &self.value {
            Value::Counter(counter) => Ok(counter.load(Ordering::Relaxed)),
            Value::Gauge(gauge) => Ok(gauge.load(Ordering::Relaxed) as u64),
            Value::Histogram(_) => Err(MetricError::BadArgument),
        }
    }

    pub(super) fn read(&self) -> Reading {
        match &self.value {
            Value::Counter(counter) => Reading::Counter(counter.load(Ordering::Relaxed)),
            Value::Gauge(gauge) => Reading::Gauge(gauge.load(Ordering::Relaxed)),
            Value::Histogram(histogram) => Reading::Histogram(Box::new(histogram.lock().clone())),
        }
    }
}

/// What a metric is at.
pub(super) enum Reading {
    Counter(u64),
    Gauge(i64),
    Histogram(Box<Histogram>),
}

impl Value {
    fn new(kind: MetricType) -> Self {
        match kind {
            MetricType::Counter => Value::Counter(AtomicU64::new(0)),
            MetricType::Gauge => Value::Gauge(AtomicI64::new(0)),
            MetricType::Histogram => Value::Histogram(Mutex::default()),
        }
    }
}

impl Histogram {
    fn record(&mut self, value: u64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < value)] += 1;
        self.sum += value as f64;
    }

    /// How many values were at most each bound, and how many there were in all.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut counts = self.counts;
        for i in 1..counts.len() {
            counts[i] += counts[i - 1];
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use chassis_abi::Quotas;

    use super::*;

    fn plugin(name: &str, quota: usize) -> Identity {
        let quotas = Quotas { metrics: quota, ..Quotas::default() };
        Identity { name: name.to_owned(), quotas, ..Identity::default() }
    }

    fn metric(metrics: &Metrics, id: MetricId) -> Arc<Metric> {
        Arc::clone(&metrics.all()[id as usize - 1])
    }

    #[test]
    fn a_name_is_one_metric_of_one_type_for_each_plugin() {
        let metrics = Metrics::default();
        let (a, b) = (plugin("a", 2), plugin("b", 2));
        let first = metrics.define(&a, MetricType::Counter, b"m").unwrap();
        assert_eq!(first, 1);
        assert_eq!(metrics.define(&a, MetricType::Counter, b"m"), Ok(first));
        assert_eq!(metrics.define(&a, MetricType::Gauge, b"m"), Err(DefineMetricError::OtherType));
        let second = metrics.define(&b, MetricType::Gauge, b"m").unwrap();
        assert!(second != first && metric(&metrics, second).is_of("b") && !metric(&metrics, second).is_of("a"));
        metrics.define(&a, MetricType::Gauge, b"n").unwrap();
        assert_eq!(metrics.define(&a, MetricType::Gauge, b"o"), Err(DefineMetricError::Full));
        assert_eq!(metrics.define(&a, MetricType::Counter, b"m"), Ok(first), "what is there needs no room");
        let long = [b'x'; LONGEST_NAME + 1];
        assert_eq!(metrics.define(&b, MetricType::Gauge, &long), Err(DefineMetricError::Full));
        assert!(metrics.define(&b, MetricType::Gauge, &long[1..]).is_ok());
    }

    #[test]
    fn each_type_counts_in_its_way() {
        let metrics = Metrics::default();
        let a = plugin("a", 3);
        let [counter, gauge, histogram] = [MetricType::Counter, MetricType::Gauge, MetricType::Histogram]
            .map(|kind| metric(&metrics, metrics.define(&a, kind, kind.as_str().as_bytes()).unwrap()));
        counter.increment(5).unwrap();
        counter.increment(0).unwrap();
        counter.record(2);
        assert_eq!(counter.increment(-1), Err(MetricError::BadArgument));
        assert_eq!(counter.value(), Ok(7));
        gauge.record(10);
        gauge.increment(-12).unwrap();
        assert_eq!(gauge.value().map(|value| value as i64), Ok(-2));
        assert_eq!(histogram.increment(1), Err(MetricError::BadArgument));
        assert_eq!(histogram.value(), Err(MetricError::BadArgument));
        for value in [0, 1, 2, 5, 3_600_000, 3_600_001, u64::MAX] {
            histogram.record(value);
        }
        let Reading::Histogram(read) = histogram.read() else { panic!() };
        let counts = read.cumulative();
        assert_eq!((counts[0], counts[1], counts[2], counts[17], counts[18]), (2, 4, 4, 5, 7));
    }
}

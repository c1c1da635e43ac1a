//! What plugins share, in one process: data, queues, metrics and foreign functions.
//!
//! No lock is held while a guest runs or while an embedder's function does. Every byte that a guest leaves here is charged
//! to its plugin, by the plugin's name, and bounded by its [`Quotas`](chassis_abi::Quotas).

mod accounts;
mod foreign;
mod metrics;
mod names;
mod own_functions;
mod prometheus;
mod queues;
mod shared_data;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{
    DefineMetricError, DequeueError, EnqueueError, ForeignCall, ForeignError, Identity, MetricError, MetricId,
    MetricType, QueueConsumer, QueueId, QueueItem, SharedDataError, SharedServices, SharedValue,
};

pub use self::foreign::ForeignFunction;

use self::accounts::Accounts;
use self::foreign::ForeignFunctions;
use self::metrics::{Metric, Metrics};
use self::queues::Queues;
use self::shared_data::SharedData;

/// The stores of a process; all workers have the same ones, so that plugins meet in them.
pub struct Stores {
    accounts: Accounts,
    data: Arc<SharedData>,
    queues: Queues,
    metrics: Metrics,
    functions: ForeignFunctions,
}

impl Stores {
    /// Stores with nothing in them but the host's own foreign functions: `compress`, `uncompress`, `clear_route_cache`,
    /// `get_log_level`, `set_envoy_filter_state`, `shared_data_delete` and `shared_data_keys`.
    pub fn new() -> Arc<Self> {
        let data = Arc::new(SharedData::default());
        let functions = ForeignFunctions::default();
        own_functions::register(&functions, &data);
        let (accounts, queues, metrics) = (Accounts::default(), Queues::default(), Metrics::default());
        Arc::new(Stores { accounts, data, queues, metrics, functions })
    }

    /// Lets plugins call a function by this name, in place of any that had it.
    pub fn register_function(&self, name: impl AsRef<[u8]>, function: impl ForeignFunction + 'static) {
        self.functions.register(name.as_ref(), Arc::new(function));
    }

    /// Sets a shared value as if a plugin had; whether there was room.
    pub fn set_shared_data(&self, plugin: &Identity, key: &[u8], value: &[u8]) -> bool {
        self.data.set(plugin, &self.accounts.of(&plugin.name), key, value, 0).is_ok()
    }

    /// A shared value of a `vm_id`, if there is one.
    pub fn shared_data(&self, vm_id: &str, key: &[u8]) -> Option<SharedValue> {
        self.data.get(vm_id, key)
    }

    /// All metrics that plugins defined, in the text format of Prometheus 0.0.4.
    ///
    /// A metric is called `wasmcustom_` and its name, where what such a name cannot have is an underscore. Label `plugin` is
    /// its plugin, and label `metric` its name as the plugin has it where that is another.
    pub fn prometheus(&self) -> String {
        prometheus::text(&self.metrics.all())
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// What host calls of one worker see of the stores.
pub(crate) struct StoreAccess {
    stores: Arc<Stores>,
    /// The metrics that this worker knows, so that counting takes no lock.
    metrics: Vec<Arc<Metric>>,
}

impl StoreAccess {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        StoreAccess { stores, metrics: Vec::new() }
    }

    fn metric(&mut self, plugin: &Identity, id: MetricId) -> Option<&Metric> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        if index >= self.metrics.len() {
            self.stores.metrics.catch_up(&mut self.metrics);
        }
        self.metrics.get(index).map(|metric| &**metric).filter(|metric| metric.is_of(&plugin.name))
    }
}

impl SharedServices for StoreAccess {
    fn shared_data(&mut self, plugin: &Identity, key: &[u8]) -> Option<SharedValue> {
        self.stores.data.get(&plugin.vm_id, key)
    }

    fn set_shared_data(
        &mut self,
        plugin: &Identity,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), SharedDataError> {
        self.stores.data.set(plugin, &self.stores.accounts.of(&plugin.name), key, value, cas)
    }

    fn register_queue(&mut self, plugin: &Identity, name: &[u8]) -> Option<QueueId> {
        self.stores.queues.register(plugin, &self.stores.accounts.of(&plugin.name), name)
    }

    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Option<QueueId> {
        self.stores.queues.resolve(vm_id, name)
    }

    fn enqueue(&mut self, plugin: &Identity, queue: QueueId, value: &[u8]) -> Result<(), EnqueueError> {
        self.stores.queues.enqueue(plugin, self.stores.accounts.of(&plugin.name), queue, value)
    }

    fn dequeue(&mut self, queue: QueueId) -> Result<QueueItem, DequeueError> {
        self.stores.queues.dequeue(queue)
    }

    fn put_back(&mut self, queue: QueueId, item: QueueItem) {
        let sender = self.stores.accounts.of(&item.sender);
        self.stores.queues.put_back(queue, item.value, sender);
    }

    fn consume_queue(&mut self, queue: QueueId, consumer: Arc<dyn QueueConsumer>) {
        self.stores.queues.consume(queue, consumer);
    }

    fn wake_consumer(&mut self, queue: QueueId, items: u32) {
        self.stores.queues.wake(queue, items);
    }

    fn define_metric(
        &mut self,
        plugin: &Identity,
        metric: MetricType,
        name: &[u8],
    ) -> Result<MetricId, DefineMetricError> {
        self.stores.metrics.define(plugin, metric, name)
    }

    fn increment_metric(&mut self, plugin: &Identity, metric: MetricId, offset: i64) -> Result<(), MetricError> {
        self.metric(plugin, metric).ok_or(MetricError::NotFound)?.increment(offset)
    }

    fn record_metric(&mut self, plugin: &Identity, metric: MetricId, value: u64) -> bool {
        self.metric(plugin, metric).map(|metric| metric.record(value)).is_some()
    }

    fn metric(&mut self, plugin: &Identity, metric: MetricId) -> Result<u64, MetricError> {
        StoreAccess::metric(self, plugin, metric).ok_or(MetricError::NotFound)?.value()
    }

    fn call_foreign_function(&mut self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        self.stores.functions.call(call)
    }
}

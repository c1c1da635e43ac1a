//! What plugins share with each other and with the embedder: data, queues, metrics, foreign functions.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::foreign::{ForeignCall, ForeignError};
use crate::state::Identity;
use crate::types::MetricType;

/// A queue's number: unique in the process, never 0.
pub type QueueId = u32;
/// A metric's number: unique in the process, never 0.
pub type MetricId = u32;

/// Stores behind host calls. Nothing here may block for long or enter a guest; by default there is nothing, and no room.
pub trait SharedServices {
    /// The value under a key of the plugin's `vm_id`.
    fn shared_data(&mut self, plugin: &Identity, key: &[u8]) -> Option<SharedValue> {
        let _ = (plugin, key);
        None
    }

    /// Sets the value under a key of the plugin's `vm_id`: whatever it was for a `cas` of 0, else only if that is what it
    /// was read with.
    ///
    /// # Errors
    /// If it changed in between, or there is no room; the value stays as it was then.
    fn set_shared_data(
        &mut self,
        plugin: &Identity,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), SharedDataError> {
        let _ = (plugin, key, value, cas);
        Err(SharedDataError::Full)
    }

    /// The queue of this name of the plugin's `vm_id`, which is made if there is none. Who consumes it is told by
    /// [`consume_queue`](SharedServices::consume_queue); `None` if there is no room.
    fn register_queue(&mut self, plugin: &Identity, name: &[u8]) -> Option<QueueId> {
        let _ = (plugin, name);
        None
    }

    /// The queue of this name of a `vm_id`, if there is one.
    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Option<QueueId> {
        let _ = (vm_id, name);
        None
    }

    /// Puts an item at the end of a queue. Its consumer is woken by [`wake_consumer`](SharedServices::wake_consumer).
    ///
    /// # Errors
    /// If there is no such queue, or no room.
    fn enqueue(&mut self, plugin: &Identity, queue: QueueId, value: &[u8]) -> Result<(), EnqueueError> {
        let _ = (plugin, queue, value);
        Err(EnqueueError::NotFound)
    }

    /// Takes the first item out of a queue.
    ///
    /// # Errors
    /// If there is no such queue, or nothing in it.
    fn dequeue(&mut self, queue: QueueId) -> Result<QueueItem, DequeueError> {
        let _ = queue;
        Err(DequeueError::NotFound)
    }

    /// Puts an item that could not be handed over back to where it was taken from.
    fn put_back(&mut self, queue: QueueId, item: QueueItem) {
        let _ = (queue, item);
    }

    /// Makes this the consumer of a queue, in place of the one that it had.
    fn consume_queue(&mut self, queue: QueueId, consumer: Arc<dyn QueueConsumer>) {
        let _ = (queue, consumer);
    }

    /// Tells a queue's consumer of items that have come.
    fn wake_consumer(&mut self, queue: QueueId, items: u32) {
        let _ = (queue, items);
    }

    /// The plugin's metric of this name, which is made if there is none.
    ///
    /// # Errors
    /// If the name is that of a metric of another type, or there is no room.
    fn define_metric(
        &mut self,
        plugin: &Identity,
        metric: MetricType,
        name: &[u8],
    ) -> Result<MetricId, DefineMetricError> {
        let _ = (plugin, metric, name);
        Err(DefineMetricError::Full)
    }

    /// Adds to a counter or a gauge of the plugin.
    ///
    /// # Errors
    /// If the plugin has no such metric, or its type does not take this.
    fn increment_metric(&mut self, plugin: &Identity, metric: MetricId, offset: i64) -> Result<(), MetricError> {
        let _ = (plugin, metric, offset);
        Err(MetricError::NotFound)
    }

    /// Adds to a counter, sets a gauge, or records a value in a histogram of the plugin. `false` if there is no such
    /// metric.
    fn record_metric(&mut self, plugin: &Identity, metric: MetricId, value: u64) -> bool {
        let _ = (plugin, metric, value);
        false
    }

    /// The value of a counter or a gauge of the plugin.
    ///
    /// # Errors
    /// If the plugin has no such metric, or it is a histogram.
    fn metric(&mut self, plugin: &Identity, metric: MetricId) -> Result<u64, MetricError> {
        let _ = (plugin, metric);
        Err(MetricError::NotFound)
    }

    /// Calls a function that the embedder registered.
    ///
    /// # Errors
    /// What the function says, or that there is none of this name.
    fn call_foreign_function(&mut self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        let _ = call;
        Err(ForeignError::NotFound)
    }
}

/// A shared value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedValue {
    /// The value.
    pub value: Bytes,
    /// What changes with each set; never 0.
    pub cas: u32,
}

/// Why shared data was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedDataError {
    /// It is not what it was read as.
    CasMismatch,
    /// A quota is used up.
    Full,
}

/// An item that was taken out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueItem {
    /// Its bytes.
    pub value: Bytes,
    /// The name of the plugin that put it there.
    pub sender: Arc<str>,
}

/// Why an item was not put into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueError {
    /// There is no such queue.
    NotFound,
    /// A quota is used up.
    Full,
}

/// Why no item was taken out of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DequeueError {
    /// There is no such queue.
    NotFound,
    /// It has no items.
    Empty,
}

/// A plugin context that is called back when items come into a queue.
pub trait QueueConsumer: Send + Sync {
    /// Leaves word of `items` that have come; must not block, and may be called on any thread. Each is one
    /// `proxy_on_queue_ready`.
    fn ready(&self, queue: QueueId, items: u32);
}

/// Why a metric was not defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefineMetricError {
    /// The plugin has a metric of this name and another type.
    OtherType,
    /// A quota is used up.
    Full,
}

/// Why a metric was not changed or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricError {
    /// The plugin has no such metric.
    NotFound,
    /// Not with its type.
    BadArgument,
}

/// What a plugin may have in the stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes of shared data that it set last, keys included.
    pub shared_data: usize,
    /// Bytes of the queues that it made and the items that it put into any, names included.
    pub queues: usize,
    /// How many metrics it may define.
    pub metrics: usize,
}

impl Default for Quotas {
    /// 16 MiB of shared data, 4 MiB in queues, 1,000 metrics.
    fn default() -> Self {
        Quotas { shared_data: 16 << 20, queues: 4 << 20, metrics: 1000 }
    }
}

impl fmt::Debug for dyn QueueConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueConsumer")
    }
}

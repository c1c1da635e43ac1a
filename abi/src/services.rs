//! What host calls need answered within the call; brought by the embedder.

mod foreign;
mod shared;

use bytes::Bytes;
use thiserror::Error;

pub use foreign::{ForeignCall, ForeignCallback, ForeignError, ForeignSink};
pub use shared::{
    DefineMetricError, DequeueError, EnqueueError, MetricError, MetricId, QueueConsumer, QueueId, QueueItem, Quotas,
    SharedDataError, SharedServices, SharedValue,
};

use crate::callbacks::Callback;
use crate::context::ContextId;
use crate::exchange::Exchange;
use crate::state::Identity;
use crate::types::LogLevel;

/// The outside world as host calls see it. Nothing here may block or enter a guest.
pub trait Services: Send {
    /// Nanoseconds since the Unix epoch.
    fn realtime_nanos(&mut self) -> u64;

    /// Nanoseconds since some moment, never going back.
    fn monotonic_nanos(&mut self) -> u64;

    /// Fills `out` with random bytes fit for keys.
    ///
    /// # Errors
    /// If there are none; the guest gets [`Errno::Io`](crate::Errno::Io), and none of `out`.
    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness>;

    /// Takes a log line; may drop it when the plugin is over its rate.
    fn log(&mut self, record: LogRecord<'_>);

    /// The level below which lines of this plugin are dropped.
    fn log_level(&mut self, plugin: &Identity) -> LogLevel;

    /// Answers `proxy_get_property` for everything but the plugin's own names and what guests have set.
    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property;

    /// What plugins share; without it they find nothing, and have no room.
    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        None
    }
}

/// The outside world gives no random bytes; neither the guest's fault nor the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// The answer to a property look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// Its value.
    Value(Bytes),
    /// There is no such property (now).
    NotFound,
    /// It is there, but cannot be told.
    Unserializable,
}

/// A line that a guest logged.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// The plugin.
    pub plugin: &'a Identity,
    /// The level.
    pub level: LogLevel,
    /// The line as the guest gave it, at most 64 KiB: any bytes, control characters included.
    pub message: &'a [u8],
    /// The context in which it ran.
    pub context: ContextId,
    /// The callback or start function in which it ran; `None` in the module's start section.
    pub callback: Option<Callback>,
    /// The stream that it is about, if it ran in a stream context.
    pub exchange: Option<&'a Exchange>,
}

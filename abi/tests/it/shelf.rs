//! What plugins share, as simple as can be: each kind of thing has room for three.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chassis_abi::{
    DefineMetricError, DequeueError, EnqueueError, ForeignCall, ForeignCallback, ForeignError, Identity, MetricError,
    MetricId, MetricType, QueueId, QueueItem, SharedDataError, SharedServices, SharedValue,
};

const ROOM: usize = 3;

#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(pub(crate) Arc<Mutex<Things>>);

#[derive(Debug, Default)]
pub(crate) struct Things {
    values: Vec<(Vec<u8>, Bytes, u32)>,
    sets: u32,
    /// By `vm_id` and name.
    queues: Vec<(Vec<u8>, Vec<u8>, VecDeque<Bytes>)>,
    metrics: Vec<(MetricType, Vec<u8>, u64)>,
    /// Calls of foreign functions: name, arguments, context, whether there was a stream.
    pub(crate) called: Vec<(Vec<u8>, Vec<u8>, u32, bool)>,
    pub(crate) callback: Option<ForeignCallback>,
}

impl Things {
    fn queue(&mut self, id: QueueId) -> Option<&mut VecDeque<Bytes>> {
        self.queues.get_mut((id as usize).checked_sub(1)?).map(|(_, _, items)| items)
    }

    fn metric(&mut self, id: MetricId) -> Result<&mut (MetricType, Vec<u8>, u64), MetricError> {
        (id as usize).checked_sub(1).and_then(|at| self.metrics.get_mut(at)).ok_or(MetricError::NotFound)
    }
}

impl SharedServices for Shelf {
    fn shared_data(&mut self, plugin: &Identity, key: &[u8]) -> Option<SharedValue> {
        assert_eq!(plugin.vm_id, "vm");
        let things = self.0.lock().unwrap();
        let found = things.values.iter().find(|(known, ..)| known == key);
        found.map(|(_, value, cas)| SharedValue { value: value.clone(), cas: *cas })
    }

    fn set_shared_data(&mut self, _: &Identity, key: &[u8], value: &[u8], cas: u32) -> Result<(), SharedDataError> {
        let mut things = self.0.lock().unwrap();
        let at = things.values.iter().position(|(known, ..)| known == key);
        if cas != 0 && at.map(|at| things.values[at].2) != Some(cas) {
            return Err(SharedDataError::CasMismatch);
        }
        if at.is_none() && things.values.len() == ROOM {
            return Err(SharedDataError::Full);
        }
        things.sets += 1;
        let entry = (key.to_vec(), Bytes::copy_from_slice(value), things.sets);
        match at {
            Some(at) => things.values[at] = entry,
            None => things.values.push(entry),
        }
        Ok(())
    }

    fn register_queue(&mut self, plugin: &Identity, name: &[u8]) -> Option<QueueId> {
        let vm_id = plugin.vm_id.as_bytes();
        if let Some(id) = self.resolve_queue(vm_id, name) {
            return Some(id);
        }
        let mut things = self.0.lock().unwrap();
        if things.queues.len() == ROOM {
            return None;
        }
        things.queues.push((vm_id.to_vec(), name.to_vec(), VecDeque::new()));
        Some(things.queues.len() as u32)
    }

    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Option<QueueId> {
        let things = self.0.lock().unwrap();
        things.queues.iter().position(|(vm, known, _)| vm == vm_id && known == name).map(|at| at as u32 + 1)
    }

    fn enqueue(&mut self, _: &Identity, queue: QueueId, value: &[u8]) -> Result<(), EnqueueError> {
        let mut things = self.0.lock().unwrap();
        let queue = things.queue(queue).ok_or(EnqueueError::NotFound)?;
        if queue.len() == ROOM {
            return Err(EnqueueError::Full);
        }
        queue.push_back(Bytes::copy_from_slice(value));
        Ok(())
    }

    fn dequeue(&mut self, queue: QueueId) -> Result<QueueItem, DequeueError> {
        let mut things = self.0.lock().unwrap();
        let value = things.queue(queue).ok_or(DequeueError::NotFound)?.pop_front().ok_or(DequeueError::Empty)?;
        Ok(QueueItem { value, sender: "rig".into() })
    }

    fn put_back(&mut self, queue: QueueId, item: QueueItem) {
        self.0.lock().unwrap().queue(queue).unwrap().push_front(item.value);
    }

    fn define_metric(&mut self, _: &Identity, kind: MetricType, name: &[u8]) -> Result<MetricId, DefineMetricError> {
        let mut things = self.0.lock().unwrap();
        if let Some(at) = things.metrics.iter().position(|(_, known, _)| known == name) {
            let same = things.metrics[at].0 == kind;
            return if same { Ok(at as u32 + 1) } else { Err(DefineMetricError::OtherType) };
        }
        if things.metrics.len() == ROOM {
            return Err(DefineMetricError::Full);
        }
        things.metrics.push((kind, name.to_vec(), 0));
        Ok(things.metrics.len() as u32)
    }

    fn increment_metric(&mut self, _: &Identity, metric: MetricId, offset: i64) -> Result<(), MetricError> {
        let mut things = self.0.lock().unwrap();
        let metric = things.metric(metric)?;
        if metric.0 != MetricType::Gauge && offset < 0 {
            return Err(MetricError::BadArgument);
        }
        metric.2 = metric.2.wrapping_add_signed(offset);
        Ok(())
    }

    fn record_metric(&mut self, _: &Identity, metric: MetricId, value: u64) -> bool {
        self.0.lock().unwrap().metric(metric).map(|metric| metric.2 = value).is_ok()
    }

    fn metric(&mut self, _: &Identity, metric: MetricId) -> Result<u64, MetricError> {
        let mut things = self.0.lock().unwrap();
        let metric = things.metric(metric)?;
        if metric.0 == MetricType::Histogram { Err(MetricError::BadArgument) } else { Ok(metric.2) }
    }

    /// The function is called as it answers; `later` asks for a callback.
    fn call_foreign_function(&mut self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        let mut things = self.0.lock().unwrap();
        let seen = (call.name.to_vec(), call.arguments.to_vec(), call.context, call.exchange.is_some());
        match call.name {
            b"echo" => {}
            b"later" => things.callback = Some(call.callback()),
            b"bad argument" => return Err(ForeignError::BadArgument),
            b"no form" => return Err(ForeignError::SerializationFailure),
            b"fails" => return Err(ForeignError::InternalFailure),
            _ => return Err(ForeignError::NotFound),
        }
        things.called.push(seen);
        Ok(Bytes::copy_from_slice(call.arguments))
    }
}

//! Queues between VMs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{DequeueError, EnqueueError, Identity, QueueConsumer, QueueId, QueueItem};
use parking_lot::{Mutex, RwLock};

use super::accounts::{Account, OVERHEAD};

/// Queues by number and by name. They stay, with their items, when VMs end.
#[derive(Default)]
pub(super) struct Queues(RwLock<Registry>);

#[derive(Default)]
struct Registry {
    /// By `vm_id` and name.
    ids: HashMap<Box<[u8]>, ByName>,
    /// By number; the first one is number 1.
    list: Vec<Arc<Queue>>,
}

type ByName = HashMap<Box<[u8]>, QueueId>;

#[derive(Default)]
struct Queue {
    items: Mutex<VecDeque<Item>>,
    /// The last one that registered.
    consumer: Mutex<Option<Arc<dyn QueueConsumer>>>,
}

struct Item {
    value: Bytes,
    /// Who is charged for it.
    sender: Arc<Account>,
}

impl Registry {
    fn find(&self, vm_id: &[u8], name: &[u8]) -> Option<QueueId> {
        self.ids.get(vm_id)?.get(name).copied()
    }
}

impl Queues {
    pub(super) fn register(&self, plugin: &Identity, account: &Account, name: &[u8]) -> Option<QueueId> {
        let vm_id = plugin.vm_id.as_bytes();
        if let Some(id) = self.resolve(vm_id, name) {
            return Some(id);
        }
        let mut registry = self.0.write();
        if let Some(id) = registry.find(vm_id, name) {
            return Some(id);
        }
        let id = u32::try_from(registry.list.len()).ok()?.checked_add(1)?;
        // A queue is more than an item, and is never removed.
        if !account.queues.charge(0, name.len() + 4 * OVERHEAD, plugin.quotas.queues) {
            return None;
        }
        registry.list.push(Arc::default());
        registry.ids.entry(vm_id.into()).or_default().insert(name.into(), id);
        Some(id)
    }

    pub(super) fn resolve(&self, vm_id: &[u8], name: &[u8]) -> Option<QueueId> {
        self.0.read().find(vm_id, name)
    }

    pub(super) fn enqueue(
        &self,
        plugin: &Identity,
        sender: Arc<Account>,
        queue: QueueId,
        value: &[u8],
    ) -> Result<(), EnqueueError> {
        let queue = self.find(queue).ok_or(EnqueueError::NotFound)?;
        if !sender.queues.charge(0, cost(value), plugin.quotas.queues) {
            return Err(EnqueueError::Full);
        }
        let value = Bytes::copy_from_slice(value);
        queue.items.lock().push_back(Item { value, sender });
        Ok(())
    }

    pub(super) fn dequeue(&self, queue: QueueId) -> Result<QueueItem, DequeueError> {
        let queue = self.find(queue).ok_or(DequeueError::NotFound)?;
        let mut items = queue.items.lock();
        let Item { value, sender } = items.pop_front().ok_or(DequeueError::Empty)?;
        if items.capacity() > SPARE && items.len() < items.capacity() / 4 {
            items.shrink_to(SPARE / 2);
        }
        drop(items);
        sender.queues.refund(cost(&value));
        Ok(QueueItem { value, sender: Arc::clone(&sender.plugin) })
    }

    pub(super) fn put_back(&self, queue: QueueId, value: Bytes, sender: Arc<Account>) {
        let Some(queue) = self.find(queue) else { return };
        sender.queues.retake(cost(&value));
        queue.items.lock().push_front(Item { value, sender });
    }

    pub(super) fn consume(&self, queue: QueueId, consumer: Arc<dyn QueueConsumer>) {
        if let Some(queue) = self.find(queue) {
            *queue.consumer.lock() = Some(consumer);
        }
    }

    pub(super) fn wake(&self, queue: QueueId, items: u32) {
        let consumer = self.find(queue).and_then(|queue| queue.consumer.lock().clone());
        if let Some(consumer) = consumer {
            consumer.ready(queue, items);
        }
    }

    fn find(&self, queue: QueueId) -> Option<Arc<Queue>> {
        let index = usize::try_from(queue.checked_sub(1)?).ok()?;
        self.0.read().list.get(index).cloned()
    }
}

/// For how many items a queue keeps room once it had many.
const SPARE: usize = 1024;

fn cost(value: &[u8]) -> usize {
    value.len().saturating_add(OVERHEAD)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use chassis_abi::Quotas;

    use super::super::accounts::Accounts;
    use super::*;

    fn plugin(name: &str, vm_id: &str, quota: usize) -> Identity {
        let quotas = Quotas { queues: quota, ..Quotas::default() };
        Identity { name: name.to_owned(), vm_id: vm_id.to_owned(), quotas, ..Identity::default() }
    }

    #[derive(Default)]
    struct Told(AtomicU32);

    impl QueueConsumer for Told {
        fn ready(&self, queue: QueueId, items: u32) {
            self.0.fetch_add(queue * 100 + items, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_queue_is_known_by_vm_id_and_name() {
        let (queues, accounts) = (Queues::default(), Accounts::default());
        let (a, b) = (plugin("a", "one", 4096), plugin("b", "two", 4096));
        let (of_a, of_b) = (accounts.of("a"), accounts.of("b"));
        let first = queues.register(&a, &of_a, b"q").unwrap();
        let second = queues.register(&b, &of_b, b"q").unwrap();
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!(queues.register(&a, &of_a, b"q"), Some(first));
        assert_eq!(queues.resolve(b"two", b"q"), Some(second));
        assert_eq!((queues.resolve(b"three", b"q"), queues.resolve(b"one", b"r")), (None, None));
        for unknown in [0, 3, u32::MAX] {
            assert_eq!(queues.enqueue(&a, of_a.clone(), unknown, b""), Err(EnqueueError::NotFound));
            assert_eq!(queues.dequeue(unknown), Err(DequeueError::NotFound));
        }
    }

    #[test]
    fn items_come_out_in_order_and_go_back_to_the_front() {
        let (queues, accounts) = (Queues::default(), Accounts::default());
        let a = plugin("a", "", 4096);
        let account = accounts.of("a");
        let queue = queues.register(&a, &account, b"q").unwrap();
        let used = account.queues.get();
        queues.enqueue(&a, account.clone(), queue, b"1").unwrap();
        queues.enqueue(&a, account.clone(), queue, b"").unwrap();
        assert_eq!(account.queues.get(), used + 1 + 2 * OVERHEAD);
        let item = queues.dequeue(queue).unwrap();
        assert_eq!((&item.value[..], &*item.sender), (&b"1"[..], "a"));
        queues.put_back(queue, item.value, accounts.of(&item.sender));
        assert_eq!(account.queues.get(), used + 1 + 2 * OVERHEAD);
        assert_eq!(queues.dequeue(queue).unwrap().value, &b"1"[..]);
        assert_eq!(queues.dequeue(queue).unwrap().value, &b""[..]);
        assert_eq!(queues.dequeue(queue), Err(DequeueError::Empty));
        assert_eq!(account.queues.get(), used);
    }

    #[test]
    fn a_plugin_is_charged_for_its_queues_and_what_it_puts_into_any() {
        let (queues, accounts) = (Queues::default(), Accounts::default());
        let of_queue = 1 + 4 * OVERHEAD;
        let (a, b) = (plugin("a", "", of_queue), plugin("b", "", OVERHEAD + 10));
        let queue = queues.register(&a, &accounts.of("a"), b"q").unwrap();
        assert_eq!(queues.register(&a, &accounts.of("a"), b"r"), None);
        assert_eq!(queues.enqueue(&a, accounts.of("a"), queue, b""), Err(EnqueueError::Full));
        assert_eq!(queues.enqueue(&b, accounts.of("b"), queue, &[0; 11]), Err(EnqueueError::Full));
        assert_eq!(queues.enqueue(&b, accounts.of("b"), queue, &[0; 10]), Ok(()));
        assert_eq!(queues.enqueue(&b, accounts.of("b"), queue, b""), Err(EnqueueError::Full));
        queues.dequeue(queue).unwrap();
        assert_eq!(queues.enqueue(&b, accounts.of("b"), queue, &[0; 10]), Ok(()));
    }

    #[test]
    fn the_last_consumer_is_told() {
        let (queues, accounts) = (Queues::default(), Accounts::default());
        let queue = queues.register(&plugin("a", "", 4096), &accounts.of("a"), b"q").unwrap();
        queues.wake(queue, 1);
        let (first, last) = (Arc::new(Told::default()), Arc::new(Told::default()));
        queues.consume(queue, first.clone());
        queues.consume(queue, last.clone());
        queues.wake(queue, 3);
        queues.wake(9, 3);
        assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 103));
    }
}

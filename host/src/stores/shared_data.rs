//! Values by key, for all VMs of a `vm_id`.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use chassis_abi::{Identity, SharedDataError, SharedValue};
use parking_lot::{Mutex, RwLock};

use super::accounts::{Account, OVERHEAD};

/// The values of each `vm_id`. They stay when VMs end.
#[derive(Default)]
pub(super) struct SharedData(RwLock<HashMap<Box<str>, Arc<Namespace>>>);

/// Into how many parts the keys of a `vm_id` are divided, each with its own lock.
const SHARDS: usize = 16;

#[derive(Default)]
struct Namespace {
    /// Chosen by a secret, because guests choose the keys.
    hasher: RandomState,
    shards: [Mutex<HashMap<Box<[u8]>, Value>>; SHARDS],
    last_cas: AtomicU32,
}

struct Value {
    value: Bytes,
    cas: u32,
    /// Who set it last, and is charged for it.
    owner: Arc<Account>,
}

impl SharedData {
    pub(super) fn get(&self, vm_id: &str, key: &[u8]) -> Option<SharedValue> {
        let namespace = self.find(vm_id)?;
        let shard = namespace.shard(key).lock();
        shard.get(key).map(|found| SharedValue { value: found.value.clone(), cas: found.cas })
    }

    /// Sets a value. A `cas` for a key that is not there is a mismatch: whoever read the value has seen one.
    pub(super) fn set(
        &self,
        plugin: &Identity,
        account: &Arc<Account>,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), SharedDataError> {
        let namespace = self.namespace(&plugin.vm_id);
        let (cost, quota) = (cost(key, value.len()), plugin.quotas.shared_data);
        // What has no room at all is not copied; and nothing is while the lock is held.
        let value = if cost > quota { Bytes::new() } else { Bytes::copy_from_slice(value) };
        let mut shard = namespace.shard(key).lock();
        let found = shard.get(key);
        if cas != 0 && found.map(|found| found.cas) != Some(cas) {
            return Err(SharedDataError::CasMismatch);
        }
        let replaced = found.map(|found| (Arc::clone(&found.owner), self::cost(key, found.value.len())));
        let own = replaced.as_ref().filter(|(owner, _)| Arc::ptr_eq(owner, account)).map_or(0, |(_, cost)| *cost);
        if cost > quota || !account.shared_data.charge(own, cost, quota) {
            return Err(SharedDataError::Full);
        }
        if let Some((owner, cost)) = replaced.filter(|_| own == 0) {
            owner.shared_data.refund(cost);
        }
        let value = Value { value, cas: namespace.next_cas(), owner: Arc::clone(account) };
        let old = match shard.entry(key.into()) {
            Entry::Occupied(mut entry) => Some(entry.insert(value)),
            Entry::Vacant(entry) => {
                entry.insert(value);
                None
            }
        };
        drop(shard);
        drop(old);
        Ok(())
    }

    /// Removes a value; whether there was one.
    pub(super) fn delete(&self, vm_id: &str, key: &[u8]) -> bool {
        let Some(namespace) = self.find(vm_id) else { return false };
        let removed = namespace.shard(key).lock().remove(key);
        let Some(removed) = removed else { return false };
        removed.owner.shared_data.refund(cost(key, removed.value.len()));
        true
    }

    /// The keys that begin with `prefix`, in order; `None` if they have more than `most` bytes together, with 4 for each.
    pub(super) fn keys(&self, vm_id: &str, prefix: &[u8], most: usize) -> Option<Vec<Box<[u8]>>> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        let Some(namespace) = self.find(vm_id) else { return Some(keys) };
        for shard in &namespace.shards {
            for key in shard.lock().keys().filter(|key| key.starts_with(prefix)) {
                bytes += key.len() + 4;
                if bytes > most {
                    return None;
                }
                keys.push(key.clone());
            }
        }
        keys.sort_unstable();
        Some(keys)
    }

    fn find(&self, vm_id: &str) -> Option<Arc<Namespace>> {
        self.0.read().get(vm_id).cloned()
    }

    fn namespace(&self, vm_id: &str) -> Arc<Namespace> {
        match self.find(vm_id) {
            Some(namespace) => namespace,
            None => Arc::clone(self.0.write().entry(vm_id.into()).or_default()),
        }
    }
}

impl Namespace {
    fn shard(&self, key: &[u8]) -> &Mutex<HashMap<Box<[u8]>, Value>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn next_cas(&self) -> u32 {
        loop {
            let cas = self.last_cas.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if cas != 0 {
                return cas;
            }
        }
    }
}

fn cost(key: &[u8], value: usize) -> usize {
    key.len().saturating_add(value).saturating_add(OVERHEAD)
}

#[cfg(test)]
mod tests {
    use chassis_abi::Quotas;

    use super::super::accounts::Accounts;
    use super::*;

    fn plugin(name: &str, quota: usize) -> Identity {
        let quotas = Quotas { shared_data: quota, ..Quotas::default() };
        Identity { name: name.to_owned(), vm_id: "vm".to_owned(), quotas, ..Identity::default() }
    }

    struct Rig(SharedData, Accounts);

    impl Rig {
        fn new() -> Self {
            Rig(SharedData::default(), Accounts::default())
        }

        fn set(&self, plugin: &Identity, key: &str, value: &str, cas: u32) -> Result<(), SharedDataError> {
            self.0.set(plugin, &self.1.of(&plugin.name), key.as_bytes(), value.as_bytes(), cas)
        }

        fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.get("vm", key.as_bytes()).map(|found| (found.value.to_vec(), found.cas))
        }

        fn used(&self, plugin: &str) -> usize {
            self.1.of(plugin).shared_data.get()
        }
    }

    #[test]
    fn a_value_is_set_only_if_it_is_what_was_read() {
        let (rig, plugin) = (Rig::new(), plugin("a", 1000));
        assert_eq!(rig.get("k"), None);
        assert_eq!(rig.set(&plugin, "k", "v", 7), Err(SharedDataError::CasMismatch));
        rig.set(&plugin, "k", "1", 0).unwrap();
        let (value, cas) = rig.get("k").unwrap();
        assert_eq!((value.as_slice(), cas != 0), (&b"1"[..], true));
        rig.set(&plugin, "k", "2", cas).unwrap();
        assert_eq!(rig.set(&plugin, "k", "3", cas), Err(SharedDataError::CasMismatch));
        rig.set(&plugin, "k", "4", 0).unwrap();
        let again = rig.get("k").unwrap();
        assert!(again.0 == b"4" && again.1 != cas);
        // A key that was removed and set again is not the one that was read.
        assert!(rig.0.delete("vm", b"k") && !rig.0.delete("vm", b"k"));
        rig.set(&plugin, "k", "4", 0).unwrap();
        assert_eq!(rig.set(&plugin, "k", "5", again.1), Err(SharedDataError::CasMismatch));
        assert_eq!(rig.0.get("other", b"k"), None);
    }

    #[test]
    fn a_cas_is_never_0() {
        let namespace = Namespace::default();
        namespace.last_cas.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!((namespace.next_cas(), namespace.next_cas()), (u32::MAX, 1));
    }

    #[test]
    fn a_plugin_is_charged_for_what_it_set_last() {
        let rig = Rig::new();
        let (a, b) = (plugin("a", 2 * OVERHEAD + 20), plugin("b", OVERHEAD + 4));
        rig.set(&a, "k", "123456789", 0).unwrap();
        rig.set(&a, "l", "123456789", 0).unwrap();
        assert_eq!(rig.used("a"), 2 * OVERHEAD + 20);
        let full = Err(SharedDataError::Full);
        assert_eq!(rig.set(&a, "k", "1234567890", 0), full);
        assert_eq!(rig.set(&a, "m", "", 0), full);
        assert_eq!(rig.get("k").unwrap().0, b"123456789", "the old value stays");
        rig.set(&a, "k", "12345678", 0).unwrap();
        rig.set(&a, "k", "123456789", 0).unwrap();
        assert_eq!(rig.set(&b, "k", "1234", 0), full);
        rig.set(&b, "k", "123", 0).unwrap();
        assert_eq!((rig.used("a"), rig.used("b")), (OVERHEAD + 10, OVERHEAD + 4));
        rig.0.delete("vm", b"k");
        rig.0.delete("vm", b"l");
        assert_eq!((rig.used("a"), rig.used("b")), (0, 0));
        let huge = plugin("c", 100);
        assert_eq!(rig.0.set(&huge, &rig.1.of("c"), b"k", &[0; 200], 0), full);
    }

    #[test]
    fn keys_are_listed_in_order_up_to_a_size() {
        let (rig, plugin) = (Rig::new(), plugin("a", 1 << 20));
        for i in 0..100 {
            rig.set(&plugin, &format!("key-{i:02}"), "", 0).unwrap();
        }
        rig.set(&plugin, "other", "", 0).unwrap();
        let keys = rig.0.keys("vm", b"key-", 1000).unwrap();
        assert_eq!(keys.len(), 100);
        assert!(keys.is_sorted());
        assert_eq!(rig.0.keys("vm", b"key-", 999), None);
        assert_eq!(rig.0.keys("vm", b"o", 9).unwrap(), [Box::from(*b"other") as Box<[u8]>]);
        assert_eq!(rig.0.keys("else", b"", 0).unwrap(), Vec::<Box<[u8]>>::new());
    }
}

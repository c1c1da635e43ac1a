//! How much each plugin has in the stores.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

/// The accounts of plugins, by their names. They stay as long as the process.
#[derive(Default)]
pub(super) struct Accounts(RwLock<HashMap<Arc<str>, Arc<Account>>>);

/// What one plugin has in the stores.
pub(super) struct Account {
    pub(super) plugin: Arc<str>,
    pub(super) shared_data: Usage,
    pub(super) queues: Usage,
}

/// Bytes that are in use.
#[derive(Default)]
pub(super) struct Usage(AtomicUsize);

/// What the store itself needs for an entry, about; it counts as bytes of the entry, so that many empty ones cost too.
pub(super) const OVERHEAD: usize = 64;

impl Accounts {
    pub(super) fn of(&self, plugin: &str) -> Arc<Account> {
        if let Some(account) = self.0.read().get(plugin) {
            return Arc::clone(account);
        }
        let name: Arc<str> = plugin.into();
        let new = || Account { plugin: Arc::clone(&name), shared_data: Usage::default(), queues: Usage::default() };
        Arc::clone(self.0.write().entry(Arc::clone(&name)).or_insert_with(|| Arc::new(new())))
    }
}

impl Usage {
    /// Takes `add` and gives back `give` at once, if no more than `limit` is in use then, or no more than before.
    pub(super) fn charge(&self, give: usize, add: usize, limit: usize) -> bool {
        let changed = |used: usize| {
            let after = used.saturating_sub(give).saturating_add(add);
            (after <= limit || add <= give).then_some(after)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed).is_ok()
    }

    /// Takes what was given back a moment ago.
    pub(super) fn retake(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn refund(&self, bytes: usize) {
        self.charge(bytes, 0, usize::MAX);
    }

    #[cfg(test)]
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

//! The contexts of one VM: plugin contexts and the stream contexts that are their children.

use rustc_hash::FxHashMap;

use crate::slab::Key;

/// A context's number as guests see it. 0 is the VM itself.
pub type ContextId = u32;

/// What a context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A plugin (root) context: one configuration of the plugin.
    Plugin {
        /// Which of the plugin's configurations: an index that the host chose.
        configuration: usize,
        /// Whether the guest deferred its end and has not called `proxy_done` yet.
        pending_done: bool,
    },
    /// A stream context.
    Stream {
        /// Its plugin context.
        parent: ContextId,
        /// The exchange that it looks at.
        exchange: Key,
        /// Its place in the exchange's chain.
        lane: usize,
    },
}

/// The live contexts of a VM. Numbers come from one counter; one that is alive is never given again.
#[derive(Debug, Default)]
pub struct Contexts {
    next: ContextId,
    live: FxHashMap<ContextId, Context>,
}

impl Contexts {
    /// Has the next context be of the number `next`, or of the first one after it that can be given.
    pub fn continue_at(&mut self, next: ContextId) {
        self.next = next.wrapping_sub(1);
    }

    /// Adds a context and gives its number.
    pub fn create(&mut self, context: Context) -> ContextId {
        loop {
            self.next = self.next.wrapping_add(1);
            if self.next != 0 && !self.live.contains_key(&self.next) {
                self.live.insert(self.next, context);
                return self.next;
            }
        }
    }

    /// The context of this number.
    #[inline]
    pub fn get(&self, id: ContextId) -> Option<&Context> {
        self.live.get(&id)
    }

    /// The context of this number, to be changed.
    pub fn get_mut(&mut self, id: ContextId) -> Option<&mut Context> {
        self.live.get_mut(&id)
    }

    /// Removes a context.
    pub fn remove(&mut self, id: ContextId) -> Option<Context> {
        self.live.remove(&id)
    }

    /// The plugin context that `id` is or belongs to.
    pub fn plugin_of(&self, id: ContextId) -> Option<ContextId> {
        match self.get(id)? {
            Context::Plugin { .. } => Some(id),
            Context::Stream { parent, .. } => Some(*parent),
        }
    }

    /// All stream contexts with their exchanges and lanes, in no particular order.
    pub fn streams(&self) -> impl Iterator<Item = (ContextId, Key, usize)> {
        self.live.iter().filter_map(|(id, context)| match context {
            Context::Stream { exchange, lane, .. } => Some((*id, *exchange, *lane)),
            Context::Plugin { .. } => None,
        })
    }

    /// How many contexts are alive.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: Context = Context::Plugin { configuration: 0, pending_done: false };

    #[test]
    fn numbers_begin_at_one_and_skip_zero_and_the_living_when_they_wrap() {
        let mut contexts = Contexts::default();
        assert_eq!(contexts.create(PLUGIN), 1);
        assert_eq!(contexts.create(PLUGIN), 2);
        contexts.remove(2);
        assert_eq!(contexts.create(PLUGIN), 3);
        let mut contexts = Contexts::default();
        contexts.continue_at(u32::MAX);
        assert_eq!(contexts.create(PLUGIN), u32::MAX);
        assert_eq!(contexts.create(PLUGIN), 1);
        contexts.continue_at(1);
        assert_eq!(contexts.create(PLUGIN), 2);
        contexts.continue_at(u32::MAX);
        contexts.remove(u32::MAX);
        assert_eq!(contexts.create(PLUGIN), u32::MAX);
        assert_eq!(contexts.create(PLUGIN), 3);
    }
}

//! Plugins that come while a worker runs: started on another thread, and taken over without waiting.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chassis_abi::{Board, Configuration, Dialect, Services};

use super::{PluginId, Slot, VmSlot, Worker};
use crate::plugin::Plugin;
use crate::preparer::panicked;
use crate::vm::{self, StartError, Vm};

/// A plugin whose VM was started and configured on the thread of whoever made it, for one worker to take over.
pub struct StartedPlugin {
    plugin: Arc<Plugin>,
    configurations: Arc<[Configuration]>,
    vm: Vm,
}

impl StartedPlugin {
    /// Starts a VM of a plugin on this thread, with a plugin context for each configuration. What it does while it starts
    /// it does with `services`, which have to share the stores of the worker's.
    ///
    /// # Errors
    /// [`StartError`] if the plugin does not start or refuses a configuration.
    pub fn start(
        plugin: Arc<Plugin>,
        configurations: Arc<[Configuration]>,
        services: Box<dyn Services>,
    ) -> Result<Self, StartError> {
        let start = || vm::start(&plugin, &configurations, &mut Some(Board::new(services)));
        let vm = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| Err(panicked()))?;
        Ok(StartedPlugin { plugin, configurations, vm })
    }
}

impl fmt::Debug for StartedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartedPlugin").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl Worker {
    /// Adds a plugin that was started elsewhere. Its id may be one of a plugin that has ended.
    pub fn add_started(&mut self, started: StartedPlugin) -> PluginId {
        let StartedPlugin { plugin, configurations, vm } = started;
        let stats = self.stats.add(&plugin);
        let id = self.put(Slot::new(plugin, configurations, stats));
        self.install(id, vm);
        self.replenish(id);
        id
    }

    /// Puts a plugin in the place of one that has ended, if there is such a one that nothing is under way for any more:
    /// else a worker would grow with each that comes and goes.
    pub(super) fn put(&mut self, mut slot: Slot) -> PluginId {
        self.has_apisix |= slot.plugin.spec().identity.dialect == Dialect::Apisix;
        let free = self.slots.iter().position(|slot| matches!(slot.vm, VmSlot::Ended) && slot.is_idle());
        let Some(id) = free else {
            self.slots.push(slot);
            return self.slots.len() - 1;
        };
        // Signals for earlier VMs may be on their way from other threads; the number tells them apart.
        slot.installed = self.slots[id].installed;
        self.slots[id] = slot;
        id
    }
}

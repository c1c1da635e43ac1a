//! The end of plugin contexts: done, which a guest may defer, and delete.
//!
//! `proxy_on_log` is not called for them: hosts that SDKs are written for do not, and some SDKs trap when they are.

use std::time::{Duration, Instant};

use chassis_abi::{Callback, Context, ContextId, Key};

use super::prepared::VmSlot;
use super::{PluginId, Worker};

/// A plugin that is on its way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// How long its contexts may defer their end.
    limit: Duration,
    /// Until when; `None` as long as streams need the plugin.
    until: Option<Instant>,
}

impl Worker {
    /// Ends every stream and then every plugin, as [`remove_plugin`](Worker::remove_plugin) does.
    pub fn shutdown(&mut self, limit: Duration) {
        let streams: Vec<Key> = self.streams.iter_mut().map(|(key, _)| key).collect();
        for key in streams {
            self.close(key);
        }
        for plugin in 0..self.slots.len() {
            self.remove_plugin(plugin, limit);
        }
    }

    /// Ends a plugin once no stream needs it any more: its contexts get `proxy_on_done` and `proxy_on_delete`. One that
    /// defers its end, and has its ticks meanwhile, has `limit` for it; then it is deleted all the same. Nothing is
    /// waited for here: [`run_timers`](Worker::run_timers) does what is left. A plugin that does not run just goes.
    pub fn remove_plugin(&mut self, plugin: PluginId, limit: Duration) {
        let Some(slot) = self.slots.get_mut(plugin).filter(|slot| slot.ending.is_none()) else { return };
        slot.ending = Some(Ending { limit, until: None });
        slot.spare = None;
        self.ending += 1;
        self.end_unneeded();
        self.run();
    }

    /// Has the contexts of a plugin's VM that begin from now on be numbered from `next`, as after billions of streams.
    pub fn number_contexts_from(&mut self, plugin: PluginId, next: ContextId) {
        if let Some(vm) = self.vm(plugin) {
            vm.instance.state().contexts.continue_at(next);
        }
    }

    /// Whether a plugin has ended that was removed.
    pub fn has_ended(&self, plugin: PluginId) -> bool {
        self.slots.get(plugin).is_none_or(|slot| matches!(slot.vm, VmSlot::Ended))
    }

    /// Whether all plugins have ended.
    pub fn is_shut_down(&self) -> bool {
        (0..self.slots.len()).all(|plugin| self.has_ended(plugin))
    }

    /// Begins the end of plugins that are to end and that no stream needs any more.
    pub(super) fn end_unneeded(&mut self) {
        if self.ending == 0 {
            return;
        }
        for plugin in 0..self.slots.len() {
            let Some(Ending { limit, until: None }) = self.slots[plugin].ending else { continue };
            let needed =
                |(_, stream): (Key, &mut Box<super::Stream>)| stream.links.iter().any(|link| link.plugin == plugin);
            if self.streams.iter_mut().any(needed) {
                continue;
            }
            self.slots[plugin].ending = Some(Ending { limit, until: Some((self.clock)() + limit) });
            self.ask_to_end(plugin);
        }
    }

    fn ask_to_end(&mut self, plugin: PluginId) {
        for context in self.plugin_contexts(plugin) {
            let Some(result) = self.enter(plugin, Callback::Done, context, &[]) else { break };
            if result == Some(0) {
                self.defer(plugin, context);
                self.apply_effects();
            } else {
                self.apply_effects();
                self.delete_context(plugin, context);
            }
        }
        self.end_if_empty(plugin);
    }

    fn defer(&mut self, plugin: PluginId, context: ContextId) {
        let Some(vm) = self.vm(plugin) else { return };
        if let Some(Context::Plugin { pending_done, .. }) = vm.instance.state().contexts.get_mut(context) {
            *pending_done = true;
        }
    }

    /// Ends a plugin context whose end was deferred.
    pub(super) fn deferred_end(&mut self, plugin: PluginId, context: ContextId) {
        self.delete_context(plugin, context);
        self.end_if_empty(plugin);
    }

    fn delete_context(&mut self, plugin: PluginId, context: ContextId) {
        if self.enter(plugin, Callback::Delete, context, &[]).is_some() {
            self.apply_effects();
        }
        if let Some(vm) = self.vm(plugin) {
            vm.instance.state().contexts.remove(context);
            vm.roots.retain(|root| *root != context);
        }
        self.end_timers(|timer| timer.is_of(plugin, context));
    }

    fn end_if_empty(&mut self, plugin: PluginId) {
        if self.plugin_contexts(plugin).is_empty() {
            self.end_vm(plugin);
        }
    }

    /// Ends the VM of a plugin that was removed.
    pub(super) fn end_vm(&mut self, plugin: PluginId) {
        if let Some(vm) = self.vm(plugin) {
            let callouts = vm.instance.state().callouts.ids();
            self.end_callouts(plugin, self.vm_number(plugin), &callouts);
        }
        let slot = &mut self.slots[plugin];
        if !matches!(std::mem::replace(&mut slot.vm, VmSlot::Ended), VmSlot::Ended) {
            self.ending -= 1;
            slot.stats.set_entered(slot.entered);
            self.stats.remove(&slot.stats);
        }
        self.forget_signals(plugin);
        self.end_timers(|timer| timer.plugin == plugin);
    }

    /// The plugin contexts that have not ended; none of a plugin that does not run.
    fn plugin_contexts(&mut self, plugin: PluginId) -> Vec<ContextId> {
        self.vm(plugin).map(|vm| vm.roots.clone()).unwrap_or_default()
    }

    /// When the first plugin is out of time that has deferred its end.
    pub(super) fn next_ending(&self) -> Option<Instant> {
        if self.ending == 0 {
            return None;
        }
        let waits = self.slots.iter().filter(|slot| !matches!(slot.vm, VmSlot::Ended));
        waits.filter_map(|slot| slot.ending?.until).min()
    }

    /// Ends plugins that are out of time.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        while self.next_ending().is_some_and(|until| until <= now) {
            let overdue = |slot: &super::Slot| {
                !matches!(slot.vm, VmSlot::Ended)
                    && slot.ending.is_some_and(|ending| ending.until.is_some_and(|until| until <= now))
            };
            let Some(plugin) = self.slots.iter().position(overdue) else { return };
            for context in self.plugin_contexts(plugin) {
                self.delete_context(plugin, context);
            }
            self.end_vm(plugin);
        }
    }
}

//! What happens when a guest is stopped: its VM ends, and what the VM carried; nothing else does.

use chassis_abi::{Callback, LogLevel};
use chassis_engine_api::{Frame, Stop};

use super::{PluginId, PluginState, VmSlot, Worker};
use crate::log::{LogLine, LogSink, Reason, escape};
use crate::vm::StartError;

/// A plugin's end.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The plugin's name.
    pub plugin: String,
    /// The export in which it ended.
    pub callback: &'static str,
    /// `trap`, `deadline`, `fuel`, `exit`, `host` or `start`.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
    /// The guest's frames, innermost first.
    pub backtrace: Vec<Frame>,
}

impl Crash {
    fn new(plugin: &str, callback: &'static str, stop: &Stop) -> Self {
        let backtrace = match stop {
            Stop::Trap(trap) => trap.backtrace.clone(),
            _ => Vec::new(),
        };
        Crash { plugin: plugin.to_owned(), callback, kind: stop.kind(), message: stop.to_string(), backtrace }
    }

    /// A start that failed.
    pub fn starting(plugin: &str, error: &StartError) -> Self {
        match error {
            StartError::Stopped { callback, stop } => Crash::new(plugin, callback, stop),
            refused => Crash {
                plugin: plugin.to_owned(),
                callback: "",
                kind: "start",
                message: refused.to_string(),
                backtrace: Vec::new(),
            },
        }
    }

    pub(super) fn report(&self, sink: &dyn LogSink) {
        let mut message = self.message.clone();
        for frame in &self.backtrace {
            message.push_str(&format!("; at {frame}"));
        }
        sink.log(&LogLine {
            reason: Reason::Crash,
            level: LogLevel::Error,
            message: escape(message.as_bytes()),
            plugin: &self.plugin,
            context: 0,
            callback: self.callback,
            exchange: None,
        });
    }
}

impl Worker {
    /// Ends a VM whose guest was stopped, and what depended on it; the spare takes over.
    pub(super) fn crashed(&mut self, plugin: PluginId, callback: Callback, stop: &Stop) {
        let Some(slot) = self.slots.get_mut(plugin) else { return };
        let VmSlot::Ready(mut dead) = std::mem::replace(&mut slot.vm, VmSlot::Preparing) else { return };
        let crash = Crash::new(slot.plugin.name(), callback.name(), stop);
        let spare = slot.spare.take();
        crash.report(&*self.sink);
        slot.stats.set_entered(slot.entered);
        slot.stats.crashed(crash.kind);
        slot.stats.set_state(PluginState::Starting);
        let mut lost: Vec<_> = dead.instance.state().contexts.streams().collect();
        lost.sort_unstable_by_key(|(context, ..)| *context);
        let callouts = dead.instance.state().callouts.ids();
        drop(dead);
        self.end_callouts(plugin, self.vm_number(plugin), &callouts);
        self.end_timers(|timer| timer.plugin == plugin);
        for (_, key, lane) in lost {
            if let Some(lane) = self.exchange(key).and_then(|exchange| exchange.lanes.get_mut(lane)) {
                lane.context = None;
            }
            if let Some(stream) = self.streams.get_mut(key) {
                stream.crash.get_or_insert_with(|| crash.clone());
            }
            self.fail(key);
        }
        if self.slots[plugin].ending.is_some() {
            self.end_vm(plugin);
        }
        if let Some(spare) = spare {
            self.install(plugin, spare);
        }
        self.forget_signals(plugin);
        self.replenish(plugin);
    }
}

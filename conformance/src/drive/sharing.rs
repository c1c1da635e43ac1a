//! What a plugin shares with others in a run: values that are there, foreign functions, a second plugin.

use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{ForeignCall, ForeignError, Identity};
use chassis_host::{PluginSpec, Stores};

/// What is there besides the plugin.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    /// Shared data of the plugin's `vm_id`, by key.
    pub data: Vec<(Bytes, Bytes)>,
    /// Foreign functions by name, besides the host's own.
    pub functions: Vec<(String, Function)>,
    /// A plugin that is started before, in the same worker.
    pub beside: Option<Box<Beside>>,
}

/// What a foreign function does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    /// It answers this.
    Answers(Bytes),
    /// It answers its arguments.
    Echoes,
    /// It fails.
    Fails(ForeignError),
    /// It answers nothing, and calls the plugin back with this number and its own arguments.
    CallsBack(u32),
}

/// A plugin beside the one that is driven. No request passes it.
#[derive(Debug, Clone)]
pub struct Beside {
    /// The plugin; its file is read unless `module` is there.
    pub spec: PluginSpec,
    /// The binary module, if it was read already.
    pub module: Option<Bytes>,
    /// Its configuration.
    pub configuration: Bytes,
}

impl Sharing {
    /// Stores with what is to be there for a plugin.
    pub(super) fn stores(&self, plugin: &Identity) -> Arc<Stores> {
        let stores = Stores::new();
        for (key, value) in &self.data {
            stores.set_shared_data(plugin, key, value);
        }
        for (name, function) in &self.functions {
            let function = function.clone();
            stores.register_function(name, move |call: &mut ForeignCall<'_>| function.run(call));
        }
        stores
    }
}

impl Function {
    fn run(&self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        match self {
            Function::Answers(answer) => Ok(answer.clone()),
            Function::Echoes => Ok(Bytes::copy_from_slice(call.arguments)),
            Function::Fails(error) => Err(*error),
            Function::CallsBack(number) => {
                let arguments = Bytes::copy_from_slice(call.arguments);
                let called = call.callback().call(*number, arguments);
                if called { Ok(Bytes::new()) } else { Err(ForeignError::InternalFailure) }
            }
        }
    }
}

//! A running VM of a plugin: started, with a plugin context per configuration.

use chassis_abi::{
    Board, Callback, Configuration, Context, ContextId, Effect, EntryError, Identity, VmState, begin, enter,
};
use chassis_engine_api::{Instance, Stop, clock};
use thiserror::Error;

use crate::plugin::Plugin;

/// A started instance.
pub(crate) struct Vm {
    pub(crate) instance: Box<dyn Instance<VmState>>,
    /// The plugin context of each configuration, by its index.
    pub(crate) roots: Vec<ContextId>,
    /// What starting left to be done: tick periods above all.
    pub(crate) effects: Vec<Effect>,
}

/// Why a VM could not be started; the plugin's fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The guest was stopped.
    #[error("{callback}: {stop}")]
    Stopped {
        /// The export in which it was.
        callback: &'static str,
        /// Why.
        stop: Stop,
    },
    /// `proxy_on_vm_start` answered false.
    #[error("proxy_on_vm_start refused to start")]
    VmStartRefused,
    /// `proxy_validate_configuration` answered false.
    #[error("proxy_validate_configuration refused its configuration")]
    ConfigurationInvalid,
    /// `proxy_on_configure` answered false.
    #[error("proxy_on_configure refused its configuration")]
    ConfigurationRefused,
}

/// Instantiates, starts and configures a VM, with `board` for the time that it takes. Nothing of a VM that did not start
/// is left on it.
pub(crate) fn start(
    plugin: &Plugin,
    configurations: &[Configuration],
    board: &mut Option<Box<Board>>,
) -> Result<Vm, StartError> {
    let started = run(plugin, configurations, board);
    let effects = board.as_mut().map(|board| std::mem::take(&mut board.effects)).unwrap_or_default();
    started.map(|vm| Vm { effects, ..vm })
}

fn run(plugin: &Plugin, configurations: &[Configuration], board: &mut Option<Box<Board>>) -> Result<Vm, StartError> {
    let limits = &plugin.spec().limits;
    let budget = limits.start_budget();
    let identity = Identity { quotas: limits.quotas(), ..plugin.spec().identity.clone() };
    let vm_configuration = size_of(&identity.vm_configuration);
    let mut instance = begin(plugin.linked(), identity, board, &limits.instance(), budget)
        .map_err(|stop| StartError::Stopped { callback: "the start section", stop })?;
    instance.state().callouts.rules = limits.callouts.clone();
    let mut call = |instance: &mut Box<dyn Instance<VmState>>, callback, context, args: &[u32]| {
        enter(&mut **instance, &clock::enter(), board, callback, context, args, &budget)
            .map_err(|error| StartError::from(*error))
    };

    if plugin.exports(Callback::Initialize) {
        call(&mut instance, Callback::Initialize, 0, &[])?;
        if call(&mut instance, Callback::Main, 0, &[0, 0])?.is_none() {
            call(&mut instance, Callback::MainVoid, 0, &[])?;
        }
    } else {
        call(&mut instance, Callback::Start, 0, &[])?;
    }
    let mut roots = Vec::with_capacity(configurations.len());
    for (index, configuration) in configurations.iter().enumerate() {
        let state = instance.state();
        state.configurations.push(configuration.clone());
        let context = state.contexts.create(Context::Plugin { configuration: index, pending_done: false });
        call(&mut instance, Callback::ContextCreate, context, &[0])?;
        if index == 0 && call(&mut instance, Callback::VmStart, context, &[vm_configuration])? == Some(0) {
            return Err(StartError::VmStartRefused);
        }
        let size = size_of(&configuration.data);
        if call(&mut instance, Callback::ValidateConfiguration, context, &[size])? == Some(0) {
            return Err(StartError::ConfigurationInvalid);
        }
        if call(&mut instance, Callback::Configure, context, &[size])? == Some(0) {
            return Err(StartError::ConfigurationRefused);
        }
        roots.push(context);
    }
    Ok(Vm { instance, roots, effects: Vec::new() })
}

fn size_of(configuration: &[u8]) -> u32 {
    u32::try_from(configuration.len()).unwrap_or(u32::MAX)
}

impl From<EntryError> for StartError {
    fn from(error: EntryError) -> Self {
        match error {
            EntryError::Stopped { callback, stop } => StartError::Stopped { callback: callback.name(), stop },
            other => StartError::Stopped {
                callback: "",
                stop: Stop::Host(chassis_engine_api::HostError::new(other.to_string())),
            },
        }
    }
}

//! From a plan to what it comes to on an engine.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{Configuration, LogLevel, Services};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::ProxyWasmEngine;
use chassis_host::{Plugin, PluginSpec, Preparer};

use super::driver::{Ask, Driver, Error, LOAD, Settings, Trip, Upstream, World, start_error};
use super::record::Recorder;
use super::services::{Clock, Origin, RunServices};
use super::sharing::Sharing;

/// Everything about runs that does not depend on the engine.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The plugin. Its file is read, unless `module` is there; then it is a name for messages only.
    pub spec: PluginSpec,
    /// The binary module, if it was read already.
    pub module: Option<Bytes>,
    /// Where the module is compiled.
    pub policy: CompilePolicy,
    /// Where time and random numbers begin.
    pub origin: Origin,
    /// The plugin's configuration.
    pub configuration: Bytes,
    /// Further plugin contexts of the same VM, to which no requests go.
    pub contexts: Vec<Configuration>,
    /// Properties by their paths with dots; they go before what the request says.
    pub properties: Arc<HashMap<Vec<u8>, Bytes>>,
    /// Log lines below it are dropped.
    pub level: LogLevel,
    /// How requests are driven.
    pub settings: Settings,
    /// What is there besides the plugin. Each run begins with stores of its own.
    pub sharing: Sharing,
}

/// Drives requests and TCP streams through the plugin on an engine, one after the other in the same VM, and ends it: a trip for each, or a single one
/// if the plugin cannot be loaded or does not start.
///
/// # Errors
/// If the system has no thread left.
pub fn run<'a>(
    engine: &ProxyWasmEngine,
    plan: &Plan,
    requests: impl IntoIterator<Item = &'a Ask>,
    upstream: &mut dyn Upstream,
) -> io::Result<Vec<Trip>> {
    let (plugin, beside) = match load(engine, plan) {
        Ok(loaded) => loaded,
        Err(message) => {
            let error = Error { kind: LOAD, callback: String::new(), message, backtrace: Vec::new() };
            return Ok(vec![Trip::not_loaded(error, Vec::new())]);
        }
    };
    let stores = plan.sharing.stores(&plan.spec.identity);
    let recorder = Recorder::default();
    let clock = Clock::new(&plan.origin);
    let (origin, level, properties) = (plan.origin, plan.level, plan.properties.clone());
    let services = {
        let (clock, stores) = (clock.clone(), stores.clone());
        move |recorder| RunServices::new(&origin, clock.clone(), recorder, level, properties.clone(), stores.clone())
    };
    let own = services(Some(recorder.clone()));
    let preparer = Preparer::new(Arc::new(move || Box::new(services(None)) as Box<dyn Services>))?;
    let world = World { services: own, clock, recorder: recorder.clone(), preparer, stores, beside };
    let first = Configuration::from(plan.configuration.clone());
    let configurations = std::iter::once(first).chain(plan.contexts.iter().cloned()).collect();
    let mut driver = match Driver::start(plugin.clone(), configurations, world, plan.settings.clone()) {
        Ok(driver) => driver,
        Err((plugin, error)) => return Ok(vec![Trip::not_loaded(start_error(&plugin, &error), recorder.take())]),
    };
    let mut trips: Vec<Trip> = requests.into_iter().map(|ask| driver.play(ask, upstream)).collect();
    let ended = driver.finish();
    if let Some(last) = trips.last_mut() {
        last.ended = ended;
    }
    Ok(trips)
}

/// The plugin, and the one beside it with its configuration.
type Loaded = (Arc<Plugin>, Option<(Arc<Plugin>, Bytes)>);

fn load(engine: &ProxyWasmEngine, plan: &Plan) -> Result<Loaded, String> {
    let load = |spec: &PluginSpec, module: &Option<Bytes>| {
        let loaded = match module {
            Some(module) => Plugin::from_bytes(spec.clone(), module.to_vec(), &**engine, &plan.policy),
            None => Plugin::load(spec.clone(), &**engine, &plan.policy),
        };
        loaded.map_err(|error| error.to_string())
    };
    let beside = match &plan.sharing.beside {
        Some(beside) => Some((load(&beside.spec, &beside.module)?, beside.configuration.clone())),
        None => None,
    };
    Ok((load(&plan.spec, &plan.module)?, beside))
}

//! Compiled code joined with host functions.

use std::fmt;
use std::sync::Arc;

use chassis_engine_api::{EngineError, ExportSpec, HostFn, HostModule, LinkPlan, Profile, Registrar, Verdict};
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport};

use crate::caller::View;
use crate::engine::Running;
use crate::instance::Data;
use crate::limiter::Needs;
use crate::stop::unwind;
use crate::values::{MAX_SLOTS, callable, func_type, is, read_params, write_result};

/// A module with the host functions that it imports.
pub struct WasmtimeLinked<S: Send + 'static> {
    pub(crate) pre: InstancePre<Data<S>>,
    pub(crate) needs: Needs,
    pub(crate) exports: Arc<Exports>,
}

/// Where the exports are that the host listed, and what all instances share besides.
pub(crate) struct Exports {
    /// By [`Export`](chassis_engine_api::Export); `None` if the module has no such export.
    pub(crate) functions: Vec<Option<(ModuleExport, &'static ExportSpec)>>,
    pub(crate) memory: Option<ModuleExport>,
    pub(crate) running: Arc<Running>,
    pub(crate) fuel: bool,
}

impl<S: Send + 'static> WasmtimeLinked<S> {
    pub(crate) fn new<H: HostModule<S>>(
        running: &Arc<Running>,
        profile: Profile,
        module: &Module,
        plan: &LinkPlan,
    ) -> Result<Self, EngineError> {
        let mut linker = Linker::new(&running.engine);
        // A host may offer the same function to several versions of an interface.
        linker.allow_shadowing(true);
        let mut linking = Linking { linker, plan, failed: None };
        H::register(&mut linking);
        if let Some(error) = linking.failed {
            return Err(refused(&error));
        }
        let pre = linking.linker.instantiate_pre(module).map_err(|error| refused(&error))?;
        let functions = plan.exports().iter().map(|spec| find(module, spec)).collect();
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => module.get_export_index("memory"),
            _ => None,
        };
        let exports = Exports { functions, memory, running: running.clone(), fuel: profile == Profile::Fuel };
        Ok(WasmtimeLinked { pre, needs: Needs::of(module), exports: Arc::new(exports) })
    }
}

impl<S: Send + 'static> fmt::Debug for WasmtimeLinked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeLinked").field("needs", &self.needs).finish_non_exhaustive()
    }
}

/// The type is looked at again here, as calls rely on it and the plan may be another module's.
fn find(module: &Module, spec: &'static ExportSpec) -> Option<(ModuleExport, &'static ExportSpec)> {
    match module.get_export(spec.name) {
        Some(ExternType::Func(ty)) if callable(&spec.sig) && is(&ty, &spec.sig) => {
            module.get_export_index(spec.name).map(|export| (export, spec))
        }
        _ => None,
    }
}

fn refused(error: &wasmtime::Error) -> EngineError {
    EngineError::Link { engine: "wasmtime", message: format!("{error:#}") }
}

struct Linking<'a, S: Send + 'static> {
    linker: Linker<Data<S>>,
    plan: &'a LinkPlan,
    failed: Option<wasmtime::Error>,
}

impl<S: Send + 'static> Registrar<S> for Linking<'_, S> {
    fn add<F: HostFn<S>>(&mut self) {
        const { assert!(callable(&F::SIG), "a host function takes at most 16 numbers and returns at most one") };
        if !self.plan.wants::<S, F>() {
            return;
        }
        let Some(ty) = func_type(self.linker.engine(), &F::SIG) else { return };
        // SAFETY: the closure takes and leaves values as `F::SIG` says, which is the type that it is registered with.
        let added = unsafe { self.linker.func_new_unchecked(F::MODULE, F::NAME, ty, host_call::<S, F>) };
        if let Err(error) = added {
            self.failed.get_or_insert(error);
        }
    }
}

/// Must only be registered with the type `F::SIG`.
#[inline]
fn host_call<S: Send + 'static, F: HostFn<S>>(
    mut caller: wasmtime::Caller<'_, Data<S>>,
    values: &mut [std::mem::MaybeUninit<wasmtime::ValRaw>],
) -> wasmtime::Result<()> {
    if caller.data_mut().meter.check() == Verdict::Expired {
        return Err(unwind(chassis_engine_api::Stop::Deadline));
    }
    let mut slots = [0_u64; MAX_SLOTS];
    let slots = &mut slots[..const { F::SIG.slots() }];
    // SAFETY: compiled code calls this with values of the type that it was registered with.
    unsafe { read_params(&F::SIG, values, slots) };
    F::call(&mut View { caller }, slots).map_err(unwind)?;
    write_result(&F::SIG, slots, values);
    Ok(())
}

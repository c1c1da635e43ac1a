//! A module joined with host functions.

use std::ffi::c_void;
use std::fmt;

use chassis_engine_api::{EngineError, HostFn, HostModule, LinkPlan, Registrar};
use wasmedge_sys::ffi;

use crate::caller::enter;
use crate::capabilities::NAME;
use crate::engine::WasmedgeModule;
use crate::instance::Inner;
use crate::machine::Import;
use crate::raw::FunctionType;
use crate::stop::Code;
use crate::values::{MAX_SLOTS, callable, from_value, to_value};

/// A module with the host functions that it imports.
pub struct WasmedgeLinked<S: Send + 'static> {
    pub(crate) module: WasmedgeModule,
    pub(crate) plan: LinkPlan,
    /// Sorted by module.
    pub(crate) imports: Vec<Import>,
    pub(crate) metered: bool,
    /// Host functions expect the state of instances to be of this type.
    state: std::marker::PhantomData<fn() -> S>,
}

impl<S: Send + 'static> WasmedgeLinked<S> {
    pub(crate) fn new<H: HostModule<S>>(
        module: &WasmedgeModule,
        plan: LinkPlan,
        metered: bool,
    ) -> Result<Self, EngineError> {
        let mut linking = Linking { plan: &plan, imports: Vec::new(), failed: None };
        <H as HostModule<S>>::register(&mut linking);
        let Linking { mut imports, failed, .. } = linking;
        if let Some(code) = failed {
            return Err(EngineError::Link { engine: NAME, message: code.to_string() });
        }
        imports.sort_by_key(|import| import.module);
        Ok(WasmedgeLinked { module: module.clone(), plan, imports, metered, state: std::marker::PhantomData })
    }
}

impl<S: Send + 'static> fmt::Debug for WasmedgeLinked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmedgeLinked").field("module", &self.module).finish_non_exhaustive()
    }
}

struct Linking<'a> {
    plan: &'a LinkPlan,
    imports: Vec<Import>,
    failed: Option<Code>,
}

impl<S: Send + 'static> Registrar<S> for Linking<'_> {
    fn add<F: HostFn<S>>(&mut self) {
        const { assert!(callable(&F::SIG), "a host function takes at most 16 numbers and returns at most one") };
        if !self.plan.wants::<S, F>() {
            return;
        }
        // A host may offer the same function to several versions of an interface.
        self.imports.retain(|import| (import.module, import.name) != (F::MODULE, F::NAME));
        match FunctionType::new(&F::SIG) {
            Ok(ty) => self.imports.push(Import { module: F::MODULE, name: F::NAME, ty, call: host_call::<S, F> }),
            Err(code) => self.failed = Some(code),
        }
    }
}

/// Host function `F` as WasmEdge calls it.
///
/// # Safety
/// `data` must be the [`Inner`] of the instance that calls, `params` and `results` must be as long as `F::SIG` says.
unsafe extern "C" fn host_call<S: Send + 'static, F: HostFn<S>>(
    data: *mut c_void,
    _frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const ffi::WasmEdge_Value,
    results: *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result {
    let mut slots = [0_u64; MAX_SLOTS];
    let slots = &mut slots[..const { F::SIG.slots() }];
    for (i, ty) in F::SIG.params.iter().enumerate() {
        // SAFETY: there are as many as the type says.
        slots[i] = from_value(*ty, unsafe { &*params.add(i) });
    }
    // SAFETY: the data is what `WasmedgeInstance::new` gave to all imports.
    match unsafe { enter::<S, F>(data.cast::<Inner<S>>(), slots) } {
        Ok(()) => {
            if let Some(ty) = F::SIG.result {
                // SAFETY: there is room for the one result.
                unsafe { results.write(to_value(ty, slots[0])) };
            }
            ffi::WasmEdge_Result { Code: 0 }
        }
        Err(()) => Code::unwinding(),
    }
}

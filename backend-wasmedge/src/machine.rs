//! What one instance has of WasmEdge: an executor that can be cancelled, a store, and the modules in it.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::Duration;

use chassis_engine_api::{Limits, Sig};
use wasmedge_sys::ffi;

use crate::limiter;
use crate::raw::{Ast, Config, FunctionType, Owned, name};
use crate::stop::Code;

/// A host function as WasmEdge calls it.
pub(crate) type HostFunction = unsafe extern "C" fn(
    *mut c_void,
    *const ffi::WasmEdge_CallingFrameContext,
    *const ffi::WasmEdge_Value,
    *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result;

/// A host function that a module imports.
pub(crate) struct Import {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) ty: FunctionType,
    pub(crate) call: HostFunction,
}

/// Freed in this order: each of them may point to what comes after it.
pub(crate) struct Machine {
    cancel: Owned<ffi::WasmEdge_Async>,
    nothing: Owned<ffi::WasmEdge_FunctionInstanceContext>,
    guest: Option<Owned<ffi::WasmEdge_ModuleInstanceContext>>,
    hosts: Vec<Owned<ffi::WasmEdge_ModuleInstanceContext>>,
    store: Owned<ffi::WasmEdge_StoreContext>,
    executor: Owned<ffi::WasmEdge_ExecutorContext>,
    statistics: Option<Owned<ffi::WasmEdge_StatisticsContext>>,
    _config: Config,
}

impl Machine {
    /// An executor without modules; one that counts costs if it is `metered`.
    pub(crate) fn new(limits: &Limits, metered: bool) -> Result<Self, Code> {
        let config = Config::new(limiter::memory_pages(limits), metered)?;
        // SAFETY: what is made here is owned here; the executor keeps pointers to the statistics only, which are freed
        // after it.
        unsafe {
            let statistics = if metered { Some(Owned::new(ffi::WasmEdge_StatisticsCreate())?) } else { None };
            let counted = statistics.as_ref().map_or(null_mut(), Owned::as_ptr);
            let executor = Owned::new(ffi::WasmEdge_ExecutorCreate(config.as_ptr(), counted))?;
            let store = Owned::new(ffi::WasmEdge_StoreCreate())?;
            let ty = FunctionType::new(&Sig::new(&[], None))?;
            let nothing = Owned::new(ffi::WasmEdge_FunctionInstanceCreate(ty.as_ptr(), Some(nothing), null_mut(), 0))?;
            let cancel = cancel(&executor, &nothing)?;
            Ok(Machine {
                cancel,
                nothing,
                guest: None,
                hosts: Vec::new(),
                store,
                executor,
                statistics,
                _config: config,
            })
        }
    }

    /// Makes the instance. `data` is what host functions get.
    pub(crate) fn instantiate(&mut self, ast: &Ast, imports: &[Import], data: *mut c_void) -> Result<(), Code> {
        for import in imports.chunk_by(|one, next| one.module == next.module) {
            let host = host(import, data)?;
            let (executor, store) = (self.executor.as_ptr(), self.store.as_ptr());
            // SAFETY: all three objects live; the store has no module of this name, as imports come sorted by module.
            let registered = unsafe { ffi::WasmEdge_ExecutorRegisterImport(executor, store, host.as_ptr()) };
            self.hosts.push(host);
            Code::check(registered)?;
        }
        let mut guest = null_mut();
        // SAFETY: the executor and the store live; the module is validated and only read.
        unsafe {
            Code::check(ffi::WasmEdge_ExecutorInstantiate(
                self.executor.as_ptr(),
                &raw mut guest,
                self.store.as_ptr(),
                ast.as_ptr(),
            ))?;
            self.guest = Some(Owned::new(guest)?);
        }
        Ok(())
    }

    /// An exported function of the guest; it lives as long as this does.
    pub(crate) fn function(&self, export: &str) -> Option<*const ffi::WasmEdge_FunctionInstanceContext> {
        // SAFETY: the instance lives, the name is read only.
        let found = unsafe { ffi::WasmEdge_ModuleInstanceFindFunction(self.guest.as_ref()?.as_ptr(), name(export)) };
        (!found.is_null()).then_some(found.cast_const())
    }

    /// An exported memory of the guest; it lives as long as this does.
    pub(crate) fn memory(&self, export: &str) -> Option<*mut ffi::WasmEdge_MemoryInstanceContext> {
        // SAFETY: as above.
        let found = unsafe { ffi::WasmEdge_ModuleInstanceFindMemory(self.guest.as_ref()?.as_ptr(), name(export)) };
        (!found.is_null()).then_some(found)
    }

    /// An exported global of the guest; it lives as long as this does.
    pub(crate) fn global(&self, export: &str) -> Option<*mut ffi::WasmEdge_GlobalInstanceContext> {
        // SAFETY: as above.
        let found = unsafe { ffi::WasmEdge_ModuleInstanceFindGlobal(self.guest.as_ref()?.as_ptr(), name(export)) };
        (!found.is_null()).then_some(found)
    }

    pub(crate) fn executor(&self) -> *mut ffi::WasmEdge_ExecutorContext {
        self.executor.as_ptr()
    }

    /// The handle by which what the executor runs can be cancelled from any thread.
    pub(crate) fn cancel(&self) -> *mut ffi::WasmEdge_Async {
        self.cancel.as_ptr()
    }

    /// Sets what the next call may cost; only for one that counts costs.
    pub(crate) fn allow(&mut self, cost: u64) {
        let Some(statistics) = &self.statistics else { return };
        // SAFETY: they live, and nothing runs that counts in them.
        unsafe {
            ffi::WasmEdge_StatisticsClear(statistics.as_ptr());
            ffi::WasmEdge_StatisticsSetCostLimit(statistics.as_ptr(), cost);
        }
    }

    /// Takes back a cancellation that the executor has not heard of. Answers whether there was one.
    pub(crate) fn forget_cancellation(&mut self) -> bool {
        let (executor, nothing) = (self.executor.as_ptr(), self.nothing.as_ptr());
        // SAFETY: both live; the function has neither parameters nor results.
        let result = unsafe { ffi::WasmEdge_ExecutorInvoke(executor, nothing, null_mut(), 0, null_mut(), 0) };
        Code::check(result).is_err_and(|code| code.is(ffi::WasmEdge_ErrCode_Interrupted))
    }
}

/// Whether a handle of a call that ended long ago cancels what its executor runs now, which WasmEdge does not promise.
/// Deadlines rest on it.
pub(crate) fn probe() -> Result<bool, Code> {
    let mut machine = Machine::new(&Limits::default(), false)?;
    // SAFETY: the handle lives.
    unsafe { ffi::WasmEdge_AsyncCancel(machine.cancel()) };
    Ok(machine.forget_cancellation() && !machine.forget_cancellation())
}

/// Has the executor run nothing on a thread of WasmEdge's, for the handle's sake: it cancels by the executor, not by the
/// call, so it serves for all calls to come.
///
/// # Errors
/// [`Code::NO_THREAD`] if the system starts no thread.
fn cancel(
    executor: &Owned<ffi::WasmEdge_ExecutorContext>,
    nothing: &Owned<ffi::WasmEdge_FunctionInstanceContext>,
) -> Result<Owned<ffi::WasmEdge_Async>, Code> {
    // SAFETY: both objects live until the call has ended, for which this waits.
    let begin = || unsafe {
        let call = ffi::WasmEdge_ExecutorAsyncInvoke(executor.as_ptr(), nothing.as_ptr(), null_mut(), 0);
        Owned::new(call).ok()
    };
    let later = || {
        std::thread::sleep(PAUSE);
        begin()
    };
    // The thread of an instance that was made just now may still be ending.
    let call = begin().or_else(|| (0..TRIES).find_map(|_| later())).ok_or(Code::NO_THREAD)?;
    // SAFETY: the call lives; it has no results.
    Code::check(unsafe { ffi::WasmEdge_AsyncGet(call.as_ptr(), null_mut(), 0) })?;
    Ok(call)
}

/// How often it is tried again where no thread can be started, and after which time each.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(1);

/// A module of host functions.
fn host(imports: &[Import], data: *mut c_void) -> Result<Owned<ffi::WasmEdge_ModuleInstanceContext>, Code> {
    let module = imports.first().map_or("", |import| import.module);
    // SAFETY: names and types are copied; the module takes each function over.
    unsafe {
        let host = Owned::new(ffi::WasmEdge_ModuleInstanceCreate(name(module)))?;
        for import in imports {
            let function =
                Owned::new(ffi::WasmEdge_FunctionInstanceCreate(import.ty.as_ptr(), Some(import.call), data, 0))?;
            ffi::WasmEdge_ModuleInstanceAddFunction(host.as_ptr(), name(import.name), function.into_ptr());
        }
        Ok(host)
    }
}

unsafe extern "C" fn nothing(
    _data: *mut c_void,
    _frame: *const ffi::WasmEdge_CallingFrameContext,
    _params: *const ffi::WasmEdge_Value,
    _results: *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result {
    ffi::WasmEdge_Result { Code: 0 }
}

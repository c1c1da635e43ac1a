//! WasmEdge's C objects, each owned by a value that frees it.
//!
//! The safe layer above the same interface is not used: it copies memory, allocates for each call, and frees its
//! statistics while the executor still counts in them.

use std::ptr::NonNull;

use chassis_engine_api::{Sig, Ty};
use wasmedge_sys::ffi;

use crate::stop::Code;

/// A C object that is freed when this is dropped.
pub(crate) struct Owned<T: Object>(NonNull<T>);

/// A type of C objects.
pub(crate) trait Object {
    /// Frees one.
    ///
    /// # Safety
    /// `object` must come from the function that makes such objects, and must not be used again.
    unsafe fn delete(object: *mut Self);
}

macro_rules! objects {
    ($($object:ident freed by $delete:ident)*) => {
        $(
            impl Object for ffi::$object {
                unsafe fn delete(object: *mut Self) {
                    // SAFETY: as the caller promises.
                    unsafe { ffi::$delete(object) }
                }
            }
        )*
    };
}

objects! {
    WasmEdge_ConfigureContext freed by WasmEdge_ConfigureDelete
    WasmEdge_LoaderContext freed by WasmEdge_LoaderDelete
    WasmEdge_ValidatorContext freed by WasmEdge_ValidatorDelete
    WasmEdge_ASTModuleContext freed by WasmEdge_ASTModuleDelete
    WasmEdge_StatisticsContext freed by WasmEdge_StatisticsDelete
    WasmEdge_ExecutorContext freed by WasmEdge_ExecutorDelete
    WasmEdge_StoreContext freed by WasmEdge_StoreDelete
    WasmEdge_ModuleInstanceContext freed by WasmEdge_ModuleInstanceDelete
    WasmEdge_FunctionInstanceContext freed by WasmEdge_FunctionInstanceDelete
    WasmEdge_FunctionTypeContext freed by WasmEdge_FunctionTypeDelete
    WasmEdge_Async freed by WasmEdge_AsyncDelete
}

impl<T: Object> Owned<T> {
    /// Takes over what a function of WasmEdge has made.
    ///
    /// # Errors
    /// [`Code::NO_OBJECT`] if that gave none.
    ///
    /// # Safety
    /// If it is not null, nobody else must free `object`.
    pub(crate) unsafe fn new(object: *mut T) -> Result<Self, Code> {
        NonNull::new(object).map(Owned).ok_or(Code::NO_OBJECT)
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Leaves the object to whoever has the pointer.
    pub(crate) fn into_ptr(self) -> *mut T {
        let pointer = self.as_ptr();
        std::mem::forget(self);
        pointer
    }
}

impl<T: Object> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it is this value's alone, and this is its end.
        unsafe { T::delete(self.as_ptr()) }
    }
}

/// A module as WasmEdge read it. It is not changed any more, so that all threads may make instances of it.
pub(crate) struct Ast(Owned<ffi::WasmEdge_ASTModuleContext>);

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Ast {}
// SAFETY: it is only read, by functions that take it as a constant.
unsafe impl Sync for Ast {}

impl Ast {
    /// Reads and validates a module.
    ///
    /// # Errors
    /// WasmEdge's own code.
    pub(crate) fn new(config: &Config, bytes: &[u8]) -> Result<Self, Code> {
        let length = u32::try_from(bytes.len()).map_err(|_| Code::NO_OBJECT)?;
        let mut ast = std::ptr::null_mut();
        // SAFETY: the objects are made here and live until they are dropped here; `bytes` is read before the return.
        unsafe {
            let loader = Owned::new(ffi::WasmEdge_LoaderCreate(config.as_ptr()))?;
            let bytes = ffi::WasmEdge_BytesWrap(bytes.as_ptr(), length);
            Code::check(ffi::WasmEdge_LoaderParseFromBytes(loader.as_ptr(), &raw mut ast, bytes))?;
            let ast = Owned::new(ast)?;
            let validator = Owned::new(ffi::WasmEdge_ValidatorCreate(config.as_ptr()))?;
            Code::check(ffi::WasmEdge_ValidatorValidate(validator.as_ptr(), ast.as_ptr()))?;
            Ok(Ast(ast))
        }
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::WasmEdge_ASTModuleContext {
        self.0.as_ptr()
    }
}

/// Settings.
pub(crate) struct Config(Owned<ffi::WasmEdge_ConfigureContext>);

impl Config {
    /// WebAssembly 2.0 for the interpreter, with memories of so many pages at most; counting costs, or not.
    pub(crate) fn new(memory_pages: u64, costs: bool) -> Result<Self, Code> {
        // SAFETY: the object is made here; the setters only write to it.
        unsafe {
            let config = Owned::new(ffi::WasmEdge_ConfigureCreate())?;
            ffi::WasmEdge_ConfigureSetWASMStandard(config.as_ptr(), ffi::WasmEdge_Standard_WASM_2);
            ffi::WasmEdge_ConfigureSetRunMode(config.as_ptr(), ffi::WasmEdge_RunMode_Interpreter);
            ffi::WasmEdge_ConfigureSetMaxMemoryPage(config.as_ptr(), memory_pages);
            ffi::WasmEdge_ConfigureStatisticsSetCostMeasuring(config.as_ptr(), costs);
            Ok(Config(config))
        }
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::WasmEdge_ConfigureContext {
        self.0.as_ptr()
    }
}

/// The type of a host function.
pub(crate) struct FunctionType(Owned<ffi::WasmEdge_FunctionTypeContext>);

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for FunctionType {}
// SAFETY: it is only read, by functions that take it as a constant.
unsafe impl Sync for FunctionType {}

impl FunctionType {
    /// A type all of whose values fit a slot.
    pub(crate) fn new(sig: &Sig) -> Result<Self, Code> {
        let params: Vec<_> = sig.params.iter().map(|ty| value_type(*ty)).collect();
        let results: Vec<_> = sig.result.iter().map(|ty| value_type(*ty)).collect();
        // SAFETY: both lists are as long as is said, and are copied.
        let ty = unsafe {
            Owned::new(ffi::WasmEdge_FunctionTypeCreate(
                params.as_ptr(),
                params.len() as u32,
                results.as_ptr(),
                results.len() as u32,
            ))
        };
        Ok(FunctionType(ty?))
    }

    pub(crate) fn as_ptr(&self) -> *const ffi::WasmEdge_FunctionTypeContext {
        self.0.as_ptr()
    }
}

/// WasmEdge's form of a type.
#[inline]
pub(crate) fn value_type(ty: Ty) -> ffi::WasmEdge_ValType {
    // SAFETY: these functions make values from nothing.
    unsafe {
        match ty {
            Ty::I32 => ffi::WasmEdge_ValTypeGenI32(),
            Ty::I64 => ffi::WasmEdge_ValTypeGenI64(),
            Ty::F32 => ffi::WasmEdge_ValTypeGenF32(),
            Ty::F64 => ffi::WasmEdge_ValTypeGenF64(),
            Ty::V128 => ffi::WasmEdge_ValTypeGenV128(),
            Ty::Ref => ffi::WasmEdge_ValTypeGenFuncRef(),
        }
    }
}

/// A name for as long as a call takes, in which it is copied.
pub(crate) fn name(name: &str) -> ffi::WasmEdge_String {
    // Names come from modules, whose size is bounded.
    ffi::WasmEdge_String { Length: name.len() as u32, Buf: name.as_ptr().cast() }
}

/// An `i32` as a value.
pub(crate) fn i32_value(value: u32) -> ffi::WasmEdge_Value {
    ffi::WasmEdge_Value { Value: u128::from(value), Type: value_type(Ty::I32) }
}

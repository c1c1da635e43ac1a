//! WasmEdge by hand: its interpreter through the C interface, as its backend uses it, with neither counting nor
//! cancelling. What is used here is little and freed in one place, so that one type owns all of it.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

use wasmedge_sys::ffi;

use super::{GIVING, HandMade, write};
use crate::work::{Run, Unable, each, repeated};

/// 64 MiB.
const MEMORY_PAGES: u64 = 1024;

/// A module that was read and checked.
struct Ast {
    config: *mut ffi::WasmEdge_ConfigureContext,
    ast: *mut ffi::WasmEdge_ASTModuleContext,
}

impl Drop for Ast {
    fn drop(&mut self) {
        // SAFETY: both were made for this value alone; WasmEdge takes null here.
        unsafe {
            ffi::WasmEdge_ASTModuleDelete(self.ast);
            ffi::WasmEdge_ConfigureDelete(self.config);
        }
    }
}

/// What host functions have. It lies in a box of its own, as they keep its address.
struct Data {
    value: Vec<u8>,
    executor: *mut ffi::WasmEdge_ExecutorContext,
    memory: *mut ffi::WasmEdge_MemoryInstanceContext,
    malloc: *const ffi::WasmEdge_FunctionInstanceContext,
}

/// An instance; freed in the order in which one thing points to the next.
struct Guest {
    guest: *mut ffi::WasmEdge_ModuleInstanceContext,
    host: *mut ffi::WasmEdge_ModuleInstanceContext,
    store: *mut ffi::WasmEdge_StoreContext,
    executor: *mut ffi::WasmEdge_ExecutorContext,
    call: *const ffi::WasmEdge_FunctionInstanceContext,
    data: Box<Data>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: all were made for this value alone; WasmEdge takes null here.
        unsafe {
            ffi::WasmEdge_ModuleInstanceDelete(self.guest);
            ffi::WasmEdge_ModuleInstanceDelete(self.host);
            ffi::WasmEdge_StoreDelete(self.store);
            ffi::WasmEdge_ExecutorDelete(self.executor);
        }
    }
}

impl HandMade for Guest {
    fn call(&mut self, times: u32) -> Result<u32, String> {
        let params = [value(2), value(times), value(0)];
        let mut result = value(0);
        // SAFETY: the executor and the function live as long as `self`; both arrays are as long as is said.
        let ended =
            unsafe { ffi::WasmEdge_ExecutorInvoke(self.executor, self.call, params.as_ptr(), 3, &raw mut result, 1) };
        check(ended)?;
        Ok(result.Value as u32)
    }
}

pub(super) fn compile(module: &[u8]) -> Result<Run, Unable> {
    let module = module.to_vec();
    Ok(each(move || Ast::new(&module)))
}

pub(super) fn load(_module: &[u8]) -> Result<Run, Unable> {
    Err(Unable::NotMeaningful)
}

pub(super) fn instantiate(module: &[u8]) -> Result<Run, Unable> {
    let ast = Ast::new(module)?;
    Ok(repeated(move || Guest::new(&ast, &[], &[]).map(drop)))
}

pub(super) fn guest((module, value): (&[u8], &[u8])) -> Result<Box<dyn HandMade>, Unable> {
    // Which of the functions the guest imports does not matter here: all have different names.
    let host: &[Import] = &[("pthread_equal", 2, equal), (GIVING[0], 5, give), (GIVING[1], 5, give)];
    Ok(Box::new(Guest::new(&Ast::new(module)?, host, value)?))
}

impl Ast {
    fn new(module: &[u8]) -> Result<Self, String> {
        let length = u32::try_from(module.len()).map_err(|error| error.to_string())?;
        // SAFETY: what is made here is owned by `made` at once or freed here; `module` is read before the return.
        unsafe {
            let config = ffi::WasmEdge_ConfigureCreate();
            let mut made = Ast { config, ast: null_mut() };
            ffi::WasmEdge_ConfigureSetWASMStandard(config, ffi::WasmEdge_Standard_WASM_2);
            ffi::WasmEdge_ConfigureSetRunMode(config, ffi::WasmEdge_RunMode_Interpreter);
            ffi::WasmEdge_ConfigureSetMaxMemoryPage(config, MEMORY_PAGES);
            let loader = ffi::WasmEdge_LoaderCreate(config);
            let bytes = ffi::WasmEdge_BytesWrap(module.as_ptr(), length);
            let parsed = ffi::WasmEdge_LoaderParseFromBytes(loader, &raw mut made.ast, bytes);
            ffi::WasmEdge_LoaderDelete(loader);
            check(parsed)?;
            let validator = ffi::WasmEdge_ValidatorCreate(config);
            let valid = ffi::WasmEdge_ValidatorValidate(validator, made.ast);
            ffi::WasmEdge_ValidatorDelete(validator);
            check(valid)?;
            Ok(made)
        }
    }
}

/// A host function: its name in `env`, how many numbers it takes, and what it does. All answer one number.
type Import = (&'static str, usize, HostFunction);
type HostFunction = unsafe extern "C" fn(
    *mut c_void,
    *const ffi::WasmEdge_CallingFrameContext,
    *const ffi::WasmEdge_Value,
    *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result;

impl Guest {
    fn new(ast: &Ast, imports: &[Import], value: &[u8]) -> Result<Self, String> {
        // SAFETY: what is made here is owned by `made` at once; names and types are copied, and each function is taken
        // over by its module. The data's address stays the same for as long as the functions are there.
        unsafe {
            let executor = ffi::WasmEdge_ExecutorCreate(ast.config, null_mut());
            let data = Data { value: value.to_vec(), executor, memory: null_mut(), malloc: null() };
            let mut made = Guest {
                guest: null_mut(),
                host: null_mut(),
                store: ffi::WasmEdge_StoreCreate(),
                executor,
                call: null(),
                data: Box::new(data),
            };
            if !imports.is_empty() {
                made.host = ffi::WasmEdge_ModuleInstanceCreate(name("env"));
                for (import, params, function) in imports {
                    add(made.host, import, *params, *function, (&raw mut *made.data).cast());
                }
                check(ffi::WasmEdge_ExecutorRegisterImport(executor, made.store, made.host))?;
            }
            check(ffi::WasmEdge_ExecutorInstantiate(executor, &raw mut made.guest, made.store, ast.ast))?;
            made.data.memory = ffi::WasmEdge_ModuleInstanceFindMemory(made.guest, name("memory"));
            let malloc = ffi::WasmEdge_ModuleInstanceFindFunction(made.guest, name("proxy_on_memory_allocate"));
            made.data.malloc = malloc.cast_const();
            made.call =
                ffi::WasmEdge_ModuleInstanceFindFunction(made.guest, name("proxy_on_request_headers")).cast_const();
            if made.data.memory.is_null() || malloc.is_null() || made.call.is_null() {
                return Err("the guest lacks an export".to_owned());
            }
            Ok(made)
        }
    }
}

/// # Safety
/// `host` and `data` must live as long as the guest.
unsafe fn add(
    host: *mut ffi::WasmEdge_ModuleInstanceContext,
    import: &str,
    params: usize,
    function: HostFunction,
    data: *mut c_void,
) {
    // SAFETY: both lists are as long as is said, and copied with the type; the module takes the function over.
    unsafe {
        let types = [ffi::WasmEdge_ValTypeGenI32(); 5];
        let ty = ffi::WasmEdge_FunctionTypeCreate(types.as_ptr(), params as u32, types.as_ptr(), 1);
        let made = ffi::WasmEdge_FunctionInstanceCreate(ty, Some(function), data, 0);
        ffi::WasmEdge_ModuleInstanceAddFunction(host, name(import), made);
        ffi::WasmEdge_FunctionTypeDelete(ty);
    }
}

unsafe extern "C" fn equal(
    _data: *mut c_void,
    _frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const ffi::WasmEdge_Value,
    results: *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result {
    // SAFETY: WasmEdge gives as many values as the function's type has.
    unsafe {
        let (a, b) = ((*params).Value as u32, (*params.add(1)).Value as u32);
        results.write(value(u32::from(a == b)));
    }
    ffi::WasmEdge_Result { Code: 0 }
}

unsafe extern "C" fn give(
    data: *mut c_void,
    _frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const ffi::WasmEdge_Value,
    results: *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result {
    // SAFETY: `data` is the guest's own, which nobody changes while it runs; WasmEdge gives as many values as the
    // function's type has; the memory is looked up after the guest's allocator, which could move it, has run.
    unsafe {
        let data = &*data.cast::<Data>();
        let (pointer, size) = ((*params.add(3)).Value as u32, (*params.add(4)).Value as u32);
        let (asked, mut given) = (value(data.value.len() as u32), value(0));
        let ended = ffi::WasmEdge_ExecutorInvoke(data.executor, data.malloc, &raw const asked, 1, &raw mut given, 1);
        if !ffi::WasmEdge_ResultOK(ended) {
            return ended;
        }
        let bytes = ffi::WasmEdge_MemoryInstanceGetPageSize(data.memory) << 16;
        let start = ffi::WasmEdge_MemoryInstanceGetPointer(data.memory, 0, bytes as _);
        if start.is_null() {
            return ffi::WasmEdge_Result { Code: 1 };
        }
        let memory = std::slice::from_raw_parts_mut(start, bytes as usize);
        results.write(value(write(memory, given.Value as u32, &data.value, pointer, size)));
    }
    ffi::WasmEdge_Result { Code: 0 }
}

fn value(number: u32) -> ffi::WasmEdge_Value {
    // SAFETY: this makes a value from nothing.
    let ty = unsafe { ffi::WasmEdge_ValTypeGenI32() };
    ffi::WasmEdge_Value { Value: u128::from(number), Type: ty }
}

/// A name for as long as a call takes, in which it is copied.
fn name(name: &str) -> ffi::WasmEdge_String {
    ffi::WasmEdge_String { Length: name.len() as u32, Buf: name.as_ptr().cast() }
}

fn check(result: ffi::WasmEdge_Result) -> Result<(), String> {
    // SAFETY: these look at the result only; the message is a constant of WasmEdge's.
    unsafe {
        if ffi::WasmEdge_ResultOK(result) {
            return Ok(());
        }
        let message = ffi::WasmEdge_ResultGetMessage(result);
        if message.is_null() {
            return Err(format!("WasmEdge failed with code {}", result.Code));
        }
        Err(CStr::from_ptr(message).to_string_lossy().into_owned())
    }
}

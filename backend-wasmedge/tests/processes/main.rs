//! What may end a process, each in a child process, which is this program again: endless recursion in both of WasmEdge's
//! modes, and a system that starts no more threads.
//!
//! In the interpreter recursion is a trap, and takes little memory. Code that WasmEdge compiles dies of it, and takes the
//! process's signal handlers away besides, which is why that mode is not offered. Should such a case fail, the library
//! has got better, and the mode could be offered.
#![cfg(target_os = "linux")]
// Both the C interface and the system's signals are used as they are.
#![allow(unsafe_code, clippy::unwrap_used)]

mod threads;

use std::ffi::CString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};
use std::ptr::null_mut;

use chassis_backend_wasmedge::{WasmedgeEngine, WasmedgeLinked};
use chassis_engine_api::{
    Budget, CheckedModule, Engine, Export, ExportSpec, FrontLimits, HostModule, Instance, Limits, LinkPlan, Profile,
    Registrar, Sig, Stop, Support, TrapKind, Ty,
};
use libtest_mimic::{Arguments, Trial};
use wasmedge_sys::ffi;

const TASK: &str = "CHASSIS_WASMEDGE_TASK";

/// Recursion that a compiler cannot make a loop of.
const RECURSES: &str = r#"(module (memory 1) (table 1 funcref) (elem (i32.const 0) $down)
    (func $down (export "run") (param i32)
        (if (local.get 0) (then
            (call_indirect (param i32) (local.get 0) (i32.const 0))
            (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))))))"#;

fn main() {
    match std::env::var(TASK).as_deref() {
        Ok("recurse") => return recurse(),
        Ok("return") => return return_at_once(),
        Ok("signals") => return signals(),
        Ok("interpret") => return interpret(),
        Ok("no-thread") => return threads::none_can_be_started(),
        Ok("one-thread") => return threads::one_can_be_started(),
        _ => {}
    }
    let trials = vec![
        Trial::test("compiled/a_call_that_returns_does", || returns().map_err(Into::into)),
        Trial::test("compiled/endless_recursion_ends_the_process", || ends_the_process().map_err(Into::into)),
        Trial::test("compiled/signal_handlers_of_others_are_lost", || loses_handlers().map_err(Into::into)),
        Trial::test("interpreted/endless_recursion_traps_in_little_memory", || traps().map_err(Into::into)),
        Trial::test("compiled/it_is_refused_with_the_reason", || refused().map_err(Into::into)),
        Trial::test("threads/without_one_the_instance_is_refused", || succeeds("no-thread").map_err(Into::into)),
        one_thread(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn one_thread() -> Trial {
    let trial = Trial::test("threads/one_is_enough", || succeeds("one-thread").map_err(Into::into));
    if threads::can_be_alone() {
        return trial;
    }
    trial.with_kind("only root can count threads by a user of its own").with_ignored_flag(true)
}

/// The control: the child's ways are right.
fn returns() -> Result<(), String> {
    succeeds("return")
}

fn traps() -> Result<(), String> {
    succeeds("interpret")
}

fn succeeds(task: &str) -> Result<(), String> {
    let output = run(task);
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("it ended with {}: {said}", output.status)) }
}

fn ends_the_process() -> Result<(), String> {
    let status = child("recurse");
    match status.signal() {
        Some(_) => Ok(()),
        None => Err(format!("it ended with {status}: this library survives recursion")),
    }
}

fn loses_handlers() -> Result<(), String> {
    match child("signals").code() {
        Some(LOST) => Ok(()),
        other => Err(format!("the handler is still there: {other:?}")),
    }
}

fn refused() -> Result<(), String> {
    let engine = WasmedgeEngine::new(Profile::Deadline).map_err(|error| error.to_string())?;
    match engine.capabilities().aot {
        Support::None(reason) if reason.contains("signal handlers") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn child(task: &str) -> ExitStatus {
    run(task).status
}

fn run(task: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program).env(TASK, task).output().unwrap()
}

/// Exit code of a child whose signal handler was gone.
const LOST: i32 = 3;

/// The guest's stack is bounded to about 2 MiB; the allocator may take some times that while it grows.
const LITTLE: u64 = 24 << 10;

struct NoFunctions;

impl HostModule<()> for NoFunctions {
    fn register<R: Registrar<()>>(_registrar: &mut R) {}
}

/// An engine, and the module that recurses.
fn linked() -> (WasmedgeEngine, WasmedgeLinked<()>) {
    static EXPORTS: &[ExportSpec] = &[ExportSpec { name: "run", sig: Sig::new(&[Ty::I32], None) }];
    let module = CheckedModule::new(wat::parse_str(RECURSES).unwrap(), &FrontLimits::default()).unwrap();
    let engine = WasmedgeEngine::new(Profile::Deadline).unwrap();
    let plan = LinkPlan::new::<(), NoFunctions>(module.info(), EXPORTS).unwrap();
    let linked = engine.link::<(), NoFunctions>(&engine.compile(&module).unwrap(), plan).unwrap();
    (engine, linked)
}

fn interpret() {
    let (engine, linked) = linked();
    let mut instance = engine.instantiate(&linked, (), &Limits::default(), Budget::UNLIMITED).unwrap();
    let before = peak_kilobytes();
    let ended = instance.call(Export(0), &mut [1], Budget::UNLIMITED);
    assert!(matches!(&ended, Err(Stop::Trap(trap)) if trap.kind == TrapKind::StackOverflow), "{ended:?}");
    let taken = peak_kilobytes() - before;
    assert!(taken <= LITTLE, "{taken} kB");
}

/// The most memory that this process has had.
fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn recurse() {
    // A trap would be an error, which is what this library does not answer.
    assert_ne!(run_compiled(1), 0);
}

fn return_at_once() {
    assert_eq!(run_compiled(0), 0);
}

fn signals() {
    extern "C" fn mine(_signal: libc::c_int) {}
    let handler = mine as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing; the actions are valid for the calls.
    let kept = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, null_mut()), 0);
        assert_eq!(run_compiled(0), 0);
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut now), 0);
        now.sa_sigaction == handler
    };
    std::process::exit(if kept { 0 } else { LOST });
}

/// Compiles the module and calls `run`. Answers WasmEdge's code.
fn run_compiled(argument: i32) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.so");
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let wasm = wat::parse_str(RECURSES).unwrap();
    // SAFETY: all objects are made here and live to the end of the process; strings and bytes live to the end of this
    // function.
    unsafe {
        let config = ffi::WasmEdge_ConfigureCreate();
        ffi::WasmEdge_ConfigureSetRunMode(config, ffi::WasmEdge_RunMode_AOT);
        ffi::WasmEdge_ConfigureCompilerSetOutputFormat(config, ffi::WasmEdge_CompilerOutputFormat_Native);
        let compiler = ffi::WasmEdge_CompilerCreate(config);
        let bytes = ffi::WasmEdge_BytesWrap(wasm.as_ptr(), wasm.len() as u32);
        done(ffi::WasmEdge_CompilerCompileFromBytes(compiler, bytes, path.as_ptr()));
        let mut module = null_mut();
        let loader = ffi::WasmEdge_LoaderCreate(config);
        done(ffi::WasmEdge_LoaderParseFromFile(loader, &raw mut module, path.as_ptr()));
        done(ffi::WasmEdge_ValidatorValidate(ffi::WasmEdge_ValidatorCreate(config), module));
        let executor = ffi::WasmEdge_ExecutorCreate(config, null_mut());
        let mut instance = null_mut();
        let store = ffi::WasmEdge_StoreCreate();
        done(ffi::WasmEdge_ExecutorInstantiate(executor, &raw mut instance, store, module));
        let name = ffi::WasmEdge_StringWrap(c"run".as_ptr(), 3);
        let run = ffi::WasmEdge_ModuleInstanceFindFunction(instance, name);
        let argument = ffi::WasmEdge_ValueGenI32(argument);
        ffi::WasmEdge_ExecutorInvoke(executor, run, &raw const argument, 1, null_mut(), 0).Code
    }
}

fn done(result: ffi::WasmEdge_Result) {
    assert_eq!(result.Code, 0);
}

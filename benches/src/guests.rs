//! The texts of guests, made into modules.

use std::fmt::Write;

use chassis_engine_api::{CheckedModule, FrontLimits, Sig, Ty};

use crate::compute::{self, Kernel};

/// Where the heap of a guest that calls host functions begins.
pub(crate) const HEAP: u32 = 0x1_0000;
/// Where it ends: three times the largest value that is copied.
pub(crate) const HEAP_END: u32 = 0x31_0000;
/// Where the data lies that a guest gives to host functions.
pub(crate) const DATA: u32 = 0x400;

/// A plugin in Rust with the unmodified SDK, 105 KB: what compilers are given.
pub(crate) const SDK_PLUGIN: &[u8] = include_bytes!("../../plugins/rust/prime-auth.wasm");
/// A plugin of one request.
pub(crate) const LIFE: &str = include_str!("../guests/life.wat");

/// A host function with everything that a guest calls it with.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) sig: Sig,
    /// One for each Wasm parameter.
    pub(crate) args: Vec<u64>,
    /// What lies in the memory, and where.
    pub(crate) data: Vec<(u32, Vec<u8>)>,
}

/// The guest that calls a host function as often as the second parameter of `proxy_on_request_headers`,
/// `proxy_on_vm_start` or `proxy_on_configure` says, and answers what the last call answered.
///
/// # Errors
/// If the text is no module, which is a mistake in this crate.
pub(crate) fn calling(import: &Import) -> Result<Vec<u8>, String> {
    let type_of = |ty: &Ty| if *ty == Ty::I64 { " i64" } else { " i32" };
    let params: String = import.sig.params.iter().map(type_of).collect();
    let result = if import.sig.result.is_some() { " (result i32)" } else { "" };
    let args: String = import
        .sig
        .params
        .iter()
        .zip(&import.args)
        .map(|(ty, arg)| if *ty == Ty::I64 { format!(" (i64.const {arg})") } else { format!(" (i32.const {arg})") })
        .collect();
    let call = format!("(call $function{args})");
    let call = if import.sig.result.is_some() { format!("(local.set $last {call})") } else { call };
    let mut data = String::new();
    for (at, bytes) in &import.data {
        data.push_str(&segment(*at, bytes));
    }
    let (module, name) = (import.module, import.name);
    let text = format!(
        r#"(module
  (import "{module}" "{name}" (func $function (param{params}){result}))
  (memory (export "memory") {pages})
  {data}
  (global $next (mut i32) (i32.const {HEAP}))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (if (i32.gt_u (i32.add (local.get $at) (local.get $size)) (i32.const {HEAP_END}))
      (then (local.set $at (i32.const {HEAP}))))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func $run (param $times i32) (result i32) (local $last i32)
    (loop $again
      {call}
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $last))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $run (local.get 1)))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $run (local.get 1)))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $run (local.get 1)))
  (@custom "chassis.native" "bench"))"#,
        pages = HEAP_END >> 16,
    );
    binary(&text)
}

/// A guest with an empty `proxy_on_request_headers`, and one page of memory.
pub(crate) const EMPTY: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (@custom "chassis.native" "bench"))"#;

/// The guest that computes.
///
/// # Errors
/// As for [`calling`].
pub(crate) fn computing(kernel: Kernel) -> Result<Vec<u8>, String> {
    let table = match kernel {
        Kernel::Sha256 => compute::sha256_constants(),
        Kernel::Scan => compute::transitions().to_vec(),
    };
    let data = segment(0x1000, &table) + &segment(0x1_0000, compute::data());
    binary(&kernel.guest().replace(";;@DATA", &data))
}

/// A module from its text.
///
/// # Errors
/// As for [`calling`].
pub(crate) fn binary(text: &str) -> Result<Vec<u8>, String> {
    wat::parse_str(text).map_err(|error| format!("the guest's text is no module: {error}"))
}

/// A module that has passed the front check.
///
/// # Errors
/// If it does not.
pub(crate) fn checked(bytes: &[u8]) -> Result<CheckedModule, String> {
    CheckedModule::new(bytes, &FrontLimits::default()).map_err(|error| error.to_string())
}

fn segment(at: u32, bytes: &[u8]) -> String {
    let mut text = format!("(data (i32.const {at}) \"");
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "\\{byte:02x}");
    }
    text.push_str("\")\n  ");
    text
}

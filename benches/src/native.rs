//! The same guests in Rust, for the native engine: what is left of a measurement is the host's own cost.

use std::cell::Cell;
use std::sync::Arc;

use chassis_abi::{EXPORTS, ProxyWasm, VmState};
use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_engine_api::{Stop, TrapKind, erase};
use chassis_engines::ProxyWasmEngine;

use crate::compute::Kernel;
use crate::guests::{HEAP, HEAP_END, Import};

/// What a guest does in `proxy_on_request_headers`.
#[derive(Debug, Clone)]
pub(crate) enum Native {
    Nothing,
    Calls(Import),
    Computes(Kernel),
    Life,
}

/// The native engine with this guest.
pub(crate) fn engine(native: Native) -> ProxyWasmEngine {
    let native = Arc::new(native);
    let make = move || Program { native: Arc::clone(&native), next: Cell::new(HEAP), ready: Cell::new(false) };
    erase::<_, ProxyWasm, VmState>(NativeEngine::new().with_guest("bench", make), EXPORTS)
}

struct Program {
    native: Arc<Native>,
    next: Cell<u32>,
    /// Whether the data is in the memory: no data segments are carried out for a guest in Rust.
    ready: Cell<bool>,
}

/// What the text of the guest of one request has in its memory.
const LIFE_DATA: [(u32, &[u8]); 4] =
    [(0x100, b":path"), (0x110, b"user-agent"), (0x120, b"x-plugin"), (0x130, b"chassis")];

impl Guest for Program {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        if !self.ready.replace(true) {
            self.fill(host.memory())?;
        }
        match (export, &*self.native) {
            ("proxy_on_memory_allocate", native) => slots[0] = u64::from(self.allocate(native, slots[0] as u32)),
            ("proxy_on_request_headers" | "proxy_on_vm_start" | "proxy_on_configure", Native::Calls(import)) => {
                slots[0] = call(import, slots[1], host)?;
            }
            ("proxy_on_request_headers", Native::Computes(kernel)) => {
                slots[0] = (0..slots[1]).fold(0, |_, _| u64::from(std::hint::black_box(*kernel).run()));
            }
            ("proxy_on_request_headers", Native::Life) => {
                get(host, 0x100, 5)?;
                get(host, 0x110, 10)?;
                let mut add = [0, 0x120, 8, 0x130, 7];
                host.import("env", "proxy_add_header_map_value", &mut add)?;
                slots[0] = add[0];
            }
            ("proxy_on_vm_start" | "proxy_on_configure" | "proxy_on_done", _) => slots[0] = 1,
            ("proxy_on_context_create" | "proxy_on_log" | "proxy_on_delete", _) => {}
            _ => slots[0] = 0,
        }
        Ok(())
    }
}

impl Program {
    #[cold]
    fn fill(&self, memory: &mut [u8]) -> Result<(), Stop> {
        let data: Vec<(u32, &[u8])> = match &*self.native {
            Native::Calls(import) => import.data.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect(),
            Native::Life => LIFE_DATA.to_vec(),
            Native::Nothing | Native::Computes(_) => Vec::new(),
        };
        for (at, bytes) in data {
            let place = memory.get_mut(at as usize..at as usize + bytes.len());
            place.ok_or_else(|| Stop::trap(TrapKind::MemoryOutOfBounds))?.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The same allocator as the guests in Wasm have: what it gave is given again after a while.
    fn allocate(&self, native: &Native, size: u32) -> u32 {
        let (begin, end) = if matches!(native, Native::Life) { (0x1000, 0xf000) } else { (HEAP, HEAP_END) };
        let next = self.next.get();
        let fits = next >= begin && next.checked_add(size).is_some_and(|after| after <= end);
        let at = if fits { next } else { begin };
        self.next.set(at.saturating_add(size).saturating_add(7) & !7);
        at
    }
}

fn call(import: &Import, times: u64, host: &mut dyn Host) -> Result<u64, Stop> {
    let mut last = 0;
    for _ in 0..times {
        let mut slots = [0; 16];
        slots[..import.args.len()].copy_from_slice(&import.args);
        host.import(import.module, import.name, &mut slots)?;
        last = slots[0];
    }
    Ok(if import.sig.result.is_some() { last } else { 0 })
}

fn get(host: &mut dyn Host, name: u64, size: u64) -> Result<(), Stop> {
    host.import("env", "proxy_get_header_map_value", &mut [0, name, size, 0, 4])
}

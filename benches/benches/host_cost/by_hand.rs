//! Wasmtime's typed interface by hand: what a host would write that knows one engine, one plugin and one request. It checks
//! every pointer of the guest, and it has a deadline, but counts none.

use std::hint::black_box;

use bytes::Bytes;
use wasmtime::{Caller, Config, Engine, Linker, Memory, Module, OptLevel, Store, TypedFunc, UpdateDeadline};

use crate::Side;
use crate::through_host::CONTEXTS;

struct Data {
    headers: Vec<(Bytes, Bytes)>,
    memory: Option<Memory>,
    allocate: Option<TypedFunc<u32, u32>>,
}

pub(crate) struct ByHand {
    store: Store<Data>,
    tick: TypedFunc<u32, ()>,
    body: TypedFunc<(u32, u32, u32), u32>,
}

impl ByHand {
    pub(crate) fn new(guest: &[u8]) -> Self {
        let mut config = Config::new();
        config
            .cranelift_opt_level(OptLevel::Speed)
            .epoch_interruption(true)
            .max_wasm_stack(512 << 10)
            .gc_support(false)
            .memory_init_cow(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, guest).unwrap();
        let mut linker: Linker<Data> = Linker::new(&engine);
        linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |_: u32| 0_u32).unwrap();
        linker.func_wrap("env", "proxy_get_header_map_value", get_header).unwrap();
        linker.func_wrap("env", "proxy_get_header_map_pairs", |_: u32, _: u32, _: u32| 12_u32).unwrap();
        let mut store = Store::new(&engine, Data { headers: crate::life::headers(), memory: None, allocate: None });
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "memory");
        let allocate = instance.get_typed_func(&mut store, "proxy_on_memory_allocate").ok();
        (store.data_mut().memory, store.data_mut().allocate) = (memory, allocate);
        let tick = instance.get_typed_func(&mut store, "proxy_on_tick").unwrap();
        let body = instance.get_typed_func(&mut store, "proxy_on_request_body").unwrap();
        ByHand { store, tick, body }
    }
}

impl Side for ByHand {
    fn empty_callbacks(&mut self) {
        for context in 1..=CONTEXTS {
            self.store.set_epoch_deadline(1);
            self.tick.call(&mut self.store, black_box(context as u32)).unwrap();
        }
    }

    fn body(&mut self, size: u32) {
        self.store.set_epoch_deadline(1);
        assert_eq!(self.body.call(&mut self.store, (2, size, 0)).unwrap(), 0);
    }
}

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const INVALID_MEMORY_ACCESS: u32 = 6;

fn get_header(
    mut caller: Caller<'_, Data>,
    map: u32,
    name: u32,
    name_len: u32,
    pointer: u32,
    size: u32,
) -> wasmtime::Result<u32> {
    if map != 0 {
        return Ok(BAD_ARGUMENT);
    }
    let Some(memory) = caller.data().memory else { return Ok(INVALID_MEMORY_ACCESS) };
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    let slots_fit = slot(bytes, pointer).is_some() && slot(bytes, size).is_some();
    let Some(name) = bytes.get(name as usize..name as usize + name_len as usize).filter(|_| slots_fit) else {
        return Ok(INVALID_MEMORY_ACCESS);
    };
    let Some(index) = data.headers.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)) else {
        return Ok(NOT_FOUND);
    };
    let len = data.headers[index].1.len();
    let mut at = 0;
    if len > 0 {
        // Out of the store for the call: a clone would count references.
        let Some(allocate) = caller.data_mut().allocate.take() else { return Ok(INVALID_MEMORY_ACCESS) };
        let called = allocate.call(&mut caller, len as u32);
        caller.data_mut().allocate = Some(allocate);
        at = called?;
    }
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    if len > 0 {
        let place = bytes.get_mut(at as usize..at as usize + len).filter(|_| at != 0);
        let Some(place) = place else { return Ok(INVALID_MEMORY_ACCESS) };
        place.copy_from_slice(&data.headers[index].1);
    }
    // Memory never shrinks, so the slots are still there.
    for (place, number) in [(pointer, at), (size, len as u32)] {
        if let Some(slot) = slot(bytes, place) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
    }
    Ok(OK)
}

fn slot(memory: &mut [u8], at: u32) -> Option<&mut [u8]> {
    memory.get_mut(at as usize..at as usize + 4)
}

//! Rust guests for the native engine that do what the Wasm guests of some cases do.

use std::cell::Cell;

use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_engine_api::{Sig, Stop};

use crate::shapes::{self, KNOWN, OTHER, truncated};

/// The engine with all guests.
pub(crate) fn with_all(mut engine: NativeEngine) -> NativeEngine {
    for (name, _) in KNOWN.iter().chain(OTHER) {
        engine = engine.with_guest(format!("relay {name}"), || Relay(name));
    }
    for sig in shapes::all() {
        engine = engine.with_guest(format!("store {}", shapes::text(&sig)), move || Store(sig));
    }
    engine
        .with_guest("idle", || Script(|_, _, _| Ok(())))
        .with_guest("allocating", || Allocating(Cell::new(1024)))
        .with_guest("growing", || Script(growing))
        .with_guest("nesting", || Script(nesting))
        .with_guest("asking", || Script(|_, slots, host| host.import("env", "has", slots)))
        .with_guest("asking without end", || Script(asking_without_end))
        .with_guest("storing without end", || Script(storing_without_end))
        .with_guest("nesting without end", || Script(|_, slots, host| host.import("env", "nest", slots)))
        .with_guest("exiting", || Script(exiting))
        .with_guest("failing", || Script(failing))
        .with_guest("writing", || Script(writing))
        .with_guest("panicking", || Script(panicking))
        .with_guest("logging", || Script(|_, slots, host| host.import("env", "log", slots)))
        .with_guest("sizing", || Script(|_, _, host| host.import("env", "size", &mut [])))
        .with_guest("two ways", || Script(|_, slots, host| host.import("env", "two-ways", slots)))
        .with_guest("growing by as much", || Script(growing_by_as_much))
}

type Run = fn(&str, &mut [u64], &mut dyn Host) -> Result<(), Stop>;

struct Script(Run);

impl Guest for Script {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        (self.0)(export, slots, host)
    }
}

struct Relay(&'static str);

impl Guest for Relay {
    fn call(&self, _export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        host.import("shape", self.0, slots)
    }
}

struct Store(Sig);

impl Guest for Store {
    fn call(&self, _export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        let memory = host.memory();
        for (i, (ty, slot)) in self.0.params.iter().zip(&*slots).enumerate() {
            memory[8 * i..8 * i + 8].copy_from_slice(&truncated(*ty, *slot).to_le_bytes());
        }
        if let Some(ty) = self.0.result {
            let bytes = memory[1024..1032].try_into().unwrap();
            slots[0] = truncated(ty, u64::from_le_bytes(bytes));
        }
        Ok(())
    }
}

struct Allocating(Cell<u64>);

impl Guest for Allocating {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        if export == "run" {
            return host.import("env", "store", slots);
        }
        slots[0] = self.0.replace(self.0.get() + slots[0]);
        Ok(())
    }
}

fn growing(export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    if export == "alloc" {
        slots[0] = host.grow(1).map_or(u64::MAX, u64::from).wrapping_mul(65_536);
        return Ok(());
    }
    let mut call = [65_536, 200];
    host.import("env", "store", &mut call)?;
    slots[0] = u64::from(host.memory()[call[0] as usize]);
    Ok(())
}

fn nesting(_export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    if slots[0] == 0 {
        slots[0] = 1000;
        return Ok(());
    }
    let mut call = [slots[0] - 1];
    host.import("env", "nest", &mut call)?;
    slots[0] += call[0];
    Ok(())
}

fn asking_without_end(_export: &str, _slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    loop {
        host.import("env", "has", &mut [0])?;
    }
}

fn storing_without_end(export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    if export == "alloc" {
        slots[0] = 1024;
        return Ok(());
    }
    loop {
        host.import("env", "swallow", &mut [])?;
    }
}

fn exiting(export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    match (export, slots.first()) {
        ("alloc", _) => host.import("env", "exit", &mut [3]),
        (_, Some(code)) => host.import("env", "exit", &mut [*code]),
        (_, None) => host.import("env", "store", &mut [1, 1]),
    }
}

fn failing(export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    match (export, slots.first()) {
        ("alloc", _) => host.import("env", "fail", &mut [3]),
        (_, Some(n)) => host.import("env", "fail", &mut [*n]),
        (_, None) => {
            host.import("env", "store", &mut [1, 1])?;
            host.import("env", "exit", &mut [1])
        }
    }
}

fn writing(_export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    host.memory()[5] = 99;
    host.import("env", "log", &mut [4])?;
    host.import("env", "exit", slots)
}

fn panicking(export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    match (export, slots.first()) {
        ("alloc", _) | (_, Some(1)) => host.import("env", "panic", &mut []),
        (_, Some(2)) => host.import("env", "store", &mut [1, 1]),
        _ => Ok(()),
    }
}

fn growing_by_as_much(_export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
    slots[0] = host.grow(slots[0] as u32).map_or(u64::MAX, u64::from);
    Ok(())
}

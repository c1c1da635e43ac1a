//! Calls in both directions: every shape, every bit.

use std::panic::AssertUnwindSafe;

use chassis_engine_api::{Export, Instance, Sig};

use crate::case::engine_test;
use crate::guest::{GENEROUS, load};
use crate::host::exports;
use crate::panics::quietly;
use crate::shapes::{KNOWN, OTHER, all, text, truncated};
use crate::subject::Subject;

/// Values for the slot of a parameter or result: sign bits, all bits, and a different one for each place.
const PATTERNS: [fn(usize) -> u64; 4] = [
    |i| 0x8000_0000_8000_0000 + i as u64,
    |i| u64::MAX - i as u64,
    |i| 0x0123_4567_89ab_cdef_u64.rotate_left(8 * i as u32),
    |i| i as u64,
];

engine_test! { "calls";
    fn host_functions_of_each_known_shape(engine) {
        KNOWN.iter().for_each(|(name, sig)| relayed(engine, name, sig));
    }

    fn host_functions_of_other_shapes(engine) {
        OTHER.iter().for_each(|(name, sig)| relayed(engine, name, sig));
    }

    fn exports_of_each_shape(engine) {
        all().iter().for_each(|sig| stored(engine, sig));
    }

    fn only_the_export_of_the_right_type_is_there(engine) {
        let guest = load(
            engine,
            r#"(module (func (export "run") (param i64) (result i64) (local.get 0)) (func (export "other"))
                (@custom "chassis.native" "store (param i64) (result i64)"))"#,
        )
        .start();
        let there: Vec<String> = (0..exports().len())
            .filter(|i| guest.instance.has(Export(*i as u8)))
            .map(|i| format!("{} {}", exports()[i].name, exports()[i].sig))
            .collect();
        assert_eq!(there, ["run (i64) -> i64"]);
        assert!(!guest.instance.has(Export(255)));
    }

    fn calling_what_is_not_exported_panics(engine) {
        let mut guest = load(engine, r#"(module (@custom "chassis.native" "idle"))"#).start();
        let called = quietly(AssertUnwindSafe(|| guest.instance.call(Export(0), &mut [0], GENEROUS)));
        assert!(called.is_err());
    }

    fn too_few_slots_panic(engine) {
        let wat = relay("f i32 i32 -> i32", &Sig::new(&[chassis_engine_api::Ty::I32; 2], Some(chassis_engine_api::Ty::I32)));
        let mut guest = load(engine, &wat).start();
        let export = guest.export("run").unwrap();
        let called = quietly(AssertUnwindSafe(|| guest.instance.call(export, &mut [0], GENEROUS)));
        assert!(called.is_err());
    }

    fn spare_slots_are_left_alone(engine) {
        let wat = relay("f i32 -> i32", &Sig::new(&[chassis_engine_api::Ty::I32], Some(chassis_engine_api::Ty::I32)));
        let mut guest = load(engine, &wat).start();
        guest.instance.state().reply = 9;
        let export = guest.export("run").unwrap();
        let mut slots = [5, 6, 7];
        guest.instance.call(export, &mut slots, GENEROUS).unwrap();
        assert_eq!(slots, [9, 6, 7]);
        assert_eq!(guest.log(), [5]);
    }

    fn an_instance_remembers_from_call_to_call(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (global $n (mut i32) (i32.const 0)) (func (export "run") (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#,
        )
        .start();
        for n in 1..=10_000 {
            assert_eq!(guest.run(&[]).unwrap(), n);
        }
    }

    fn host_functions_are_called_through_tables(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $log (param i32))) (import "env" "size" (func $size))
                (memory (export "memory") 2) (table 2 funcref) (elem (i32.const 0) $size $log)
                (func (export "run") (param i32)
                    (call_indirect (param i32) (local.get 0) (i32.const 1))
                    (call_indirect (i32.const 0))))"#,
        )
        .start();
        guest.run(&[77]).unwrap();
        assert_eq!(guest.log(), [77, 2 << 16]);
    }

    fn an_import_that_is_exported_is_called_directly(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "size" (func $size)) (memory (export "memory") 3) (export "run" (func $size)))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        guest.run(&[]).unwrap();
        assert_eq!(guest.log(), [3 << 16, 3 << 16]);
    }

    fn an_exported_import_reenters_the_guest(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "store" (func $store (param i32 i32) (result i32))) (memory (export "memory") 1)
                (func (export "alloc") (param i32) (result i32) (drop (memory.grow (i32.const 1))) (i32.const 65536))
                (export "run" (func $store)))"#,
        )
        .start();
        assert_eq!(guest.run(&[10, 0xab]).unwrap(), 65_536);
        assert_eq!((guest.log(), guest.byte(65_545)), (vec![1 << 16, 2 << 16], 0xab));
    }

    fn results_of_imports_that_are_exported_have_their_bits(engine) needs [Wasm] {
        for (name, sig) in KNOWN.iter().chain(OTHER) {
            let wat = format!(
                r#"(module (import "shape" "{name}" (func $f {})) (export "run" (func $f)))"#,
                text(sig)
            );
            exchange(engine, &wat, sig);
        }
    }
}

/// A guest that passes its parameters to a host function and the result back.
fn relay(name: &str, sig: &Sig) -> String {
    let ty = text(sig);
    let params: String = (0..sig.params.len()).map(|i| format!("(local.get {i})")).collect();
    format!(
        r#"(module (import "shape" "{name}" (func $f {ty})) (func (export "run") {ty} {params} (call $f))
            (@custom "chassis.native" "relay {name}"))"#
    )
}

fn relayed<E: Subject>(engine: &E, name: &str, sig: &Sig) {
    exchange(engine, &relay(name, sig), sig);
}

fn exchange<E: Subject>(engine: &E, wat: &str, sig: &Sig) {
    let mut guest = load(engine, wat).start();
    for (n, pattern) in PATTERNS.iter().enumerate() {
        let reply = PATTERNS[(n + 1) % PATTERNS.len()](31);
        guest.instance.state().reply = reply;
        let params: Vec<u64> = (0..sig.params.len()).map(pattern).collect();
        let result = guest.run(&params).unwrap();
        let seen: Vec<u64> = sig.params.iter().zip(&params).map(|(ty, slot)| truncated(*ty, *slot)).collect();
        assert_eq!(guest.log(), seen, "{sig}");
        if let Some(ty) = sig.result {
            assert_eq!(result, truncated(ty, reply), "{sig}");
        }
    }
}

/// A guest that stores its parameters 8 bytes apart and answers what it loads from 1024.
fn stored<E: Subject>(engine: &E, sig: &Sig) {
    let ty = text(sig);
    let stores: String = sig
        .params
        .iter()
        .enumerate()
        .map(|(i, ty)| format!("({ty}.store offset={} (i32.const 0) (local.get {i}))", 8 * i))
        .collect();
    let load_result: String = sig.result.iter().map(|ty| format!("({ty}.load offset=1024 (i32.const 0))")).collect();
    let mut guest = load(
        engine,
        &format!(
            r#"(module (memory (export "memory") 1) (func (export "run") {ty} {stores} {load_result})
                (@custom "chassis.native" "store {ty}"))"#
        ),
    )
    .start();
    for (n, pattern) in PATTERNS.iter().enumerate() {
        let reply = PATTERNS[(n + 1) % PATTERNS.len()](31);
        let (memory, _) = guest.instance.memory();
        memory[..1024].fill(0);
        memory[1024..1032].copy_from_slice(&reply.to_le_bytes());
        let params: Vec<u64> = (0..sig.params.len()).map(pattern).collect();
        let result = guest.run(&params).unwrap();
        let (memory, _) = guest.instance.memory();
        for (i, ty) in sig.params.iter().enumerate() {
            let bytes = memory[8 * i..8 * i + 8].try_into().unwrap();
            assert_eq!(u64::from_le_bytes(bytes), truncated(*ty, params[i]), "parameter {i} of {sig}");
        }
        if let Some(ty) = sig.result {
            assert_eq!(result, truncated(ty, reply), "{sig}");
        }
    }
}

//! Linking: what a module imports and exports, and what the host makes of it.

use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{Export, Instance, Limits, LoadError, erase};

use crate::case::engine_test;
use crate::guest::{GENEROUS, checked, link, load, planned};
use crate::host::{Functions, State, exports};

engine_test! { "linking";
    fn everything_that_is_missing_is_reported_at_once(engine) {
        let wat = r#"(module (import "env" "unknown" (func)) (import "env" "log" (func (param i32)))
            (import "nowhere" "hinted" (func (param i32))) (import "env" "log" (func (param i64)))
            (import "env" "table" (table 1 funcref)) (import "env" "log" (global i32))
            (func (export "alloc") (param i64)) (memory (export "nest") 1) (@custom "chassis.native" "idle"))"#;
        let error = load_any(engine, wat).unwrap_err();
        let LoadError::Link(error) = error else { panic!("{error}") };
        let missing: Vec<String> = error.missing.iter().map(ToString::to_string).collect();
        assert_eq!(missing, [
            "missing import env.unknown",
            "missing import nowhere.hinted: a better host has it",
            "missing import env.log (its type is `(i64)`, offered is `(i32)`)",
            "missing import env.table (a table cannot be imported, only functions)",
            "missing import env.log (a global cannot be imported, only functions)",
        ]);
        let wrong: Vec<String> = error.wrong.iter().map(ToString::to_string).collect();
        assert_eq!(wrong, [
            "export alloc is `(i64)`, expected `(i32) -> i32`",
            "export nest is a memory, expected `(i32) -> i32`",
        ]);
    }

    fn names_cannot_forge_the_report(engine) {
        let wat = "(module (import \"a\\nb\" \"c\\u{1b}[31m\" (func)) (@custom \"chassis.native\" \"idle\"))";
        assert_eq!(load_any(engine, wat).unwrap_err().to_string(), "missing import a\\nb.c\\u{1b}[31m");
    }

    fn a_function_may_be_imported_twice(engine) {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $a (param i32))) (import "env" "size" (func))
                (import "env" "log" (func $b (param i32)))
                (func (export "run") (param i32) (call $b (local.get 0)))
                (@custom "chassis.native" "logging"))"#,
        )
        .start();
        guest.run(&[6]).unwrap();
        assert_eq!(guest.log(), [6]);
    }

    fn the_type_of_the_import_decides_between_functions_of_one_name(engine) {
        for (result, seen) in [("", 1), ("(result i32)", 2)] {
            let wat = format!(
                r#"(module (import "env" "two-ways" (func $two {result})) (func (export "run") {result} (call $two))
                    (@custom "chassis.native" "two ways"))"#
            );
            let mut guest = load(engine, &wat).start();
            let answer = guest.run(&[]).unwrap();
            assert_eq!(guest.log(), [seen]);
            assert!(result.is_empty() || answer == 2);
        }
    }

    fn one_name_with_two_types_in_one_module_is_refused(engine) {
        let wat = r#"(module (import "env" "two-ways" (func)) (import "env" "two-ways" (func (result i32)))
            (@custom "chassis.native" "idle"))"#;
        assert!(load_any(engine, wat).unwrap_err().to_string().contains("imported twice with different types"));
    }

    fn each_import_gets_its_own_function(engine) needs [Wasm] {
        // Imports in another order than the host registers them, with unused ones in between.
        let mut guest = load(
            engine,
            r#"(module (import "shape" "f i32 ->" (func (param i32))) (import "env" "size" (func $size))
                (import "env" "has" (func $has (param i32) (result i32))) (import "env" "log" (func $log (param i32)))
                (import "env" "log" (func $log2 (param i32))) (memory (export "memory") 1)
                (func (export "run") (call $log2 (i32.const 5)) (call $size) (call $log (call $has (i32.const 0)))))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert_eq!(guest.log(), [5, 1 << 16, 0]);
    }

    fn unknown_exports_do_no_harm(engine) {
        let mut guest = load(
            engine,
            r#"(module (global (export "g") i32 (i32.const 1)) (table (export "t") 1 funcref)
                (func (export "unknown") (param i64 f32) (result f64) unreachable)
                (func (export "") unreachable) (func (export "many") (result i32 i32) unreachable)
                (func (export "run") (result i32) (i32.const 7))
                (memory (export "memory") 1) (@custom "chassis.native" "store (param) (result i32)"))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert!(guest.export("absent").is_none());
    }

    fn a_module_may_be_empty(engine) {
        let mut guest = load(engine, r#"(module (@custom "chassis.native" "idle"))"#).start();
        assert!((0..exports().len()).all(|i| !guest.instance.has(Export(i as u8))));
        assert!(guest.instance.memory().0.is_empty());
        assert_eq!(guest.instance.memory_bytes(), 0);
    }

    fn a_memory_of_no_pages_is_an_empty_slice(engine) {
        let mut guest = load(
            engine,
            r#"(module (import "env" "size" (func $size)) (memory (export "memory") 0)
                (func (export "run") (call $size)) (@custom "chassis.native" "sizing"))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert_eq!((guest.log(), guest.instance.memory().0.len(), guest.instance.memory_bytes()), (vec![0], 0, 0));
    }

    fn without_a_memory_the_slice_is_empty(engine) {
        let mut guest = load(
            engine,
            r#"(module (import "env" "size" (func $size)) (func (export "run") (call $size))
                (@custom "chassis.native" "sizing"))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert_eq!((guest.log(), guest.instance.memory().0.len(), guest.instance.memory_bytes()), (vec![0], 0, 0));
    }

    fn a_memory_under_another_name_is_not_the_hosts(engine) {
        for export in ["", r#"(export "mem")"#] {
            let wat = format!(
                r#"(module (import "env" "size" (func $size)) (memory {export} 1) (func (export "run") (call $size))
                    (@custom "chassis.native" "sizing"))"#
            );
            let mut guest = load(engine, &wat).start();
            guest.run(&[]).unwrap();
            assert_eq!((guest.log(), guest.instance.memory().0.len(), guest.instance.memory_bytes()), (vec![0], 0, 0));
        }
    }

    fn something_else_named_memory_is_no_memory(engine) {
        let mut guest = load(
            engine,
            r#"(module (import "env" "size" (func $size)) (func (export "memory") (result i32) (i32.const 1))
                (memory (export "other") 1) (func (export "run") (call $size)) (@custom "chassis.native" "sizing"))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert_eq!(guest.log(), [0]);
    }

    fn one_compiled_module_is_linked_more_than_once(engine) {
        let module = checked(
            r#"(module (import "env" "log" (func $log (param i32))) (func (export "run") (param i32) (call $log (local.get 0)))
                (@custom "chassis.native" "logging"))"#,
        );
        let compiled = engine.compile(&module).unwrap();
        let (one, two) = (link(engine, &module, &compiled), link(engine, &module, &compiled.clone()));
        drop(compiled);
        for mut guest in [one.start(), two.start()] {
            guest.run(&[4]).unwrap();
            assert_eq!(guest.log(), [4]);
        }
    }

    fn the_object_safe_edge_does_the_same(engine) {
        let module = checked(
            r#"(module (import "env" "log" (func $log (param i32))) (memory (export "memory") 1)
                (func (export "run") (param i32) (call $log (local.get 0))) (@custom "chassis.native" "logging"))"#,
        );
        let any = erase::<E, Functions, State>(engine.clone(), exports());
        assert_eq!((any.capabilities(), any.profile()), (engine.capabilities(), engine.profile()));
        assert_eq!(any.cache_key(), engine.cache_key());
        let linked = any.load(&module, &CompilePolicy::InProcess).unwrap();
        assert_eq!(linked.module().digest(), module.digest());
        assert_eq!(linked.capabilities().name, engine.capabilities().name);
        let mut instance = linked.instantiate(State::default(), &Limits::default(), GENEROUS).ok().unwrap();
        let run = (0..exports().len()).map(|i| Export(i as u8)).find(|export| instance.has(*export)).unwrap();
        instance.call(run, &mut [9], GENEROUS).unwrap();
        assert_eq!((instance.state().log.clone(), instance.memory_bytes()), (vec![9], 1 << 16));
    }

    fn cache_keys_tell_engines_versions_and_profiles_apart(engine) {
        let key = engine.cache_key();
        let capabilities = engine.capabilities();
        for part in [capabilities.name, capabilities.version, engine.profile().as_str()] {
            assert!(key.contains(part), "{key} says nothing of {part}");
        }
        assert_eq!(E::open(engine.profile()).cache_key(), key);
        assert!(!key.contains('\n'), "{key}");
    }

    fn the_plan_knows_what_the_module_has(engine) {
        let module = checked(
            r#"(module (import "env" "size" (func)) (memory (export "memory") 1)
                (func (export "alloc") (param i32) (result i32) unreachable) (@custom "chassis.native" "idle"))"#,
        );
        let plan = planned(&module).unwrap();
        let guest = link(engine, &module, &engine.compile(&module).unwrap()).start();
        for i in 0..exports().len() {
            let export = Export(i as u8);
            assert_eq!(guest.instance.has(export), plan.has(export), "{:?}", exports()[i]);
        }
    }
}

fn load_any<E: crate::subject::Subject>(engine: &E, wat: &str) -> Result<(), LoadError> {
    let any = erase::<E, Functions, State>(engine.clone(), exports());
    any.load(&checked(wat), &CompilePolicy::InProcess).map(|_| ())
}

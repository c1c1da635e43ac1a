//! The parts that are not checked by the compiler: who owns an instance's data, on which thread it is used, and how
//! long references into its memory are good for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::*;

fn witnessed() -> (State, Arc<()>) {
    let witness = Arc::new(());
    (State { _witness: Some(witness.clone()), ..State::default() }, witness)
}

#[test]
fn the_state_is_dropped_once_with_its_instance() {
    let engine = WasmerEngine::new(Profile::Deadline).unwrap();
    let (state, witness) = witnessed();
    let wat = format!(r#"(module {IMPORTS} (func (export "run") (call $note (i32.const 1))))"#);
    let mut instance = try_start(&engine, &wat, state, ticks(1_000)).unwrap();
    run(&mut instance).unwrap();
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(instance);
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn the_state_comes_back_from_an_instance_that_could_not_be_made() {
    let engine = WasmerEngine::new(Profile::Deadline).unwrap();
    for body in ["unreachable", "(call $fail)", "(loop (br 0))"] {
        let (state, witness) = witnessed();
        let wat = format!("(module {IMPORTS} (func $start (call $note (i32.const 3)) {body}) (start $start))");
        let failed = try_start(&engine, &wat, state, ticks(20)).unwrap_err();
        assert_eq!(failed.state.noted, [3], "{body}");
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(failed);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}

#[test]
fn a_panic_in_the_start_function_drops_the_state_too() {
    let engine = WasmerEngine::new(Profile::Deadline).unwrap();
    let (state, witness) = witnessed();
    let wat = format!("(module {IMPORTS} (start $panic))");
    assert!(catch_unwind(AssertUnwindSafe(|| try_start(&engine, &wat, state, ticks(1_000)))).is_err());
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn an_instance_is_made_called_stopped_and_dropped_on_different_threads() {
    each(Profile::Deadline, |engine| {
        let (state, witness) = witnessed();
        let wat = format!(
            r#"(module {IMPORTS} (memory (export "memory") 1) (func (export "inner") (drop (memory.grow (i32.const 1))))
                (func (export "with") (param i32) (result i32)
                    (if (i32.eqz (local.get 0)) (then unreachable))
                    (if (i32.eq (local.get 0) (i32.const 1)) (then (call $panic)))
                    (if (i32.eq (local.get 0) (i32.const 2)) (then (loop (br 0))))
                    (call $nest) (memory.size)))"#
        );
        let made = thread::scope(|scope| scope.spawn(|| try_start(engine, &wat, state, ticks(1_000))).join());
        let mut instance = made.unwrap().unwrap();
        for round in 1..=5_u64 {
            for way in [3, 0, 1, 2] {
                let (back, kind) = thread::spawn(move || {
                    let mut slots = [way];
                    let called = AssertUnwindSafe(|| instance.call(WITH, &mut slots, ticks(20)));
                    let kind = match catch_unwind(called) {
                        Ok(Ok(_)) => "done",
                        Ok(Err(stop)) => stop.kind(),
                        Err(_) => "panic",
                    };
                    assert!(kind != "done" || slots[0] == round + 1);
                    (instance, kind)
                })
                .join()
                .unwrap();
                instance = back;
                assert_eq!(kind, ["trap", "panic", "deadline", "done"][way as usize]);
            }
        }
        assert_eq!(instance.memory().0.len(), 6 << 16);
        thread::spawn(move || drop(instance)).join().unwrap();
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}

#[test]
fn host_functions_see_the_memory_as_it_is_after_re_entry() {
    each(Profile::Deadline, |engine| {
        let wat = format!(
            r#"(module {IMPORTS} (memory (export "memory") 0) (func (export "inner") (drop (memory.grow (i32.const 1))))
                (func (export "run") (call $nest)
                    (call $note (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))))"#
        );
        let mut instance = start(engine, &wat);
        for _ in 0..3 {
            run(&mut instance).unwrap();
        }
        assert_eq!(instance.memory().1.noted, [0, 1 << 16, 0x5a, 1 << 16, 2 << 16, 0x5a, 2 << 16, 3 << 16, 0x5a]);
        assert_eq!(instance.memory_bytes(), 3 << 16);
        let (bytes, state) = instance.memory();
        state.noted.clear();
        bytes.fill(1);
        assert_eq!(instance.memory().0.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 3 << 16);
    });
}

#[test]
fn each_instance_has_limits_of_its_own() {
    let engine = WasmerEngine::new(Profile::Deadline).unwrap();
    let wat = r#"(module (memory (export "memory") 1) (table 1 funcref)
        (func (export "with") (param i32) (result i32)
            (i32.add (memory.grow (local.get 0)) (table.grow (ref.null func) (local.get 0)))))"#;
    let linked = link(&engine, wat);
    let mut grown = Vec::new();
    for pages in [1, 2, 3] {
        let limits = Limits { memory_bytes: pages << 16, table_elements: pages as u32 };
        let mut instance = engine.instantiate(&linked, State::default(), &limits, ticks(1_000)).unwrap();
        let mut slots = [2];
        instance.call(WITH, &mut slots, ticks(1_000)).unwrap();
        grown.push((slots[0] as u32 as i32, instance.memory_bytes()));
    }
    assert_eq!(grown, [(-2, 1 << 16), (-2, 1 << 16), (2, 3 << 16)]);
}

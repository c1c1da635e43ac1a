use super::*;

/// A parameter that shows sign extension, truncation and swapped places.
fn constant(ty: Ty, at: usize) -> (String, u64) {
    let bits = 0xf000_0000_9000_0000_u64 + (at as u64 + 1) * 0x1_0000_0001;
    match ty {
        I32 => (format!("(i32.const {})", bits as u32 as i32), u64::from(bits as u32)),
        I64 => (format!("(i64.const {})", bits as i64), bits),
        F32 => (format!("(f32.reinterpret_i32 (i32.const {}))", bits as u32 as i32), u64::from(bits as u32)),
        _ => (format!("(f64.reinterpret_i64 (i64.const {}))", bits as i64), bits),
    }
}

#[test]
fn host_functions_of_every_shape_get_their_parameters_and_return_their_result() {
    let engine = engine(Profile::Deadline);
    for (n, sig) in SHAPES.iter().enumerate() {
        let name = NAMES[n];
        let params: Vec<String> = sig.params.iter().map(Ty::to_string).collect();
        let result = sig.result.map_or(String::new(), |ty| format!("(result {ty})"));
        let (constants, expected): (Vec<String>, Vec<u64>) =
            sig.params.iter().enumerate().map(|(at, ty)| constant(*ty, at)).unzip();
        let wat = format!(
            r#"(module (import "host" "{name}" (func $f (param {}) {result})) (func (export "run") {result} (call $f {})))"#,
            params.join(" "),
            constants.join(" "),
        );
        let mut instance = try_start(&engine, &wat, &Limits::default()).unwrap();
        instance.state().answer = 0xfedc_ba98_8765_4321;
        let (export, answer) = match sig.result {
            None => (RUN, 0),
            Some(I32) => (RUN_I32, 0x8765_4321),
            Some(F32) => (RUN_F32, 0x8765_4321),
            Some(I64) => (RUN_I64, 0xfedc_ba98_8765_4321),
            Some(_) => (RUN_F64, 0xfedc_ba98_8765_4321),
        };
        assert!(instance.has(export), "{sig}");
        assert_eq!(call(&mut instance, export).unwrap(), answer, "{sig}");
        assert_eq!(instance.state().calls, [(name, expected)], "{sig}");
    }
}

#[test]
fn exports_of_every_shape_get_their_parameters_and_return_their_result() {
    let sum = (0..16).fold("(i64.const 0)".to_owned(), |sum, n| {
        format!("(i64.add {sum} (i64.mul (local.get {n}) (i64.const {})))", n + 1)
    });
    let mut instance = start(&format!(
        r#"(module
            (global $seen (mut i32) (i32.const 0))
            (func (export "mixed") (param i64 f64 f32 i32) (result f64)
                (f64.add (f64.add (f64.convert_i64_s (local.get 0)) (local.get 1))
                    (f64.add (f64.promote_f32 (local.get 2)) (f64.convert_i32_s (local.get 3)))))
            (func (export "wide") (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
                {sum})
            (func (export "five") (param i32 i32 i32 i32 i32)
                (global.set $seen (i32.add (local.get 0) (i32.mul (local.get 4) (i32.const 10)))))
            (func (export "run") (result i32) (global.get $seen)))"#
    ));
    let budget = Budget::UNLIMITED;
    let mut slots = [(-7_i64) as u64, 0.5_f64.to_bits(), u64::from(0.25_f32.to_bits()), u64::from((-3_i32) as u32)];
    instance.call(MIXED, &mut slots, budget).unwrap();
    assert_eq!(f64::from_bits(slots[0]), -9.25);

    let mut slots: [u64; 16] = std::array::from_fn(|n| 1_000_000_000_000 + n as u64);
    let expected: u64 = slots.iter().zip(1_u64..).map(|(slot, factor)| slot * factor).sum();
    instance.call(WIDE, &mut slots, budget).unwrap();
    assert_eq!(slots[0], expected);

    // What is above an i32 in its slot does not matter.
    let mut slots = [0xffff_ffff_0000_0003, 0, 0, 0, 4];
    instance.call(FIVE, &mut slots, budget).unwrap();
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 43);
}

#[test]
fn re_entry_may_move_the_memory_and_the_host_sees_it_grown() {
    let mut instance = start(
        r#"(module (import "host" "give" (func $give (param i32) (result i32))) (memory (export "memory") 1)
            (func (export "alloc") (param i32) (result i32)
                (i32.mul (memory.grow (local.get 0)) (i32.const 65536)))
            (func (export "run") (result i64) (i64.load (call $give (i32.const 300)))))"#,
    );
    instance.state().answer = 0x0123_4567_89ab_cdef;
    assert_eq!(call(&mut instance, RUN_I64).unwrap(), 0x0123_4567_89ab_cdef);
    assert_eq!(instance.state().calls, [("give", vec![1 << 16, 301 << 16])]);
    assert_eq!(instance.memory_bytes(), 301 << 16);
    let (memory, _) = instance.memory();
    assert_eq!(memory.len(), 301 << 16);
    assert_eq!(memory[1 << 16], 0xef);
}

#[test]
fn exports_of_another_type_are_not_there() {
    let mut instance = start(r#"(module (func (export "run") (result i64) (i64.const 5)))"#);
    assert!(instance.has(RUN_I64) && !instance.has(RUN) && !instance.has(RUN_I32) && !instance.has(ALLOC));
    assert!(!instance.has(Export(200)));
    assert_eq!(instance.memory_bytes(), 0);
    assert!(instance.memory().0.is_empty());
}

#[test]
#[should_panic(expected = "the module does not export")]
fn calling_what_is_not_exported_panics() {
    let _ = call(&mut start("(module)"), RUN);
}

#[test]
#[should_panic(expected = "out of range")]
fn too_few_slots_panic() {
    let mut instance = start(r#"(module (func (export "five") (param i32 i32 i32 i32 i32)))"#);
    let _ = instance.call(FIVE, &mut [0; 4], Budget::UNLIMITED);
}

#[test]
fn a_panic_of_a_host_function_passes_through_and_the_instance_lives_on() {
    let mut instance = start(
        r#"(module (import "host" "panic" (func $panic)) (func (export "run") (call $panic))
            (func (export "alloc") (param i32) (result i32) (local.get 0)))"#,
    );
    let call_it = std::panic::AssertUnwindSafe(|| call(&mut instance, RUN));
    let panic = std::panic::catch_unwind(call_it).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a host function's own mistake"));
    let mut slots = [7];
    instance.call(ALLOC, &mut slots, Budget::UNLIMITED).unwrap();
    assert_eq!(slots, [7]);
}

#[test]
fn an_instance_may_move_between_threads() {
    let mut instance = start(r#"(module (func (export "run") (result i32) (i32.const 5)))"#);
    let instance = std::thread::spawn(move || {
        assert_eq!(call(&mut instance, RUN_I32).unwrap(), 5);
        instance
    });
    let mut instance = instance.join().unwrap();
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 5);
}

#[test]
fn the_start_section_can_call_the_host_and_be_entered_again() {
    let mut instance = start(
        r#"(module (import "host" "give" (func $give (param i32) (result i32))) (memory (export "memory") 1)
            (global $got (mut i32) (i32.const 0))
            (func (export "alloc") (param i32) (result i32) (i32.const 16))
            (func $start (global.set $got (i32.load (call $give (i32.const 8))))) (start $start)
            (func (export "run") (result i32) (global.get $got)))"#,
    );
    assert_eq!(instance.state().calls, [("give", vec![1 << 16, 1 << 16])]);
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 42);
}

#[test]
fn a_plan_made_for_another_module_is_an_error_or_finds_nothing() {
    let engine = engine(Profile::Deadline);
    let other = check(r#"(module (func (export "five") (param i32 i32 i32 i32 i32)))"#);
    let module = check(r#"(module (import "host" "fail" (func)) (func (export "five") (param i64)))"#);
    let plan = LinkPlan::new::<State, Host>(other.info(), &EXPORTS).unwrap();
    let error = engine.link::<State, Host>(&engine.compile(&module).unwrap(), plan.clone()).unwrap_err();
    assert!(error.to_string().contains("wasmtime could not link"), "{error}");

    let module = engine.compile(&check(r#"(module (func (export "five") (param i64)))"#)).unwrap();
    let linked = engine.link::<State, Host>(&module, plan).unwrap();
    let instance = engine.instantiate(&linked, State::default(), &Limits::default(), Budget::UNLIMITED).unwrap();
    assert!(!instance.has(FIVE));
}

#[test]
fn tables_of_functions_work_as_wasm_2_says() {
    let mut instance = start(
        r#"(module (table $t 2 20 funcref) (table $u 3 funcref) (elem declare func $seven) (elem (table $u) (i32.const 0) func $seven)
            (func $seven (result i32) (i32.const 7))
            (func (export "run") (result i32)
                (drop (table.grow $t (ref.func $seven) (i32.const 3)))
                (table.fill $t (i32.const 0) (ref.null func) (i32.const 2))
                (table.copy $t $u (i32.const 1) (i32.const 0) (i32.const 1))
                (i32.add (i32.add (table.size $t) (ref.is_null (table.get $t (i32.const 0))))
                    (i32.mul (call_indirect $t (result i32) (i32.const 1)) (i32.const 10)))))"#,
    );
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 5 + 1 + 70);
}

#[test]
fn simd_works_and_gives_the_same_as_scalar_code() {
    let mut instance = start(
        r#"(module (func (export "run") (result i32)
            (i32x4.extract_lane 2 (i32x4.mul (v128.const i32x4 1 2 3 4) (i32x4.splat (i32.const 5))))))"#,
    );
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 15);
}

#[test]
fn references_of_the_host_are_refused_in_words_and_never_panic() {
    let engine = engine(Profile::Deadline);
    for wat in ["(module (table 1 externref))", r#"(module (func (export "f") (param externref)))"#] {
        // Nothing could put one there: no host function takes or returns a reference. Wasmtime has them only together
        // with a garbage collector, which is not compiled in.
        if let Ok(module) = CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()) {
            let error = engine.compile(&module).unwrap_err().to_string();
            assert!(error.contains("gc types are disallowed"), "{error}");
        }
    }
}

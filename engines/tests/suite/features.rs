//! What the front check lets pass, every engine runs, and with the same results.

use crate::case::engine_test;
use crate::guest::load;
use crate::subject::Subject;

engine_test! { "features";
    fn integers(engine) needs [Wasm] {
        for (body, expected) in [
            ("(i64.extend_i32_s (i32.extend8_s (i32.const 0x180)))", -128),
            ("(i64.extend_i32_s (i32.extend16_s (i32.const 0x8000)))", -32_768),
            ("(i64.extend32_s (i64.const 0x80000000))", -2_147_483_648),
            ("(i64.extend_i32_u (i32.const -1))", 0xffff_ffff),
            ("(i64.rotl (i64.const 0x8000000000000001) (i64.const 1))", 3),
            ("(i64.add (i64.clz (i64.const 1)) (i64.add (i64.ctz (i64.const 8)) (i64.popcnt (i64.const -1))))", 130),
            ("(i64.shr_s (i64.const -8) (i64.const 65))", -4),
            ("(i64.rem_s (i64.const 0x8000000000000000) (i64.const -1))", 0),
        ] {
            gives(engine, "", body, expected);
        }
    }

    fn floats(engine) needs [Wasm] {
        for (body, expected) in [
            ("(i64.trunc_sat_f64_s (f64.const nan))", 0),
            ("(i64.extend_i32_u (i32.trunc_sat_f32_u (f32.const 1e20)))", 0xffff_ffff),
            ("(i64.trunc_sat_f32_s (f32.const -inf))", i64::MIN),
            ("(i64.reinterpret_f64 (f64.min (f64.const 0) (f64.const -0)))", i64::MIN),
            ("(i64.trunc_f64_s (f64.nearest (f64.const 2.5)))", 2),
            ("(i64.trunc_f64_s (f64.nearest (f64.const -3.5)))", -4),
            ("(i64.reinterpret_f64 (f64.copysign (f64.const 1) (f64.const -nan)))", (-1_f64).to_bits() as i64),
            ("(i64.extend_i32_u (f32.eq (f32.const nan) (f32.const nan)))", 0),
            ("(i64.trunc_f64_s (f64.sqrt (f64.const 144)))", 12),
        ] {
            gives(engine, "", body, expected);
        }
    }

    fn several_results(engine) needs [Wasm] {
        let results = "i64 ".repeat(16);
        let values: String = (1..=16).map(|i| format!("(i64.const {i})")).collect();
        let sum = "(i64.add)".repeat(15);
        gives(
            engine,
            &format!(r#"(func $many (result {results}) {values}) (export "many" (func $many))"#),
            &format!("(call $many) {sum}"),
            136,
        );
        gives(engine, "", "(i64.const 5) (i64.const 7) (block (param i64 i64) (result i64) (i64.sub))", -2);
    }

    fn many_parameters_and_locals(engine) needs [Wasm] {
        let params = "i64 ".repeat(100);
        let values: String = (0..100).map(|i| format!("(i64.const {i})")).collect();
        let gets: String = (0..100).map(|i| format!("(local.get {i})")).collect();
        let sum = "(i64.add)".repeat(99);
        gives(
            engine,
            &format!(r#"(func $many (param {params}) (result i64) {gets} {sum}) (export "many" (func $many))"#),
            &format!("{values} (call $many)"),
            4950,
        );
        let locals = "i64 ".repeat(9_999);
        gives(
            engine,
            &format!("(func $wide (param i64) (result i64) (local {locals}) (local.set 9999 (local.get 0)) (i64.add (local.get 9999) (local.get 5000)))"),
            "(call $wide (i64.const 6))",
            6,
        );
    }

    fn deep_blocks(engine) needs [Wasm] {
        let (open, close) = ("(block (result i64) ".repeat(500), ")".repeat(500));
        gives(engine, "", &format!("{open} (br 400 (i64.const 3)) {close}"), 3);
        let labels: String = (0..500).map(|i| format!("{i} ")).collect();
        let cases = format!("{} (br_table {labels} (i32.const 499)) {}", "(block ".repeat(500), ")".repeat(500));
        gives(engine, "", &format!("{cases} (i64.const 8)"), 8);
    }

    fn bulk_memory(engine) needs [Wasm] {
        let fields = r#"(memory 1) (data $d "abcdefgh")"#;
        for (body, expected) in [
            ("(memory.init $d (i32.const 1) (i32.const 2) (i32.const 3)) (data.drop $d) (i64.load (i32.const 0))", 0x6564_6300),
            (
                "(i64.store (i32.const 0) (i64.const 0x0807060504030201))
                 (memory.copy (i32.const 2) (i32.const 0) (i32.const 6)) (i64.load (i32.const 0))",
                0x0605_0403_0201_0201,
            ),
            ("(memory.fill (i32.const 0) (i32.const 0x1ff) (i32.const 3)) (i64.load (i32.const 0))", 0xff_ffff),
            ("(memory.init $d (i32.const 65536) (i32.const 8) (i32.const 0)) (i64.extend_i32_u (memory.size))", 1),
        ] {
            gives(engine, fields, body, expected);
        }
    }

    fn references_and_tables(engine) needs [Wasm] {
        let fields = r#"(type $f (func (result i64))) (table $a 3 funcref) (table $b 2 8 funcref) (elem $e func $one $two)
            (elem declare func $two) (func $one (result i64) (i64.const 1)) (func $two (result i64) (i64.const 2))
            (global $g (mut funcref) (ref.null func))"#;
        for (body, expected) in [
            ("(table.init $a $e (i32.const 1) (i32.const 0) (i32.const 2)) (elem.drop $e)
              (table.copy $b $a (i32.const 0) (i32.const 1) (i32.const 2)) (call_indirect $b (type $f) (i32.const 1))", 2),
            ("(global.set $g (ref.func $two)) (table.set $a (i32.const 0) (global.get $g))
              (call_indirect $a (type $f) (i32.const 0))", 2),
            ("(i64.extend_i32_u (ref.is_null (table.get $a (i32.const 2))))", 1),
            ("(drop (table.grow $b (ref.func $two) (i32.const 6))) (drop (table.grow $b (ref.null func) (i32.const 1)))
              (i64.add (call_indirect $b (type $f) (i32.const 7)) (i64.extend_i32_u (table.size $b)))", 10),
            ("(table.set $a (i32.const 0) (select (result funcref) (ref.func $two) (ref.null func) (i32.const 1)))
              (call_indirect $a (type $f) (i32.const 0))", 2),
        ] {
            gives(engine, fields, body, expected);
        }
    }

    fn vectors(engine) needs [Wasm] {
        for (body, expected) in [
            ("(i64x2.extract_lane 1 (i64x2.add (v128.const i64x2 1 2) (i64x2.splat (i64.const 40))))", 42),
            ("(i64x2.extract_lane 0 (i8x16.swizzle (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
              (v128.const i8x16 7 6 5 4 3 2 1 16 0 0 0 0 0 0 0 0)))", 0x0002_0304_0506_0708),
            ("(i64.extend_i32_s (i32x4.extract_lane 2 (i32x4.trunc_sat_f32x4_s (v128.const f32x4 0 0 -3e9 0))))", -2_147_483_648),
            ("(i64.extend_i32_u (i8x16.bitmask (i8x16.eq (v128.const i8x16 1 0 1 0 0 0 0 0 0 0 0 0 0 0 0 1)
              (i8x16.splat (i32.const 1)))))", 0x8005),
            ("(v128.store (i32.const 3) (v128.const i64x2 -1 7)) (i64.load (i32.const 11))", 7),
            ("(i64.extend_i32_u (i16x8.extract_lane_u 0 (i16x8.add_sat_u (i16x8.splat (i32.const 0xfffe)) (i16x8.splat (i32.const 5)))))", 0xffff),
        ] {
            gives(engine, "(memory 1)", body, expected);
        }
    }

    fn globals_and_segments(engine) needs [Wasm] {
        gives(
            engine,
            r#"(global $a i32 (i32.const 5)) (global $b (export "b") (mut i64) (i64.const 9)) (memory 1)
                (data (i32.const 5) "\01\02") (data (i32.const 6) "\03") (data "")"#,
            "(global.set $b (i64.load (i32.const 5))) (i64.add (global.get $b) (i64.extend_i32_u (global.get $a)))",
            0x0306,
        );
    }

    fn many_functions(engine) needs [Wasm] {
        let functions: String = (0..3_000).map(|i| format!("(func $f{i} (result i64) (i64.const {i}))")).collect();
        gives(engine, &functions, "(i64.add (call $f2999) (call $f1))", 3000);
    }

    /// Custom sections are nobody's business, however odd.
    fn odd_custom_sections(engine) needs [Wasm] {
        let fields = r#"(@custom "name" "\ff\ff\ff") (@custom "producers" "\01") (@custom "" "") (@custom ".debug_info" "\00")
            (@custom "linking" "\7f") (@custom "target_features" "\02+")"#;
        gives(engine, fields, "(i64.const 1)", 1);
    }

    fn odd_names(engine) needs [Wasm] {
        let wat = r#"(module (func (export "run") (result i64) (i64.const 4)) (func (export "\00"))
            (func (export "\u{202e}\u{1f980}")) (func (export "chassis:start")) (func (export "_start_")))"#;
        assert_eq!(load(engine, wat).start().run(&[]).unwrap(), 4);
    }
}

/// A module with these fields whose `run` has this body answers this.
#[track_caller]
fn gives<E: Subject>(engine: &E, fields: &str, body: &str, expected: i64) {
    let wat = format!(r#"(module {fields} (func (export "run") (result i64) {body}))"#);
    let result = load(engine, &wat).start().run(&[]).unwrap();
    assert_eq!(result as i64, expected, "{body}");
}

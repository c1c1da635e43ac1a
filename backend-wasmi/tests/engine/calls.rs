//! Calls in both directions, in every shape.

use chassis_backend_wasmi::WasmiEngine;
use chassis_engine_api::{
    Caller, Engine, Export, ExportSpec, HostFn, HostModule, Instance, Limits, LinkPlan, Profile, Registrar, Sig, Stop,
    Ty, for_each_host_shape,
};

use crate::host::{AMPLE, checked, run, start, with};

/// The host's functions: one of each shape, each of which notes its slots and returns their sum plus one.
struct Shapes;
struct Shape<const N: usize>;

macro_rules! shapes {
    ($(($($param:ident)*) -> ($($result:ident)?);)*) => {
        const USUAL: &[Sig] = &[$(Sig::new(&[$(ty!($param)),*], result!($($result)?))),*];
    };
}
macro_rules! ty {
    (i32) => {
        Ty::I32
    };
    (i64) => {
        Ty::I64
    };
}
macro_rules! result {
    () => {
        None
    };
    ($result:ident) => {
        Some(ty!($result))
    };
}
for_each_host_shape!(shapes);

const RARE: &[Sig] = &[
    Sig::new(&[Ty::I64], Some(Ty::I64)),
    Sig::new(&[Ty::F64, Ty::F64], Some(Ty::F64)),
    Sig::new(&[Ty::F32], Some(Ty::F32)),
    Sig::new(&[], Some(Ty::F64)),
    Sig::new(&[Ty::F64], None),
    Sig::new(&[Ty::I32, Ty::I64, Ty::F64, Ty::F32], Some(Ty::I64)),
    Sig::new(&[Ty::I32, Ty::I32, Ty::I32, Ty::I32, Ty::I32, Ty::I64, Ty::I64, Ty::I32, Ty::I32], Some(Ty::I32)),
    Sig::new(&[Ty::I32; 20], Some(Ty::I32)),
];

const COUNT: usize = USUAL.len() + RARE.len();

const fn sig(n: usize) -> Sig {
    if n < USUAL.len() { USUAL[n] } else { RARE[n - USUAL.len()] }
}

impl<const N: usize> HostFn<Vec<Vec<u64>>> for Shape<N> {
    const MODULE: &'static str = "shapes";
    const NAME: &'static str = NAMES[N];
    const SIG: Sig = sig(N);

    fn call<C: Caller<Vec<Vec<u64>>> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        assert_eq!(slots.len(), Self::SIG.slots());
        caller.state().push(slots[..Self::SIG.params.len()].to_vec());
        if let (Some(ty), Some(first)) = (Self::SIG.result, slots.first_mut()) {
            *first = answer(ty);
        }
        Ok(())
    }
}

/// Bits that come out wrong if they are cut, extended or converted.
fn answer(ty: Ty) -> u64 {
    match ty {
        Ty::I32 => 0xfffe_dcba,
        Ty::I64 => 0xfedc_ba98_7654_3210,
        Ty::F32 => u64::from((-1.25_f32).to_bits()),
        _ => (-1.25_f64).to_bits(),
    }
}

static NAMES: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w",
    "x", "y", "z",
];

macro_rules! register {
    ($registrar:ident $($n:literal)*) => {{
        const ALL: usize = [$($n),*].len();
        const { assert!(ALL == COUNT) };
        $($registrar.add::<Shape<$n>>();)*
    }};
}

impl HostModule<Vec<Vec<u64>>> for Shapes {
    fn register<R: Registrar<Vec<Vec<u64>>>>(registrar: &mut R) {
        register!(registrar 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25);
    }
}

/// A constant of each type, with the slot that it must arrive as.
fn constant(ty: Ty, n: usize) -> (String, u64) {
    let small = n as u64 + 1;
    match ty {
        Ty::I32 => (format!("(i32.const -{small})"), 0x1_0000_0000 - small),
        Ty::I64 => (format!("(i64.const -{small})"), small.wrapping_neg()),
        Ty::F32 => (format!("(f32.const {small}.5)"), u64::from((small as f32 + 0.5).to_bits())),
        _ => (format!("(f64.const {small}.5)"), (small as f64 + 0.5).to_bits()),
    }
}

/// Traps unless the value on the stack is the answer.
fn guard(ty: Ty) -> String {
    let expected = match ty {
        Ty::F32 | Ty::F64 => "-1.25".to_owned(),
        _ => format!("0x{:x}", answer(ty)),
    };
    format!("{ty}.const {expected} {ty}.ne if unreachable end ")
}

#[test]
fn a_host_function_of_every_shape_gets_its_parameters_and_gives_its_result() {
    static EXPORTS: &[ExportSpec] = &[ExportSpec { name: "run", sig: Sig::new(&[], None) }];
    let (mut imports, mut body, mut expected) = (String::new(), String::new(), Vec::new());
    for (n, name) in NAMES.iter().enumerate().take(COUNT) {
        let Sig { params, result } = sig(n);
        let types: Vec<String> = params.iter().map(Ty::to_string).collect();
        let returns = result.map_or(String::new(), |ty| format!("(result {ty})"));
        imports += &format!(r#"(import "shapes" "{name}" (func ${name} (param {}) {returns}))"#, types.join(" "));
        let constants: Vec<(String, u64)> = params.iter().enumerate().map(|(i, ty)| constant(*ty, i)).collect();
        body.extend(constants.iter().map(|(wat, _)| wat.as_str()));
        body += &format!("(call ${name})");
        if let Some(ty) = result {
            body += &guard(ty);
        }
        expected.push(constants.into_iter().map(|(_, slot)| slot).collect::<Vec<u64>>());
    }
    let module = checked(&format!(r#"(module {imports} (func (export "run") {body}))"#));
    let engine = WasmiEngine::new(Profile::Deadline).unwrap();
    let plan = LinkPlan::new::<_, Shapes>(module.info(), EXPORTS).unwrap();
    let linked = engine.link::<Vec<Vec<u64>>, Shapes>(&engine.compile(&module).unwrap(), plan).unwrap();
    let mut instance = engine.instantiate(&linked, Vec::new(), &Limits::default(), AMPLE).unwrap();
    instance.call(Export(0), &mut [], AMPLE).unwrap();
    assert_eq!(*instance.state(), expected);
}

#[test]
fn an_export_of_every_shape_gets_its_parameters_and_gives_its_result() {
    const I: Ty = Ty::I32;
    static EXPORTS: &[ExportSpec] = &[
        ExportSpec { name: "p0", sig: Sig::new(&[], None) },
        ExportSpec { name: "p1", sig: Sig::new(&[I; 1], None) },
        ExportSpec { name: "p2", sig: Sig::new(&[I; 2], None) },
        ExportSpec { name: "p3", sig: Sig::new(&[I; 3], None) },
        ExportSpec { name: "p4", sig: Sig::new(&[I; 4], None) },
        ExportSpec { name: "p5", sig: Sig::new(&[I; 5], None) },
        ExportSpec { name: "r0", sig: Sig::new(&[], Some(I)) },
        ExportSpec { name: "r1", sig: Sig::new(&[I; 1], Some(I)) },
        ExportSpec { name: "r2", sig: Sig::new(&[I; 2], Some(I)) },
        ExportSpec { name: "r3", sig: Sig::new(&[I; 3], Some(I)) },
        ExportSpec { name: "r4", sig: Sig::new(&[I; 4], Some(I)) },
        ExportSpec { name: "mixed", sig: Sig::new(&[Ty::I64, I, Ty::F32, Ty::F64], Some(Ty::F64)) },
        ExportSpec { name: "long", sig: Sig::new(&[I, Ty::I64], Some(Ty::I64)) },
        ExportSpec { name: "single", sig: Sig::new(&[Ty::F32], Some(Ty::F32)) },
        ExportSpec { name: "absent", sig: Sig::new(&[], None) },
    ];
    let mut functions = String::new();
    for spec in EXPORTS.iter().filter(|spec| spec.name.len() == 2) {
        let n = spec.sig.params.len();
        // Each parameter weighs differently, so that none can be mixed up: p0 + 10 p1 + 100 p2 ...
        let mut sum = "(i32.const 7000000)".to_owned();
        for i in 0..n {
            let weight = 10_u32.pow(i as u32);
            sum = format!("(i32.add {sum} (i32.mul (local.get {i}) (i32.const {weight})))");
        }
        let params = "i32 ".repeat(n);
        functions += &match spec.sig.result {
            Some(_) => format!(r#"(func (export "{}") (param {params}) (result i32) {sum})"#, spec.name),
            None => format!(r#"(func (export "{}") (param {params}) (global.set $sum {sum}))"#, spec.name),
        };
    }
    let module = checked(&format!(
        r#"(module (global $sum (mut i32) (i32.const 0)) {functions}
            (func (export "long") (param i32 i64) (result i64) (i64.sub (i64.extend_i32_s (local.get 0)) (local.get 1)))
            (func (export "single") (param f32) (result f32) (f32.neg (local.get 0)))
            (func (export "mixed") (param i64 i32 f32 f64) (result f64)
                (f64.add (f64.add (f64.convert_i64_s (local.get 0)) (f64.convert_i32_s (local.get 1)))
                         (f64.add (f64.promote_f32 (local.get 2)) (local.get 3))))
            (func (export "unlisted") (result i32) (global.get $sum)))"#
    ));
    static WITH_SUM: std::sync::OnceLock<Vec<ExportSpec>> = std::sync::OnceLock::new();
    let exports = WITH_SUM.get_or_init(|| {
        let sum = ExportSpec { name: "unlisted", sig: Sig::new(&[], Some(I)) };
        EXPORTS.iter().copied().chain([sum]).collect()
    });
    let engine = WasmiEngine::new(Profile::Stream).unwrap();
    let plan = LinkPlan::new::<_, Shapes>(module.info(), exports).unwrap();
    let linked = engine.link::<Vec<Vec<u64>>, Shapes>(&engine.compile(&module).unwrap(), plan).unwrap();
    let mut instance = engine.instantiate(&linked, Vec::new(), &Limits::default(), AMPLE).unwrap();
    let sum = Export(EXPORTS.len() as u8);
    for (n, spec) in EXPORTS.iter().enumerate().filter(|(_, spec)| spec.name.len() == 2) {
        let mut slots = [1, 2, 3, 4, 5, 99];
        instance.call(Export(n as u8), &mut slots, AMPLE).unwrap();
        let expected =
            7_000_000 + (1..=spec.sig.params.len() as u64).map(|i| i * 10_u64.pow(i as u32 - 1)).sum::<u64>();
        if spec.sig.result.is_none() {
            instance.call(sum, &mut slots, AMPLE).unwrap();
        }
        assert_eq!(slots[0], expected, "{}", spec.name);
        assert_eq!(slots[1..], [2, 3, 4, 5, 99]);
    }
    let mut call = |name: &str, slots: &mut [u64]| {
        let n = EXPORTS.iter().position(|spec| spec.name == name).unwrap();
        assert!(instance.has(Export(n as u8)));
        instance.call(Export(n as u8), slots, AMPLE).unwrap();
        slots[0]
    };
    let minus_one = 0xffff_ffff;
    let mixed = &mut [(-5_i64) as u64, minus_one, u64::from(0.5_f32.to_bits()), 0.25_f64.to_bits()];
    assert_eq!(f64::from_bits(call("mixed", mixed)), -5.25);
    assert_eq!(call("long", &mut [minus_one, 9]) as i64, -10);
    assert_eq!(call("single", &mut [u64::from(1.5_f32.to_bits())]), u64::from((-1.5_f32).to_bits()));
    assert!(!instance.has(Export(14)) && !instance.has(Export(200)));
}

#[test]
fn memory_that_grows_in_a_nested_call_is_seen_grown() {
    let mut instance = start(
        r#"(module (import "env" "grab" (func $grab (param i32) (result i32))) (memory (export "memory") 1)
        (func (export "alloc") (param i32) (result i32)
            (i32.mul (memory.grow (i32.const 3)) (i32.const 65536)))
        (func (export "with") (param i32) (result i32) (local $at i32)
            (local.set $at (call $grab (local.get 0)))
            (i32.add (local.get $at) (i32.load8_u (i32.add (local.get $at) (i32.sub (local.get 0) (i32.const 1)))))))"#,
    );
    assert_eq!(with(&mut instance, 180_000).unwrap(), 65536 + 7);
    assert_eq!(instance.state().seen, [65536, 4 * 65536]);
    let (memory, state) = instance.memory();
    memory[0] = 1;
    state.seen.clear();
    assert_eq!(memory.len(), 4 * 65536);
    assert_eq!(instance.memory_bytes(), 4 * 65536);
}

#[test]
fn a_host_function_that_the_guest_exports_again_can_be_called() {
    let mut instance = start(r#"(module (import "env" "refuse" (func $refuse)) (export "run" (func $refuse)))"#);
    assert!(matches!(run(&mut instance), Err(Stop::Host(_))));
}

#[test]
fn an_instance_moves_between_threads() {
    let wat = r#"(module (func (export "with") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))"#;
    let mut instance = start(wat);
    assert_eq!(with(&mut instance, 1).unwrap(), 2);
    let moved = std::thread::spawn(move || with(&mut instance, 2).unwrap());
    assert_eq!(moved.join().unwrap(), 3);
}

#[test]
#[should_panic(expected = "export 0 is called, but the module does not have it")]
fn calling_an_absent_export_is_the_hosts_mistake() {
    let _ = run(&mut start("(module)"));
}

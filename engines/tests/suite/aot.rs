//! Saved code: it comes back as it was, and nothing else is taken for it.

use chassis_engine_api::{
    Artefact, ArtefactError, CheckedModule, EngineError, Instance, Profile, SealKey, Support, TrapKind,
};

use crate::case::engine_test;
use crate::child;
use crate::guest::{Guest, assert_trap, checked, link};
use crate::subject::Subject;

const WAT: &str = r#"(module (import "env" "log" (func $log (param i32)))
    (import "env" "store" (func $store (param i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 8) "\2a") (table 2 funcref) (elem (i32.const 0) $double)
    (global $n (mut i32) (i32.const 100))
    (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "run") (param i32) (result i32)
        (call $log (i32.load8_u (i32.const 8)))
        (if (i32.eqz (local.get 0)) (then (drop (i32.div_u (i32.const 1) (i32.eq (i32.load8_u (i32.const 8)) (i32.const 42))))
            (drop (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 1)))))
        (drop (call $store (i32.const 3) (i32.const 7)))
        (global.set $n (i32.add (global.get $n) (i32.load8_u (i32.const 1026))))
        (i32.add (global.get $n) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))))"#;

const OTHER_WAT: &str = r#"(module (func (export "run") (param i32) (result i32) (i32.const 1)))"#;

const KEY: [u8; 32] = [0x5a; 32];

engine_test! { "aot";
    fn it_says_whether_it_saves(engine) {
        let module = checked(r#"(module (@custom "chassis.native" "idle"))"#);
        let saved = engine.save(&engine.compile(&module).unwrap()).unwrap();
        assert_eq!(saved.is_some(), !matches!(engine.capabilities().aot, Support::None(_)));
    }

    fn saved_code_does_the_same(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        for _ in 0..3 {
            works(engine, &module, &artefact);
        }
    }

    fn it_names_the_engine_and_the_module(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        assert_eq!(artefact.engine_key(), engine.cache_key());
        assert_eq!(artefact.module_digest(), module.digest());
        assert!(!artefact.bytes().is_empty());
    }

    fn sealed_code_does_the_same(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        let key = SealKey::generate().unwrap();
        let opened = Artefact::open(&artefact.seal(&key), &key).unwrap();
        assert_eq!(opened, artefact);
        works(engine, &module, &opened);
    }

    fn loaded_code_can_be_saved_again(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        let loaded = engine.load(&module, &artefact).unwrap();
        works(engine, &module, &engine.save(&loaded).unwrap().unwrap());
    }

    fn code_that_another_process_saved_does_the_same(engine) needs [Wasm, Aot] {
        let task = format!("save {} {}", engine.capabilities().name, engine.profile().as_str());
        let sealed = child::run(&task).unwrap();
        let artefact = Artefact::open(&sealed, &SealKey::from_bytes(KEY)).unwrap();
        works(engine, &checked(WAT), &artefact);
    }

    fn an_engine_of_the_same_settings_loads_it(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        works(&E::open(engine.profile()), &module, &artefact);
    }

    fn another_profile_refuses_it(engine) needs [Wasm, Aot] {
        let (module, artefact) = saved(engine, WAT);
        for profile in Profile::ALL.into_iter().filter(|profile| *profile != engine.profile()) {
            let error = refused(&E::open(profile), &module, &artefact);
            assert!(matches!(error, ArtefactError::WrongEngine { .. }), "{error}");
        }
    }

    fn it_is_refused_for_another_module(engine) needs [Wasm, Aot] {
        let (_, artefact) = saved(engine, WAT);
        let error = refused(engine, &checked(OTHER_WAT), &artefact);
        assert!(matches!(error, ArtefactError::WrongModule { .. }), "{error}");
    }

    fn the_code_of_another_engine_is_refused(engine) needs [Wasm] {
        let others = child::engines().into_iter().filter(|known| known.name != engine.capabilities().name);
        for sealed in others.map(|known| known.sealed(Profile::Deadline)).filter(|sealed| !sealed.is_empty()) {
            let artefact = Artefact::open(&sealed, &SealKey::from_bytes(KEY)).unwrap();
            let error = refused(engine, &checked(WAT), &artefact);
            assert!(matches!(error, ArtefactError::WrongEngine { .. }), "{error}");
        }
    }

    fn what_is_cut_is_refused(engine) needs [Wasm, Aot] {
        let (sealed, key) = sealed(engine);
        let ends = (0..200).chain(sealed.len() - 100..sealed.len()).chain((0..sealed.len()).step_by(997));
        for end in ends {
            assert_eq!(Artefact::open(&sealed[..end], &key), Err(ArtefactError::Damaged), "cut at {end}");
        }
        assert_eq!(Artefact::open(&[sealed.as_slice(), &[0]].concat(), &key), Err(ArtefactError::Damaged));
        assert_eq!(Artefact::open(&sealed[1..], &key), Err(ArtefactError::Damaged));
    }

    fn what_has_a_bit_flipped_is_refused(engine) needs [Wasm, Aot] {
        let (sealed, key) = sealed(engine);
        let places = (0..200).chain(sealed.len() - 100..sealed.len()).chain((0..sealed.len()).step_by(499));
        for place in places {
            let mut changed = sealed.clone();
            changed[place] ^= 1 << (place % 8);
            assert_eq!(Artefact::open(&changed, &key), Err(ArtefactError::Damaged), "byte {place}");
        }
    }

    fn parts_that_were_swapped_are_refused(engine) needs [Wasm, Aot] {
        let key = SealKey::from_bytes(KEY);
        let (one, two) = (saved(engine, WAT).1.seal(&key), saved(engine, OTHER_WAT).1.seal(&key));
        // Within the module's digest, behind it, within the code, before the keyed digest.
        for at in [40, 60, 1000, two.len() - 32] {
            let mixed = [&one[..at], &two[at..]].concat();
            assert!(mixed != one && mixed != two);
            assert_eq!(Artefact::open(&mixed, &key), Err(ArtefactError::Damaged), "swapped at {at}");
        }
    }

    fn another_key_does_not_open_it(engine) needs [Wasm, Aot] {
        let (sealed, _) = sealed(engine);
        assert_eq!(Artefact::open(&sealed, &SealKey::generate().unwrap()), Err(ArtefactError::Damaged));
    }
}

/// Saved and sealed code, or nothing from an engine that saves none. For a child process and for other engines' cases.
pub(crate) fn sealed_by<E: Subject>(profile: Profile) -> Vec<u8> {
    let engine = E::open(profile);
    let saved = engine.save(&engine.compile(&checked(WAT)).unwrap()).unwrap();
    saved.map_or(Vec::new(), |artefact| artefact.seal(&SealKey::from_bytes(KEY)))
}

fn saved<E: Subject>(engine: &E, wat: &str) -> (CheckedModule, Artefact) {
    let module = checked(wat);
    let artefact = engine.save(&engine.compile(&module).unwrap()).unwrap().unwrap();
    (module, artefact)
}

fn sealed<E: Subject>(engine: &E) -> (Vec<u8>, SealKey) {
    let key = SealKey::from_bytes(KEY);
    let sealed = saved(engine, WAT).1.seal(&key);
    assert!(Artefact::open(&sealed, &key).is_ok());
    (sealed, key)
}

fn works<E: Subject>(engine: &E, module: &CheckedModule, artefact: &Artefact) {
    let loaded = engine.load(module, artefact).unwrap();
    let mut guest: Guest<E> = link(engine, module, &loaded).start();
    assert_eq!(guest.run(&[5]).unwrap(), 117);
    assert_eq!(guest.run(&[6]).unwrap(), 126);
    assert_eq!(guest.log(), [42, 1 << 16, 1 << 16, 42, 1 << 16, 1 << 16]);
    // What tells one trap from another was saved with the code.
    assert_trap(guest.run(&[0]), TrapKind::NullFunction);
    guest.instance.memory().0[8] = 1;
    assert_trap(guest.run(&[0]), TrapKind::DivisionByZero);
}

#[track_caller]
fn refused<E: Subject>(engine: &E, module: &CheckedModule, artefact: &Artefact) -> ArtefactError {
    match engine.load(module, artefact) {
        Err(EngineError::Artefact(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was loaded"),
    }
}

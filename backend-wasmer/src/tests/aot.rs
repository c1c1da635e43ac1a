use chassis_engine_api::{Artefact, ArtefactError, EngineError};

use super::*;

const GUEST: &str = r#"(module (import "host" "note" (func $note (param i32)))
    (func $start (call $note (i32.const 1))) (start $start)
    (func (export "run") (call $note (i32.const 2)) unreachable))"#;

#[test]
fn loaded_code_starts_counts_and_traps_as_what_was_compiled() {
    for profile in Profile::ALL {
        each(profile, |engine| {
            let module = check(GUEST);
            let artefact = engine.save(&engine.compile(&module).unwrap()).unwrap().unwrap();
            let loaded = engine.load(&module, &artefact).unwrap();
            let linked = link_compiled(engine, &module, &loaded);
            let mut instance = engine.instantiate(&linked, State::default(), &Limits::default(), ticks(1_000)).unwrap();
            let Err(Stop::Trap(loaded_trap)) = run(&mut instance) else { panic!() };
            assert_eq!(instance.state().noted, [1, 2]);
            let Err(Stop::Trap(compiled_trap)) = run(&mut start(engine, GUEST)) else { panic!() };
            assert_eq!(loaded_trap, compiled_trap);
        });
    }
}

#[test]
fn what_is_no_code_of_wasmer_is_an_error() {
    each(Profile::Deadline, |engine| {
        let module = check(GUEST);
        let saved = engine.save(&engine.compile(&module).unwrap()).unwrap().unwrap();
        let half = saved.bytes()[..saved.bytes().len() / 2].to_vec();
        for bytes in [Vec::new(), b"something else".to_vec(), half] {
            // SAFETY: a promise broken on purpose, with bytes in which Wasmer finds no code.
            let artefact = unsafe { Artefact::from_engine(engine.cache_key(), *module.digest(), bytes) };
            let error = engine.load(&module, &artefact).unwrap_err();
            assert!(matches!(error, EngineError::Artefact(ArtefactError::Engine { .. })), "{error}");
        }
    });
}

#[test]
fn the_cache_key_names_everything_and_is_the_same_each_time() {
    let engine = WasmerEngine::new(Profile::Fuel).unwrap();
    let key = engine.cache_key();
    assert!(key.starts_with(&format!("wasmer {} cranelift fuel ", crate::capabilities::VERSION)), "{key}");
    assert!(key.contains(std::env::consts::ARCH), "{key}");
    assert_eq!(WasmerEngine::new(Profile::Fuel).unwrap().cache_key(), key);
    let keys: std::collections::HashSet<String> = Profile::ALL
        .iter()
        .flat_map(|profile| COMPILERS.iter().map(|compiler| WasmerEngine::with_compiler(*profile, *compiler)))
        .map(|engine| engine.cache_key())
        .collect();
    assert_eq!(keys.len(), Profile::ALL.len() * COMPILERS.len());
}

use chassis_engine_api::{Artefact, ArtefactError, EngineError, SealKey};

use super::*;

const GUEST: &str = r#"(module (import "host" "shape5" (func $f (param i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 8) "\07")
    (func (export "run") (result i32) (call $f (i32.load (i32.const 8)))))"#;

fn save(engine: &WasmtimeEngine, wat: &str) -> Artefact {
    engine.save(&engine.compile(&check(wat)).unwrap()).unwrap().unwrap()
}

#[test]
fn saved_code_is_loaded_by_another_engine_value_of_the_same_profile() {
    let key = SealKey::generate().unwrap();
    for profile in Profile::ALL {
        let sealed = save(&engine(profile), GUEST).seal(&key);
        let engine = engine(profile);
        let module = check(GUEST);
        let loaded = engine.load(&module, &Artefact::open(&sealed, &key).unwrap()).unwrap();
        let plan = LinkPlan::new::<State, Host>(module.info(), &EXPORTS).unwrap();
        let linked = engine.link::<State, Host>(&loaded, plan).unwrap();
        let state = State { answer: 5, ..State::default() };
        let mut instance = engine.instantiate(&linked, state, &Limits::default(), Budget::UNLIMITED).unwrap();
        assert_eq!(call(&mut instance, RUN_I32).unwrap(), 5);
        assert_eq!(instance.state().calls, [("shape5", vec![7])]);
        assert_eq!(engine.save(&loaded).unwrap().unwrap().module_digest(), module.digest());
    }
}

#[test]
fn code_for_another_profile_or_module_is_refused() {
    let module = check(GUEST);
    for saved_by in Profile::ALL {
        let artefact = save(&engine(saved_by), GUEST);
        for loaded_by in Profile::ALL {
            let loaded = engine(loaded_by).load(&module, &artefact);
            match loaded {
                Ok(_) => assert_eq!(saved_by, loaded_by),
                Err(EngineError::Artefact(ArtefactError::WrongEngine { .. })) => assert_ne!(saved_by, loaded_by),
                Err(other) => panic!("{other}"),
            }
        }
    }
    let engine = engine(Profile::Deadline);
    let error = engine.load(&check("(module)"), &save(&engine, GUEST)).unwrap_err();
    assert!(matches!(error, EngineError::Artefact(ArtefactError::WrongModule { .. })), "{error}");
}

#[test]
fn what_is_no_code_of_wasmtime_is_an_error() {
    let engine = engine(Profile::Deadline);
    let module = check(GUEST);
    let mut bytes = save(&engine, GUEST).bytes().to_vec();
    bytes.truncate(bytes.len() / 2);
    for bytes in [Vec::new(), b"something else".to_vec(), bytes] {
        // SAFETY: a promise broken on purpose, with bytes in which Wasmtime finds no code.
        let artefact = unsafe { Artefact::from_engine(engine.cache_key(), *module.digest(), bytes) };
        let error = engine.load(&module, &artefact).unwrap_err();
        assert!(matches!(error, EngineError::Artefact(ArtefactError::Engine { .. })), "{error}");
    }
}

#[test]
fn the_cache_key_names_everything_and_is_the_same_each_time() {
    let key = engine(Profile::Fuel).cache_key();
    assert!(key.starts_with("wasmtime 48."), "{key}");
    assert!(key.contains(" fuel ") && key.contains(std::env::consts::ARCH), "{key}");
    assert_eq!(engine(Profile::Fuel).cache_key(), key);
    assert_ne!(engine(Profile::Deadline).cache_key(), engine(Profile::Stream).cache_key());
}

use chassis_backend_wasmi::{WASMI_VERSION, WasmiEngine};
use chassis_engine_api::{Engine, Profile};

#[test]
fn the_version_is_the_locked_one() {
    let lock = include_str!("../../../Cargo.lock");
    assert!(lock.contains(&format!("name = \"wasmi\"\nversion = \"{WASMI_VERSION}\"\n")));
}

#[test]
fn the_cache_key_tells_profiles_apart() {
    let keys = Profile::ALL.map(|profile| WasmiEngine::new(profile).unwrap().cache_key());
    assert!(keys.iter().all(|key| key.contains(WASMI_VERSION)), "{keys:?}");
    assert_ne!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

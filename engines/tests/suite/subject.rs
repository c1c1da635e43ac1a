//! The engines under test.

use chassis_engine_api::native::NativeEngine;
use chassis_engine_api::{Engine, Profile};

use crate::native_guests;

/// An engine that the suite can open.
pub(crate) trait Subject: Engine {
    /// The profiles in which it differs.
    const PROFILES: &'static [Profile] = &Profile::ALL;

    /// Opens it with a profile.
    ///
    /// # Panics
    /// If that fails.
    fn open(profile: Profile) -> Self;
}

impl Subject for NativeEngine {
    const PROFILES: &'static [Profile] = &[Profile::Deadline, Profile::Fuel];

    fn open(profile: Profile) -> Self {
        native_guests::with_all(NativeEngine::new().with_profile(profile))
    }
}

#[cfg(feature = "wasmtime")]
impl Subject for chassis_backend_wasmtime::WasmtimeEngine {
    fn open(profile: Profile) -> Self {
        Self::new(profile).unwrap()
    }
}

#[cfg(feature = "wasmer")]
impl Subject for chassis_backend_wasmer::WasmerEngine {
    fn open(profile: Profile) -> Self {
        Self::new(profile).unwrap()
    }
}

#[cfg(feature = "wasmedge")]
impl Subject for chassis_backend_wasmedge::WasmedgeEngine {
    fn open(profile: Profile) -> Self {
        Self::new(profile).unwrap()
    }
}

#[cfg(feature = "wasmi")]
impl Subject for chassis_backend_wasmi::WasmiEngine {
    fn open(profile: Profile) -> Self {
        Self::new(profile).unwrap()
    }
}

//! What Wasmtime can do, by profile.

use chassis_engine_api::{Capabilities, Profile, Support};

/// The version that Cargo.lock names; a test compares them.
pub(crate) const VERSION: &str = "48.0.8";

pub(crate) fn of(profile: Profile) -> &'static Capabilities {
    match profile {
        Profile::Deadline | Profile::Fuel => &ON_DEMAND,
        Profile::Stream => &POOLED,
    }
}

static ON_DEMAND: Capabilities = Capabilities {
    name: "wasmtime",
    version: VERSION,
    native_code: true,
    aot: Support::Exact,
    deadline: Support::Exact,
    deadline_scale: 2,
    fuel: Support::Exact,
    memory_limit: Support::Exact,
    table_limit: Support::Exact,
    depth_limit: Support::Exact,
    backtrace: Support::Exact,
    cheap_instances: Support::Coarse("memory is mapped for each instance; the stream profile takes it from a pool"),
};

static POOLED: Capabilities = Capabilities {
    table_limit: Support::Coarse("a table of the pool holds 100,000 elements at most, whatever the limit"),
    cheap_instances: Support::Exact,
    ..ON_DEMAND
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built_in() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasmtime\"");
        assert_eq!(lines.nth(1), Some(format!("version = \"{VERSION}\"").as_str()));
    }
}

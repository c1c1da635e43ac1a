//! What Wasmer can do.

use chassis_engine_api::{Capabilities, Support};

/// The version that Cargo.lock names; a test compares them.
pub(crate) const VERSION: &str = "7.3.0";
pub(crate) const NAME: &str = "wasmer";

pub(crate) static CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    version: VERSION,
    native_code: true,
    aot: Support::Exact,
    deadline: Support::Coarse("the guest counts its work and has the clock looked at after each slice"),
    deadline_scale: 2,
    fuel: Support::Exact,
    memory_limit: Support::Exact,
    table_limit: Support::Exact,
    depth_limit: Support::Exact,
    backtrace: Support::Coarse("an exhausted call stack has none"),
    cheap_instances: Support::Coarse("memory is mapped for each instance, there is no pool"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built_in() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasmer\"");
        assert_eq!(lines.nth(1), Some(format!("version = \"{VERSION}\"").as_str()));
    }
}

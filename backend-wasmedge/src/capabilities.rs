//! What WasmEdge can do here.

use chassis_engine_api::{Capabilities, Support};

pub(crate) const NAME: &str = "wasmedge";

/// The version of the library that the bindings are for; another patch level of it will do.
pub(crate) const VERSION: &str = "0.17.1";

/// Why its compiler is not used.
pub(crate) const NO_CODE: &str = "code that WasmEdge compiles leaves the process without signal handlers, so that another engine's trap would end it";

pub(crate) static CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    version: VERSION,
    native_code: false,
    aot: Support::None(NO_CODE),
    deadline: Support::Exact,
    deadline_scale: 2,
    fuel: Support::Exact,
    memory_limit: Support::Exact,
    table_limit: Support::Exact,
    depth_limit: Support::Exact,
    backtrace: Support::None("WasmEdge does not tell the guest's frames"),
    cheap_instances: Support::Coarse(
        "each has an executor, a store and host functions of its own, and copies the code",
    ),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_library() {
        assert_eq!(wasmedge_sdk::utils::CoreVersion::version_string(), VERSION);
    }
}

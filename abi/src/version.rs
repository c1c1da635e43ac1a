//! ABI versions and the marker exports that name them.

use chassis_engine_api::ModuleInfo;

/// A version of the Proxy-Wasm ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AbiVersion {
    /// 0.1.0.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1.
    V0_2_1,
}

/// The marker of plugins for the gateway Higress. It stands for 0.2.1, with another meaning of one result: PAUSE from
/// headers lasts until a body or trailers callback answers CONTINUE, and a number above it until a continue call.
pub const HIGRESS_MARKER: &str = "proxy_abi_version_0_2_100";

/// The exports that mark a module's version.
pub const MARKERS: [(&str, AbiVersion); 4] = [
    ("proxy_abi_version_0_1_0", AbiVersion::V0_1_0),
    ("proxy_abi_version_0_2_0", AbiVersion::V0_2_0),
    ("proxy_abi_version_0_2_1", AbiVersion::V0_2_1),
    (HIGRESS_MARKER, AbiVersion::V0_2_1),
];

impl AbiVersion {
    /// The highest version that a module marks itself with. A marker is a function; anything else of that name is none.
    pub fn of(info: &ModuleInfo) -> Option<Self> {
        MARKERS.iter().filter(|(name, _)| info.exports_function(name)).map(|(_, version)| *version).max()
    }

    /// The number: `0.2.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            AbiVersion::V0_1_0 => "0.1.0",
            AbiVersion::V0_2_0 => "0.2.0",
            AbiVersion::V0_2_1 => "0.2.1",
        }
    }
}

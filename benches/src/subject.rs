//! What is compared: an engine, and the way to it.

use chassis_engines::compiled_in;

/// How the guest is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// Through Chassis: its ABI, its host and the engine's backend.
    Chassis,
    /// Through Chassis, with a guest in Rust that the native engine calls: what is left is the host's own cost.
    Native,
    /// By hand against the engine's own interface, without the ABI.
    ByHand,
}

impl Via {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Chassis => "chassis",
            Via::Native => "native",
            Via::ByHand => "by_hand",
        }
    }
}

/// One column of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The engine's name; `native` for the native engine.
    pub engine: &'static str,
    /// How the guest is reached.
    pub via: Via,
}

impl Subject {
    /// Its name: `wasmtime`, `wasmtime by hand`, `native`.
    pub fn name(self) -> String {
        match self.via {
            Via::Chassis | Via::Native => self.engine.to_owned(),
            Via::ByHand => format!("{} by hand", self.engine),
        }
    }
}

/// The subjects for these engines, which must be compiled in: each through Chassis, then the native engine, then each by
/// hand.
pub fn subjects(engines: &[&str]) -> Vec<Subject> {
    let chosen: Vec<&'static str> = compiled_in().into_iter().filter(|name| engines.contains(name)).collect();
    let through = chosen.iter().map(|engine| Subject { engine, via: Via::Chassis });
    let by_hand = chosen.iter().map(|engine| Subject { engine, via: Via::ByHand });
    through.chain([Subject { engine: "native", via: Via::Native }]).chain(by_hand).collect()
}

//! What a Wasm engine is to Chassis: traits, plain types, and what is the same for all engines.
//!
//! A backend implements [`Engine`] and [`Instance`]; a host describes its functions as zero-sized [`HostFn`] types.
//! Here also live the things that must not differ by engine: the module check ([`CheckedModule`]), linking by the
//! module's own imports ([`LinkPlan`]), the process clock ([`clock`]) with its deadlines ([`Budget`], [`Meter`]),
//! the sealed compiled code ([`Artefact`]) and its compilation in a child process ([`compile`]), and the sections of modules
//! ([`binary`]) for backends that change them.
//! The [`native`] engine runs Rust code in place of Wasm.
//!
//! This crate knows nothing of Proxy-Wasm, HTTP or any particular engine.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod artefact;
pub mod binary;
mod budget;
mod capabilities;
mod check;
pub mod clock;
pub mod compile;
mod engine;
mod erased;
mod host;
mod module;
pub mod native;
mod plan;
mod sections;
mod shape;
mod sig;
mod stop;

pub use artefact::{Artefact, ArtefactError, SealKey};
pub use budget::{Budget, Limits, Meter, Verdict};
pub use capabilities::{Capabilities, Profile, Support};
pub use check::FrontLimits;
pub use engine::{Engine, EngineError, Enter, Failed, Instance, NotReturned, Outcome};
pub use erased::{AnyEngine, AnyLinked, LoadError, erase};
pub use host::{Caller, HostError, HostFn, HostModule, Registrar};
pub use module::{
    CheckedModule, ExportInfo, ExportKind, FnType, ImportInfo, ImportKind, MemoryInfo, ModuleError, ModuleInfo,
};
pub use plan::{LinkError, LinkPlan, MissingImport, PlannedImport, WrongExport};
pub use sig::{Export, ExportSpec, Sig, Ty};
pub use stop::{Frame, Stop, Trap, TrapKind};

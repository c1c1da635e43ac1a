//! What a module's bytes say of it, read once before any engine sees them.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::check::{self, FrontLimits};
use crate::sections;
use crate::sig::Ty;

/// A module whose bytes passed the front check: valid, within limits, and of the Wasm features that every engine has.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct CheckedModule {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    info: ModuleInfo,
    digest: [u8; 32],
}

impl CheckedModule {
    /// Checks a module.
    ///
    /// # Errors
    /// [`ModuleError`] with what is wrong; always the module's fault.
    pub fn new(bytes: impl Into<Vec<u8>>, limits: &FrontLimits) -> Result<Self, ModuleError> {
        let bytes = bytes.into();
        check::size_and_magic(&bytes, limits)?;
        let info = sections::read(&bytes, limits)?;
        check::validate(&bytes)?;
        let digest = Sha256::digest(&bytes).into();
        Ok(CheckedModule { inner: Arc::new(Inner { bytes, info, digest }) })
    }

    /// The module's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.bytes
    }

    /// What the bytes say.
    pub fn info(&self) -> &ModuleInfo {
        &self.inner.info
    }

    /// The SHA-256 of the bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.inner.digest
    }

    /// The SHA-256 of the bytes, in hexadecimal.
    pub fn digest_hex(&self) -> String {
        self.inner.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a module imports, exports and contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleInfo {
    /// Imports, in order.
    pub imports: Vec<ImportInfo>,
    /// Exports, in order.
    pub exports: Vec<ExportInfo>,
    /// Whether a memory is exported under the name `memory`.
    pub memory_exported: bool,
    /// The module's own memories.
    pub memories: Vec<MemoryInfo>,
    /// The initial number of elements of its largest table.
    pub table_elements: u64,
    /// Whether it has a start section.
    pub has_start: bool,
    /// How many functions it defines.
    pub functions: u32,
    /// Its sections with their sizes in bytes, in order; custom ones by their own names.
    pub sections: Vec<(String, u64)>,
    /// What its `producers` section says: field, name, version.
    pub producers: Vec<(String, String, String)>,
    /// The contents of the custom section `chassis.native`, by which the native engine finds its guest.
    pub native: Option<String>,
}

impl ModuleInfo {
    /// The export of this name.
    pub fn export(&self, name: &str) -> Option<&ExportKind> {
        self.exports.iter().find(|export| export.name == name).map(|export| &export.kind)
    }

    /// Whether a function is exported under this name.
    pub fn exports_function(&self, name: &str) -> bool {
        matches!(self.export(name), Some(ExportKind::Func(_)))
    }
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportInfo {
    /// The module name.
    pub module: String,
    /// The name.
    pub name: String,
    /// What is imported.
    pub kind: ImportKind,
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportKind {
    /// A function of this type.
    Func(FnType),
    /// A memory.
    Memory,
    /// A table.
    Table,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

impl ImportKind {
    /// The kind in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            ImportKind::Func(_) => "function",
            ImportKind::Memory => "memory",
            ImportKind::Table => "table",
            ImportKind::Global => "global",
            ImportKind::Tag => "tag",
        }
    }
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportInfo {
    /// The name.
    pub name: String,
    /// What is exported.
    pub kind: ExportKind,
}

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportKind {
    /// A function of this type.
    Func(FnType),
    /// A memory.
    Memory,
    /// A table.
    Table,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

impl fmt::Display for ExportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportKind::Func(ty) => write!(f, "{ty}"),
            ExportKind::Memory => f.write_str("a memory"),
            ExportKind::Table => f.write_str("a table"),
            ExportKind::Global => f.write_str("a global"),
            ExportKind::Tag => f.write_str("a tag"),
        }
    }
}

/// The type of a function in a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FnType {
    /// Parameter types.
    pub params: Vec<Ty>,
    /// Result types.
    pub results: Vec<Ty>,
}

impl fmt::Display for FnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[Ty]| types.iter().map(Ty::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "`({})", list(&self.params))?;
        match self.results.as_slice() {
            [] => f.write_str("`"),
            [one] => write!(f, " -> {one}`"),
            many => write!(f, " -> ({})`", list(many)),
        }
    }
}

/// One memory of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Its initial size in pages of 64 KiB.
    pub minimum_pages: u64,
    /// Its own maximum in pages, if it declares one.
    pub maximum_pages: Option<u64>,
}

/// Why a module did not pass the front check. Always the module's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// There is nothing.
    #[error("the file is empty")]
    Empty,
    /// It does not begin as a Wasm module does.
    #[error("not a WebAssembly module: it begins with {0}")]
    NotWasm(String),
    /// It is a component.
    #[error(
        "this is a component, not a module: build it for wasm32-wasip1 or wasm32-unknown-unknown, without a component adapter"
    )]
    Component,
    /// It has another binary version.
    #[error("WebAssembly binary version {0} is not known, only version 1")]
    Version(u16),
    /// It is cut or malformed, or uses a Wasm feature that not every engine has.
    #[error("not a valid module at offset {offset:#x}: {message}")]
    Invalid {
        /// Where.
        offset: usize,
        /// What.
        message: String,
    },
    /// It is beyond a limit.
    #[error("{what}: {found}, the limit is {limit}")]
    Limit {
        /// What there is too much of.
        what: String,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
}

//! What a module's bytes say of it, in the terms of Proxy-Wasm.

use std::collections::BTreeMap;

use chassis_abi::{AbiVersion, CALLBACKS, Callback, EXPORTS, MARKERS, ProxyWasm, Row, VmState};
use chassis_engine_api::{CheckedModule, ImportKind, LinkPlan, ModuleInfo};
use serde::Serialize;

/// What a module is.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    /// SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: usize,
    pub(crate) functions: u32,
    /// The version of the ABI that it will be run with.
    pub(crate) abi: Option<&'static str>,
    /// The exports that mark it.
    pub(crate) markers: Vec<&'static str>,
    /// The language or SDK that it was probably made with.
    pub(crate) made_with: Option<String>,
    /// Which export gives memory to the host.
    pub(crate) allocator: Option<&'static str>,
    pub(crate) memory: Option<Memory>,
    /// What runs at the start, in this order.
    pub(crate) start: Vec<&'static str>,
    /// The callbacks that it exports, in the order of the ABI.
    pub(crate) callbacks: Vec<&'static str>,
    /// Imported functions by what they can touch.
    pub(crate) imports: BTreeMap<&'static str, Vec<String>>,
    /// Imports that this host does not have.
    pub(crate) unknown_imports: Vec<Unknown>,
    /// Exports that this host knows with another type.
    pub(crate) wrong_exports: Vec<String>,
    pub(crate) sections: Vec<Section>,
    pub(crate) producers: Vec<Producer>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// Whether the host can reach it.
    pub(crate) exported: bool,
    pub(crate) minimum_bytes: u64,
    /// Its own maximum, if it has one.
    pub(crate) maximum_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Unknown {
    pub(crate) module: String,
    pub(crate) name: String,
    /// More than that nobody knows its name.
    pub(crate) reason: Option<String>,
    pub(crate) hint: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Producer {
    pub(crate) field: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

const PAGE: u64 = 64 << 10;

impl Facts {
    pub(crate) fn of(module: &CheckedModule) -> Self {
        let info = module.info();
        let (unknown_imports, wrong_exports) = match LinkPlan::new::<VmState, ProxyWasm>(info, EXPORTS) {
            Ok(_) => (Vec::new(), Vec::new()),
            Err(error) => (
                error.missing.into_iter().map(Unknown::from).collect(),
                error.wrong.iter().map(ToString::to_string).collect(),
            ),
        };
        Facts {
            sha256: module.digest_hex(),
            bytes: module.bytes().len(),
            functions: info.functions,
            abi: AbiVersion::of(info).map(AbiVersion::as_str),
            markers: MARKERS.iter().map(|(name, _)| *name).filter(|name| info.exports_function(name)).collect(),
            made_with: made_with(module),
            allocator: ["proxy_on_memory_allocate", "malloc"].into_iter().find(|name| info.exports_function(name)),
            memory: memory(info),
            start: start(info),
            callbacks: exported(info).map(Callback::name).collect(),
            imports: imports(info),
            unknown_imports,
            wrong_exports,
            sections: info.sections.iter().map(|(name, bytes)| Section { name: name.clone(), bytes: *bytes }).collect(),
            producers: info.producers.iter().map(Producer::from).collect(),
        }
    }
}

impl From<chassis_engine_api::MissingImport> for Unknown {
    fn from(missing: chassis_engine_api::MissingImport) -> Self {
        Unknown { module: missing.module, name: missing.name, reason: missing.reason, hint: missing.hint }
    }
}

impl From<&(String, String, String)> for Producer {
    fn from((field, name, version): &(String, String, String)) -> Self {
        Producer { field: field.clone(), name: name.clone(), version: version.clone() }
    }
}

fn memory(info: &ModuleInfo) -> Option<Memory> {
    let memory = info.memories.first()?;
    Some(Memory {
        exported: info.memory_exported,
        minimum_bytes: memory.minimum_pages.saturating_mul(PAGE),
        maximum_bytes: memory.maximum_pages.map(|pages| pages.saturating_mul(PAGE)),
    })
}

/// `_start` runs only where there is no `_initialize`, and `main` only where there is one.
fn start(info: &ModuleInfo) -> Vec<&'static str> {
    let mut start = Vec::new();
    if info.has_start {
        start.push("the start section");
    }
    let names = if info.exports_function("_initialize") {
        &[Callback::Initialize, Callback::Main, Callback::MainVoid][..]
    } else {
        &[Callback::Start][..]
    };
    start.extend(names.iter().map(|callback| callback.name()).filter(|name| info.exports_function(name)));
    start
}

/// Callbacks without what runs at the start and without allocators.
fn exported(info: &ModuleInfo) -> impl Iterator<Item = Callback> {
    let callbacks = CALLBACKS.iter().copied().filter(|callback| callback.name().starts_with("proxy_"));
    callbacks.filter(|callback| *callback != Callback::MemoryAllocate && info.exports_function(callback.name()))
}

fn imports(info: &ModuleInfo) -> BTreeMap<&'static str, Vec<String>> {
    let mut groups: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for import in info.imports.iter().filter(|import| matches!(import.kind, ImportKind::Func(_))) {
        let Some(row) = Row::find(&import.module, &import.name) else { continue };
        let names = groups.entry(row.group.as_str()).or_default();
        let name = format!("{}.{}", import.module, import.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    groups
}

/// The `producers` section where there is one, else what only one toolchain leaves behind.
fn made_with(module: &CheckedModule) -> Option<String> {
    let info = module.info();
    let of = |field: &str| info.producers.iter().find(|(name, ..)| name == field);
    if let Some((_, language, _)) = of("language") {
        let compiler = of("processed-by").map(|(_, name, version)| format!(", {name} {version}"));
        return Some(format!("{language}{}", compiler.unwrap_or_default().trim_end()));
    }
    let imports = |module: &str, name: &str| info.imports.iter().any(|i| i.module == module && i.name == name);
    let section = |name: &str| info.sections.iter().any(|(section, _)| section == name);
    let contains = |words: &str| module.bytes().windows(words.len()).any(|window| window == words.as_bytes());
    let guess = match () {
        () if section("go:buildid") => "Go",
        () if imports("env", "abort") || imports("wasi_unstable", "proc_exit") => "AssemblyScript",
        () if imports("env", "emscripten_notify_memory_growth") => "C++ with Emscripten",
        () if contains("library/core/src") || contains("library/std/src") || contains("/rustc/") => "Rust",
        () => return None,
    };
    Some(format!("{guess} (a guess)"))
}

#[cfg(test)]
mod tests {
    use chassis_engine_api::FrontLimits;

    use super::*;

    fn facts(file: &str) -> Facts {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(file);
        let bytes = chassis_host::read_module(&file, 16 << 20).unwrap();
        Facts::of(&CheckedModule::new(bytes, &FrontLimits::default()).unwrap())
    }

    #[test]
    fn a_plugin_is_described_in_the_terms_of_the_abi() {
        let facts = facts("rust/prime-auth-010.wasm");
        assert_eq!((facts.abi, facts.allocator), (Some("0.1.0"), Some("malloc")));
        assert_eq!(facts.start, ["_start"]);
        assert!(facts.callbacks.contains(&"proxy_on_request_headers"), "{facts:?}");
        assert!(!facts.callbacks.contains(&"proxy_on_memory_allocate"));
        assert!(facts.imports["headers"].contains(&"env.proxy_get_header_map_value".to_owned()), "{facts:?}");
        assert!(facts.unknown_imports.is_empty());
    }

    #[test]
    fn what_no_host_has_is_listed_with_what_would_help() {
        let facts = facts("wat/unknown-import.wat");
        let unknown: Vec<String> = facts.unknown_imports.iter().map(|u| format!("{}.{}", u.module, u.name)).collect();
        assert_eq!(unknown, ["env.no_such", "elsewhere.not_here"]);
        assert!(facts.unknown_imports[0].hint.is_some());
    }
}

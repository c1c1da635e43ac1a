//! Linking by what a module imports: decided once, from its bytes, before any engine is asked.

use std::fmt;

use thiserror::Error;

use crate::host::{HostFn, HostModule, Registrar};
use crate::module::{ExportKind, FnType, ImportKind, ModuleInfo};
use crate::sig::{Export, ExportSpec, Sig};

/// Which host function each import of a module gets, and which listed exports it has.
#[derive(Debug, Clone)]
pub struct LinkPlan {
    imports: Vec<PlannedImport>,
    exports: &'static [ExportSpec],
    present: Vec<bool>,
    has_memory: bool,
}

/// One imported function; the position in the plan is the import's index among the function imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImport {
    /// The import's module name.
    pub module: &'static str,
    /// The import's name.
    pub name: &'static str,
    /// Its type, equal in the module and in the host function.
    pub sig: Sig,
}

impl LinkPlan {
    /// Plans the linking of a module with the host functions `H` and the exports that the host may call.
    ///
    /// # Errors
    /// [`LinkError`] with everything that is wrong, not just the first thing.
    ///
    /// # Panics
    /// If more than 256 exports are listed.
    pub fn new<S, H: HostModule<S>>(info: &ModuleInfo, exports: &'static [ExportSpec]) -> Result<Self, LinkError> {
        assert!(exports.len() <= 256, "an Export handle has 8 bits");
        let offered = offered::<S, H>();
        let mut missing = Vec::new();
        let mut imports: Vec<PlannedImport> = Vec::new();
        // Each function once, so that a module that imports one many times does not make this long.
        let mut distinct: Vec<PlannedImport> = Vec::new();
        for import in &info.imports {
            match find(&offered, &distinct, &import.module, &import.name, &import.kind) {
                Ok(planned) => {
                    if !distinct.contains(&planned) {
                        distinct.push(planned.clone());
                    }
                    imports.push(planned);
                }
                Err(reason) => {
                    // Who imports a function that is there, with a wrong type, is not helped by what helps with names.
                    let known = offered.iter().any(|o| o.module == import.module && o.name == import.name);
                    missing.push(MissingImport {
                        module: import.module.clone(),
                        name: import.name.clone(),
                        hint: H::hint(&import.module, &import.name).filter(|_| !known),
                        reason,
                    });
                }
            }
        }
        let wrong = wrong_exports(info, exports);
        if !missing.is_empty() || !wrong.is_empty() {
            return Err(LinkError { missing, wrong });
        }
        let present = exports.iter().map(|spec| exported(info, spec)).collect();
        Ok(LinkPlan { imports, exports, present, has_memory: info.memory_exported })
    }

    /// The function imports, in the module's order.
    pub fn imports(&self) -> &[PlannedImport] {
        &self.imports
    }

    /// Whether the module imports this function.
    pub fn wants<S, F: HostFn<S>>(&self) -> bool {
        self.imports.iter().any(|i| i.module == F::MODULE && i.name == F::NAME && i.sig == F::SIG)
    }

    /// The exports that the host listed.
    pub fn exports(&self) -> &'static [ExportSpec] {
        self.exports
    }

    /// Whether the module exports this entry of the list, with its type.
    pub fn has(&self, export: Export) -> bool {
        self.present.get(usize::from(export.0)).copied().unwrap_or(false)
    }

    /// Whether the module exports a memory named `memory`.
    pub fn has_memory(&self) -> bool {
        self.has_memory
    }
}

/// What a module imports or exports that this host cannot use. The module's fault, or the wrong host for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct LinkError {
    /// Imports that nothing provides.
    pub missing: Vec<MissingImport>,
    /// Known exports of a wrong type.
    pub wrong: Vec<WrongExport>,
}

/// An import that nothing provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImport {
    /// The import's module name.
    pub module: String,
    /// The import's name.
    pub name: String,
    /// Why, when more is to be said than that the name is unknown.
    pub reason: Option<String>,
    /// What would provide it, if the host knows.
    pub hint: Option<&'static str>,
}

/// An export whose name the host knows, with a type that it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongExport {
    /// The export's name.
    pub name: String,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.iter().map(MissingImport::to_string);
        let wrong = self.wrong.iter().map(WrongExport::to_string);
        f.write_str(&missing.chain(wrong).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for MissingImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing import {}.{}", self.module.escape_debug(), self.name.escape_debug())?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        match self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WrongExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "export {} is {}, expected {}", self.name, self.found, self.expected)
    }
}

/// A host function as a value.
struct Offered {
    module: &'static str,
    name: &'static str,
    sig: Sig,
}

struct Collect(Vec<Offered>);

impl<S> Registrar<S> for Collect {
    fn add<F: HostFn<S>>(&mut self) {
        self.0.push(Offered { module: F::MODULE, name: F::NAME, sig: F::SIG });
    }
}

fn offered<S, H: HostModule<S>>() -> Vec<Offered> {
    let mut collect = Collect(Vec::new());
    H::register(&mut collect);
    collect.0
}

/// The host function for an import, or why there is none (`None` if the name is simply unknown).
fn find(
    offered: &[Offered],
    planned: &[PlannedImport],
    module: &str,
    name: &str,
    kind: &ImportKind,
) -> Result<PlannedImport, Option<String>> {
    let mut candidates = offered.iter().filter(|o| o.module == module && o.name == name).peekable();
    let ImportKind::Func(ty) = kind else {
        return Err(Some(format!("a {} cannot be imported, only functions", kind.as_str())));
    };
    if candidates.peek().is_none() {
        return Err(None);
    }
    let types: Vec<Sig> = candidates.map(|o| o.sig).collect();
    let Some(found) = offered.iter().find(|o| o.module == module && o.name == name && ty.is(&o.sig)) else {
        return Err(Some(format!("its type is {ty}, offered is {}", join(&types))));
    };
    // Engines link by name, so one name cannot stand for two functions within one module.
    if planned.iter().any(|p| p.module == found.module && p.name == found.name && p.sig != found.sig) {
        return Err(Some("imported twice with different types".to_owned()));
    }
    Ok(PlannedImport { module: found.module, name: found.name, sig: found.sig })
}

fn exported(info: &ModuleInfo, spec: &ExportSpec) -> bool {
    matches!(info.export(spec.name), Some(ExportKind::Func(ty)) if ty.is(&spec.sig))
}

fn wrong_exports(info: &ModuleInfo, specs: &[ExportSpec]) -> Vec<WrongExport> {
    let mut wrong = Vec::new();
    for export in &info.exports {
        let allowed: Vec<Sig> = specs.iter().filter(|s| s.name == export.name).map(|s| s.sig).collect();
        if allowed.is_empty() || matches!(&export.kind, ExportKind::Func(ty) if allowed.iter().any(|s| ty.is(s))) {
            continue;
        }
        wrong.push(WrongExport { name: export.name.clone(), found: export.kind.to_string(), expected: join(&allowed) });
    }
    wrong
}

fn join(sigs: &[Sig]) -> String {
    sigs.iter().map(|sig| format!("`{sig}`")).collect::<Vec<_>>().join(" or ")
}

impl FnType {
    /// Whether this is the same type as `sig`.
    pub fn is(&self, sig: &Sig) -> bool {
        self.params == sig.params && self.results.as_slice() == sig.result.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::host::Caller;
    use crate::module::ImportInfo;
    use crate::stop::Stop;

    struct Log;

    impl HostFn<()> for Log {
        const MODULE: &'static str = "env";
        const NAME: &'static str = "log";
        const SIG: Sig = Sig::new(&[], None);

        fn call<C: Caller<()> + ?Sized>(_caller: &mut C, _slots: &mut [u64]) -> Result<(), Stop> {
            Ok(())
        }
    }

    impl HostModule<()> for Log {
        fn register<R: Registrar<()>>(registrar: &mut R) {
            registrar.add::<Log>();
        }
    }

    #[test]
    fn as_many_imports_as_a_module_may_have_are_planned_at_once() {
        let kind = ImportKind::Func(FnType { params: Vec::new(), results: Vec::new() });
        let import = ImportInfo { module: "env".to_owned(), name: "log".to_owned(), kind };
        let info = ModuleInfo { imports: vec![import; 100_000], ..ModuleInfo::default() };
        let start = Instant::now();
        let plan = LinkPlan::new::<(), Log>(&info, &[]).unwrap();
        assert_eq!(plan.imports().len(), 100_000);
        // Comparing each with each would take minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

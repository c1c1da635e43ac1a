//! What a module imports, exports and claims to be: the facts by which a host knows it.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

/// The outside of a module. Imports and exports are in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    /// The name of the marker export.
    pub(super) abi: String,
    /// `MODULE.NAME (i32, i32) -> i32`
    pub(super) imports: Vec<String>,
    /// `NAME (i32, i32) -> i32`, or `NAME memory` and the like.
    pub(super) exports: Vec<String>,
}

impl Inventory {
    /// # Errors
    ///
    /// If it is no module, imports anything but functions, or has not exactly one marker.
    pub(super) fn of(module: &[u8]) -> Result<Self> {
        let scan = Scan::of(module)?;
        let mut markers = scan.exports.iter().filter_map(|(name, ..)| name.starts_with(MARKER).then_some(name));
        let (Some(abi), None) = (markers.next(), markers.next()) else {
            bail!("it does not export exactly one function {MARKER}*");
        };
        let mut exports = Vec::new();
        for (name, kind, index) in &scan.exports {
            exports.push(format!("{name} {}", scan.export_type(*kind, *index)?));
        }
        exports.sort();
        let mut imports = scan.imports.clone();
        imports.sort();
        Ok(Self { abi: abi.clone(), imports, exports })
    }

    /// One line for each fact that is not the same; of the imports only those from `env`, unless `with_wasi`.
    pub(super) fn differences(&self, now: &Self, with_wasi: bool) -> Vec<String> {
        let mut differences = Vec::new();
        if self.abi != now.abi {
            differences.push(format!("the marker is {}, in the manifest {}", now.abi, self.abi));
        }
        let counts = |import: &&String| with_wasi || import.starts_with("env.");
        compare("import", self.imports.iter().filter(counts), now.imports.iter().filter(counts), &mut differences);
        compare("export", self.exports.iter(), now.exports.iter(), &mut differences);
        differences
    }
}

const MARKER: &str = "proxy_abi_version_";

fn compare<'a>(
    what: &str,
    before: impl Iterator<Item = &'a String> + Clone,
    now: impl Iterator<Item = &'a String> + Clone,
    differences: &mut Vec<String>,
) {
    for gone in before.clone().filter(|one| !now.clone().any(|other| other == *one)) {
        differences.push(format!("{what} only in the manifest: {gone}"));
    }
    for added in now.filter(|one| !before.clone().any(|other| other == *one)) {
        differences.push(format!("{what} not in the manifest: {added}"));
    }
}

/// The sections of a module that say what its outside is.
#[derive(Default)]
struct Scan {
    types: Vec<FuncType>,
    imports: Vec<String>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    exports: Vec<(String, ExternalKind, u32)>,
}

impl Scan {
    fn of(module: &[u8]) -> Result<Self> {
        let mut scan = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    scan.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        scan.import(import.module, import.name, import.ty)?;
                    }
                }
                Payload::FunctionSection(functions) => {
                    for function in functions {
                        scan.functions.push(function?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        scan.exports.push((export.name.to_owned(), export.kind, export.index));
                    }
                }
                _ => {}
            }
        }
        Ok(scan)
    }

    fn import(&mut self, module: &str, name: &str, ty: TypeRef) -> Result<()> {
        let TypeRef::Func(index) = ty else { bail!("it imports {module}.{name}, which is no function") };
        self.functions.push(index);
        let signature = self.signature(index)?;
        self.imports.push(format!("{module}.{name} {signature}"));
        Ok(())
    }

    fn export_type(&self, kind: ExternalKind, index: u32) -> Result<String> {
        match kind {
            ExternalKind::Func => {
                self.signature(*self.functions.get(index as usize).context("an export has no function")?)
            }
            ExternalKind::Memory => Ok("memory".to_owned()),
            ExternalKind::Table => Ok("table".to_owned()),
            ExternalKind::Global => Ok("global".to_owned()),
            other => bail!("it exports a {other:?}"),
        }
    }

    fn signature(&self, ty: u32) -> Result<String> {
        let ty = self.types.get(ty as usize).context("a function has no type")?;
        let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let params = list(ty.params());
        Ok(match ty.results() {
            [] => format!("({params})"),
            results => format!("({params}) -> {}", list(results)),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `env.log (i32)` imported, one function of type `() -> i64` exported twice, as the marker and as `f`.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x09\x02\x60\x01\x7f\0\x60\0\x01\x7e\
        \x02\x0b\x01\x03env\x03log\0\0\
        \x03\x02\x01\x01\
        \x07\x1f\x02\x17proxy_abi_version_0_2_1\0\x01\x01f\0\x01\
        \x0a\x06\x01\x04\0\x42\0\x0b";

    #[test]
    fn reads_imports_exports_and_marker() {
        let inventory = Inventory::of(MODULE).unwrap();
        assert_eq!(inventory.abi, "proxy_abi_version_0_2_1");
        assert_eq!(inventory.imports, ["env.log (i32)"]);
        assert_eq!(inventory.exports, ["f () -> i64", "proxy_abi_version_0_2_1 () -> i64"]);
    }

    #[test]
    fn what_is_no_guest_is_refused() {
        assert!(Inventory::of(b"").is_err());
        assert!(Inventory::of(&MODULE[..40]).is_err());
        let error = Inventory::of(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(error.to_string().contains("exactly one function"), "{error}");
    }

    #[test]
    fn tells_what_differs() {
        let before = Inventory {
            abi: "a".to_owned(),
            imports: vec!["env.x ()".to_owned(), "wasi_snapshot_preview1.y ()".to_owned()],
            exports: vec!["f ()".to_owned()],
        };
        let now = Inventory {
            abi: "b".to_owned(),
            imports: vec!["env.x (i32)".to_owned(), "wasi_snapshot_preview1.z ()".to_owned()],
            exports: vec!["f ()".to_owned(), "g ()".to_owned()],
        };
        assert_eq!(before.differences(&before, true), Vec::<String>::new());
        assert_eq!(
            before.differences(&now, false),
            [
                "the marker is b, in the manifest a",
                "import only in the manifest: env.x ()",
                "import not in the manifest: env.x (i32)",
                "export not in the manifest: g ()",
            ]
        );
        assert_eq!(before.differences(&now, true).len(), 6);
    }
}

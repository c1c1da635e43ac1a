//! Reads a module's sections into a [`ModuleInfo`], holding the front limits on the way.

use wasmparser::{
    BinaryReaderError, CompositeInnerType, ElementItems, FunctionBody, KnownCustom, Operator, Parser, Payload,
    SectionLimited, TypeRef, ValType,
};

use crate::check::{FrontLimits, invalid, within};
use crate::module::{ExportInfo, ExportKind, FnType, ImportInfo, ImportKind, MemoryInfo, ModuleError, ModuleInfo};
use crate::sig::Ty;

/// The custom section that names a guest of the native engine.
const NATIVE: &str = "chassis.native";

pub(crate) fn read(bytes: &[u8], limits: &FrontLimits) -> Result<ModuleInfo, ModuleError> {
    let mut reader = Reader {
        limits,
        info: ModuleInfo::default(),
        types: Vec::new(),
        functions: Vec::new(),
        bodies: 0,
        memories: 0,
        tables: 0,
    };
    for payload in Parser::new(0).parse_all(bytes) {
        reader.payload(payload.map_err(invalid)?)?;
    }
    Ok(reader.info)
}

struct Reader<'a> {
    limits: &'a FrontLimits,
    info: ModuleInfo,
    types: Vec<FnType>,
    /// The type index of each function, imported ones first.
    functions: Vec<u32>,
    bodies: usize,
    memories: u64,
    tables: u64,
}

impl Reader<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), ModuleError> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => {
                self.section("function", &section);
                within("functions", u64::from(section.count()), self.limits.functions)?;
                self.info.functions = section.count();
                for ty in section {
                    self.functions.push(ty.map_err(invalid)?);
                }
                Ok(())
            }
            Payload::TableSection(section) => {
                self.section("table", &section);
                self.tables += u64::from(section.count());
                within("tables", self.tables, self.limits.tables)?;
                for table in section {
                    let initial = table.map_err(invalid)?.ty.initial;
                    self.info.table_elements = self.info.table_elements.max(initial);
                }
                Ok(())
            }
            Payload::MemorySection(section) => {
                self.section("memory", &section);
                self.memories += u64::from(section.count());
                within("memories", self.memories, self.limits.memories)?;
                for memory in section {
                    let memory = memory.map_err(invalid)?;
                    let memory = MemoryInfo { minimum_pages: memory.initial, maximum_pages: memory.maximum };
                    self.info.memories.push(memory);
                }
                Ok(())
            }
            Payload::GlobalSection(section) => self.entries("global", "globals", &section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::StartSection { range, .. } => {
                self.info.has_start = true;
                self.size("start", range.len());
                Ok(())
            }
            Payload::ElementSection(section) => self.elements(section),
            Payload::DataSection(section) => self.entries("data", "data segments", &section),
            Payload::CodeSectionStart { size, .. } => {
                self.size("code", size as usize);
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::CustomSection(section) => {
                self.size(&format!("custom {}", section.name().escape_debug()), section.data().len());
                self.custom(&section);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), ModuleError> {
        self.entries("type", "types", &section)?;
        for group in section {
            for ty in group.map_err(invalid)?.into_types() {
                // Anything but a function type is refused by the validation that follows.
                let CompositeInnerType::Func(func) = &ty.composite_type.inner else {
                    self.types.push(FnType { params: Vec::new(), results: Vec::new() });
                    continue;
                };
                within("parameters of a function", func.params().len() as u64, self.limits.params)?;
                within("results of a function", func.results().len() as u64, self.limits.results)?;
                self.types.push(FnType {
                    params: func.params().iter().map(value_type).collect(),
                    results: func.results().iter().map(value_type).collect(),
                });
            }
        }
        Ok(())
    }

    fn imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<(), ModuleError> {
        self.entries("import", "imports", &section)?;
        for import in section.into_imports() {
            let import = import.map_err(invalid)?;
            let kind = match import.ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                    self.functions.push(ty);
                    ImportKind::Func(self.function_type(ty))
                }
                TypeRef::Memory(_) => {
                    self.memories += 1;
                    ImportKind::Memory
                }
                TypeRef::Table(_) => ImportKind::Table,
                TypeRef::Global(_) => ImportKind::Global,
                TypeRef::Tag(_) => ImportKind::Tag,
            };
            self.info.imports.push(ImportInfo { module: import.module.into(), name: import.name.into(), kind });
        }
        Ok(())
    }

    fn exports(&mut self, section: wasmparser::ExportSectionReader<'_>) -> Result<(), ModuleError> {
        self.entries("export", "exports", &section)?;
        for export in section {
            let export = export.map_err(invalid)?;
            let kind = match export.kind {
                wasmparser::ExternalKind::Func | wasmparser::ExternalKind::FuncExact => {
                    let ty = self.functions.get(export.index as usize).copied().unwrap_or(u32::MAX);
                    ExportKind::Func(self.function_type(ty))
                }
                wasmparser::ExternalKind::Memory => {
                    self.info.memory_exported |= export.name == "memory";
                    ExportKind::Memory
                }
                wasmparser::ExternalKind::Table => ExportKind::Table,
                wasmparser::ExternalKind::Global => ExportKind::Global,
                wasmparser::ExternalKind::Tag => ExportKind::Tag,
            };
            self.info.exports.push(ExportInfo { name: export.name.into(), kind });
        }
        Ok(())
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), ModuleError> {
        self.entries("element", "element segments", &section)?;
        let mut elements = 0_u64;
        for segment in section {
            elements += u64::from(match segment.map_err(invalid)?.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            });
        }
        within("elements of all segments", elements, self.limits.elements)
    }

    /// A type that does not exist reads as one without parameters here; validation refuses the module afterwards.
    fn function_type(&self, index: u32) -> FnType {
        let none = || FnType { params: Vec::new(), results: Vec::new() };
        self.types.get(index as usize).cloned().unwrap_or_else(none)
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), ModuleError> {
        let defined = self.functions.len().saturating_sub(self.info.functions as usize);
        let ty = self.functions.get(defined + self.bodies).copied().unwrap_or(u32::MAX);
        let params = self.function_type(ty).params.len() as u64;
        let index = defined + self.bodies;
        self.bodies += 1;
        within(format!("body of function {index} in bytes"), body.range().len() as u64, self.limits.body_bytes)?;
        let locals = params + declared_locals(body).map_err(invalid)?;
        within(format!("locals of function {index}"), locals, self.limits.locals)?;
        // Counting instructions takes a walk over the body; most functions are too small to need it.
        if locals.saturating_mul(body.range().len() as u64) <= self.limits.locals_times_branches {
            return Ok(());
        }
        let branches = branches(body).map_err(invalid)?;
        let product = locals.saturating_mul(branches);
        within(format!("locals times branches of function {index}"), product, self.limits.locals_times_branches)
    }

    fn custom(&mut self, section: &wasmparser::CustomSectionReader<'_>) {
        if section.name() == NATIVE {
            self.info.native = String::from_utf8(section.data().to_vec()).ok();
        }
        let KnownCustom::Producers(fields) = section.as_known() else { return };
        for field in fields.into_iter().flatten() {
            for value in field.values.into_iter().flatten() {
                let producer = (field.name.to_owned(), value.name.to_owned(), value.version.to_owned());
                self.info.producers.push(producer);
            }
        }
    }

    fn entries<T>(&mut self, name: &str, what: &str, section: &SectionLimited<'_, T>) -> Result<(), ModuleError> {
        self.section(name, section);
        within(what, u64::from(section.count()), self.limits.section_entries)
    }

    fn section<T>(&mut self, name: &str, section: &SectionLimited<'_, T>) {
        self.size(name, section.range().len());
    }

    fn size(&mut self, name: &str, bytes: usize) {
        self.info.sections.push((name.to_owned(), bytes as u64));
    }
}

fn declared_locals(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut locals = 0_u64;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    Ok(locals)
}

/// Where a compiler's code branches. A block is a place to branch to; operators over ranges of memories and tables are
/// branches where an engine charges for what they do before they do it; and what takes a function out of a table
/// branches where an engine fills tables only when their elements are first used.
fn branches(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut branches = 0_u64;
    for operator in body.get_operators_reader()? {
        branches += match operator? {
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Loop { .. }
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::CallIndirect { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. }
            | Operator::TableGet { .. }
            | Operator::TableSet { .. } => 1,
            Operator::BrTable { targets } => u64::from(targets.len()) + 1,
            _ => 0,
        };
    }
    Ok(branches)
}

fn value_type(ty: &ValType) -> Ty {
    match ty {
        ValType::I32 => Ty::I32,
        ValType::I64 => Ty::I64,
        ValType::F32 => Ty::F32,
        ValType::F64 => Ty::F64,
        ValType::V128 => Ty::V128,
        ValType::Ref(_) => Ty::Ref,
    }
}

#[cfg(test)]
mod tests {
    use crate::{CheckedModule, ExportKind, FrontLimits, ModuleError};

    fn info(wat: &str) -> crate::ModuleInfo {
        let bytes = wat::parse_str(wat).unwrap();
        CheckedModule::new(bytes, &FrontLimits::default()).unwrap().info().clone()
    }

    #[test]
    fn imports_exports_and_sections_are_read() {
        let info = info(
            r#"(module (import "env" "f" (func (param i32) (result i32))) (memory (export "memory") 2 3)
                (func $start) (start $start) (func (export "g") (param i64 f64))
                (@custom "chassis.native" "guest"))"#,
        );
        assert_eq!(info.imports[0].module, "env");
        assert_eq!(info.export("g").unwrap().to_string(), "`(i64, f64)`");
        assert_eq!(info.export("memory"), Some(&ExportKind::Memory));
        assert!(info.memory_exported && info.has_start);
        assert_eq!(info.functions, 2);
        assert_eq!(info.memories[0].maximum_pages, Some(3));
        assert_eq!(info.native.as_deref(), Some("guest"));
        assert!(info.sections.iter().any(|(name, bytes)| name == "code" && *bytes > 0));
    }

    #[test]
    fn the_elements_of_all_segments_count() {
        let segments = |n: usize| {
            let functions = "0 ".repeat(n / 2);
            let expressions = "(ref.func 0)".repeat(n - n / 2);
            wat::parse_str(format!("(module (func) (elem func {functions}) (elem funcref {expressions}))")).unwrap()
        };
        let limits = FrontLimits::default();
        assert!(CheckedModule::new(segments(200_000), &limits).is_ok());
        let error = CheckedModule::new(segments(200_001), &limits).unwrap_err();
        assert_eq!(error.to_string(), "elements of all segments: 200001, the limit is 200000");
    }

    #[test]
    fn a_compile_bomb_is_refused_before_any_engine_sees_it() {
        let locals = "(local i32)".repeat(5_000);
        for branch in [
            "(if (local.get 0) (then (local.set 1 (local.get 2))))",
            "(block (local.set 1 (local.get 2)))",
            "(memory.fill (local.get 1) (local.get 2) (local.get 3))",
            "(table.set (local.get 1) (ref.null func))",
            "(call_indirect (type $t) (local.get 1))",
        ] {
            let branches = branch.repeat(5_000);
            let wat = format!("(module (type $t (func)) (memory 1) (table 1 funcref) (func {locals} {branches}))");
            let error = CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap_err();
            assert!(matches!(error, ModuleError::Limit { found: 25_000_000, .. }), "{branch}: {error}");
            assert!(error.to_string().starts_with("locals times branches of function 0"), "{error}");
        }
    }
}

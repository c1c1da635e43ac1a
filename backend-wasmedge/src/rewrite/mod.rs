//! What WasmEdge's interpreter does not bound is bounded by the module's own code, which is changed before the
//! interpreter sees it. The guest cannot notice.
//!
//! - Calls may nest without end, on a stack that lies on the heap: functions count what they need of it
//!   ([`stack`]).
//! - A table grows to any size, and the process ends where there is no memory for it: `table.grow` becomes a call of a
//!   function that asks for the limit first ([`table_grow`]).
//! - A call that was cancelled ends at its next branch or call: there is a branch before each bulk instruction, however
//!   many stand in a row.
//! - The start section runs while the instance is made, when nothing could end it: it becomes an export.
//!
//! Custom sections are left out.

mod binary;
mod function;
mod stack;
mod table_grow;

use std::collections::{BTreeMap, BTreeSet};

use chassis_engine_api::CheckedModule;
use chassis_engine_api::binary::{export, id, kind, number, unused_export};
use wasmparser::{BinaryReaderError, Parser, Payload, TypeRef, ValType, ValidPayload, Validator, WasmFeatures};

use self::binary::Sections;
use self::function::Function;
use self::table_grow::Growers;

pub(crate) use self::stack::STACK;

/// A module in the form that WasmEdge gets.
pub(crate) struct Rewritten {
    pub(crate) bytes: Vec<u8>,
    pub(crate) added: Added,
}

/// The names of what was added to a module's exports; no export of the module itself has any of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Added {
    /// The global that says what is left of the stack; negative after a call that wanted more.
    pub(crate) stack: Option<String>,
    /// The global that holds the table limit.
    pub(crate) tables: Option<String>,
    /// The start function.
    pub(crate) start: Option<String>,
}

pub(crate) fn rewrite(module: &CheckedModule) -> Result<Rewritten, BinaryReaderError> {
    let bytes = module.bytes();
    let found = Found::read(bytes)?;
    let mut sections = Sections::read(bytes);
    let mut added = Added::default();
    let mut exports = Exports { module, entries: Vec::new() };

    if let Some(start) = sections.take(id::START) {
        added.start = Some(exports.add("start", kind::FUNCTION, &start));
    }
    let stack_global = found.globals;
    let tables_global = found.globals + 1;
    let mut globals = Vec::new();
    if found.functions.iter().any(Function::is_counted) {
        added.stack = Some(exports.add("stack", kind::GLOBAL, &number(stack_global as usize)));
        globals.push(variable(0));
    }
    // A function that grows a table is always counted, so the other global is there too.
    if !found.growers.is_empty() {
        added.tables = Some(exports.add("tables", kind::GLOBAL, &number(tables_global as usize)));
        globals.push(variable(0));
    }

    let mut types = found.types;
    let mut new_types = Vec::new();
    let block_types: BTreeMap<&[ValType], u32> = found
        .wide_results()
        .into_iter()
        .map(|results| {
            new_types.push(binary::block_type(results));
            types += 1;
            (results, types - 1)
        })
        .collect();
    let first_grower = found.imported + found.functions.len() as u32;
    let mut bodies: Vec<Vec<u8>> = Vec::with_capacity(found.functions.len());
    for function in &found.functions {
        bodies
            .push(function.write(bytes, stack_global, &block_types, |table| first_grower + found.growers.index(table)));
    }
    let mut new_functions = Vec::new();
    for grower in found.growers.iter() {
        new_types.push(grower.ty());
        new_functions.push(number(types as usize));
        types += 1;
        bodies.push(grower.body(tables_global));
    }

    sections.extend(id::TYPE, &new_types);
    sections.extend(id::FUNCTION, &new_functions);
    sections.extend(id::GLOBAL, &globals);
    sections.extend(id::EXPORT, &exports.entries);
    if !bodies.is_empty() {
        sections.replace(id::CODE, &bodies);
    }
    Ok(Rewritten { bytes: sections.write(), added })
}

/// What is to be changed, and the counts from which the indices of what is added follow.
#[derive(Default)]
struct Found {
    types: u32,
    imported: u32,
    globals: u32,
    functions: Vec<Function>,
    growers: Growers,
}

impl Found {
    fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut found = Found::default();
        let mut validator = Validator::new_with_features(WasmFeatures::WASM2);
        let mut allocations = wasmparser::FuncValidatorAllocations::default();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            found.count(&payload)?;
            if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
                let mut checked = function.into_validator(allocations);
                found.functions.push(Function::read(&body, &mut checked, &mut found.growers)?);
                allocations = checked.into_allocations();
            }
        }
        Ok(found)
    }

    fn count(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => self.types = section.count(),
            Payload::GlobalSection(section) => self.globals += section.count(),
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) => self.imported += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Table(table) => self.growers.add_table(table.element_type),
                        _ => {}
                    }
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.growers.add_table(table?.ty.element_type);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The lists of several results that counted functions have.
    fn wide_results(&self) -> BTreeSet<&[ValType]> {
        let counted = self.functions.iter().filter(|function| function.is_counted());
        counted.map(Function::results).filter(|results| results.len() > 1).collect()
    }
}

/// The exports that are added.
struct Exports<'a> {
    module: &'a CheckedModule,
    entries: Vec<Vec<u8>>,
}

impl Exports<'_> {
    /// Adds one under a name like this, and answers the name.
    fn add(&mut self, like: &str, kind: u8, index: &[u8]) -> String {
        let name = unused_export(self.module.info(), like);
        self.entries.push(export(&name, kind, index));
        name
    }
}

/// A mutable `i32` in the global section.
fn variable(value: u8) -> Vec<u8> {
    vec![0x7f, 0x01, 0x41, value, 0x0b]
}

#[cfg(test)]
mod tests {
    use chassis_engine_api::FrontLimits;

    use super::*;

    fn rewritten(wat: &str) -> Rewritten {
        let module = CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap();
        let rewritten = rewrite(&module).unwrap();
        Validator::new_with_features(WasmFeatures::WASM2).validate_all(&rewritten.bytes).unwrap();
        rewritten
    }

    #[test]
    fn what_needs_nothing_gets_nothing() {
        for wat in ["(module)", "(module (func (export \"f\") (param i32) (result i32) (local.get 0)) (memory 1))"] {
            let Added { stack, tables, start } = rewritten(wat).added;
            assert_eq!((stack, tables, start), (None, None, None), "{wat}");
        }
    }

    #[test]
    fn names_that_are_taken_are_left_alone() {
        let wat = r#"(module (func $s (export "chassis:start") (call $s)) (start $s) (func (export "chassis:stack")))"#;
        let added = rewritten(wat).added;
        assert_eq!(added.start.as_deref(), Some("chassis:start_"));
        assert_eq!(added.stack.as_deref(), Some("chassis:stack_"));
    }

    #[test]
    fn whatever_is_changed_stays_valid() {
        for wat in [
            "(module (func $f (result i32 i64) (return (call $f))))",
            "(module (func $f (result i32 i64) (call $f)) (func $g (result i32 i64) (call $g)) (func (result f32 f32) (drop (drop (call $f))) unreachable))",
            "(module (func $f (param i32) (result i32) (local i64 i64 f32)
                (block (loop (br_if 1 (local.get 0)) (br_if 2 (i32.const 1) (local.get 0)) (return (call $f (local.get 0))))) (br 0 (i32.const 1))))",
            "(module (func $f (result v128) (call $f)) (func $g (result funcref) (call $g)))",
            "(module (import \"a\" \"b\" (func)) (table 1 funcref) (table 2 funcref) (global i32 (i32.const 1))
                (func $f (result i32) (call 0) (table.grow 0 (ref.null func) (i32.const 1)))
                (func $g (result i32) (table.grow 1 (ref.null func) (i32.const 1)))
                (func $h (result i32) (i32.add (table.grow 1 (ref.null func) (i32.const -1)) (call $f)))
                (elem declare func $f) (start 0))",
            "(module (table 1 funcref) (func (result i32) (table.grow (ref.null func) (i32.const 1))))",
            "(module (func $f (br_table 0 0 (i32.const 0))) (func $g (call $f) (block (br_table 0 1 (i32.const 0)))))",
            "(module (func $s (call $s)) (start $s) (memory 1) (data \"x\") (func (data.drop 0) (call $s)))",
            "(module (memory 1) (data \"x\") (table 2 funcref) (elem func 0) (func $f (param i32) (result i32)
                (if (result i32) (local.get 0)
                    (then (local.get 0) (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))
                    (else (memory.copy (i32.const 0) (i32.const 0) (i32.const 1)) (return (call $f (i32.const 1)))))
                (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))
                (func (local i64) (return) (table.init 0 (i32.const 0) (i32.const 0) (i32.const 1))
                    (table.copy (i32.const 0) (i32.const 0) (i32.const 1)) (table.fill)))",
        ] {
            let _ = rewritten(wat);
        }
    }
}

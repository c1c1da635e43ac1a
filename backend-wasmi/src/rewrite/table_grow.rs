//! `table.grow` as a call of a function that does nothing else.
//!
//! When fuel runs out at this instruction, wasmi 2.0.0 does not note where it is: it resumes at the last place that it
//! did note, and runs everything since then again. A function's beginning is such a place, and in a function with
//! nothing but `table.grow` it is the right one.

use std::collections::BTreeMap;
use std::ops::Range;

use chassis_engine_api::binary::{
    HEADER, id, number, sections, write_extended, write_number, write_section, write_sized,
};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, RefType, TypeRef};

const OPCODE: [u8; 2] = [0xfc, 0x0f];

/// The module with calls in place of `table.grow`, or `None` if it has none.
pub(super) fn as_calls(bytes: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    // The opcode has other encodings with the same meaning, but none without its first byte.
    if !sections(bytes).any(|section| section.id == id::CODE && section.payload.contains(&OPCODE[0])) {
        return Ok(None);
    }
    let found = Found::read(bytes)?;
    if found.helpers.is_empty() {
        return Ok(None);
    }
    Ok(Some(found.write(bytes)))
}

/// What is to be changed, and the counts from which the indices of what is added follow.
#[derive(Default)]
struct Found {
    types: u32,
    functions: u32,
    tables: Vec<RefType>,
    bodies: Vec<Body>,
    /// By table: which of the added functions grows it.
    helpers: BTreeMap<u32, usize>,
}

struct Body {
    range: Range<usize>,
    growths: Vec<(Range<usize>, u32)>,
}

impl Found {
    fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut found = Found::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => found.types = section.count(),
                Payload::FunctionSection(section) => found.functions += section.count(),
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => found.functions += 1,
                            TypeRef::Table(table) => found.tables.push(table.element_type),
                            _ => {}
                        }
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        found.tables.push(table?.ty.element_type);
                    }
                }
                Payload::CodeSectionEntry(body) => found.body(&body)?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), BinaryReaderError> {
        let mut growths = Vec::new();
        let mut growing: Option<(usize, u32)> = None;
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            // Each instruction ends where the next begins; the last is always an `end`.
            if let Some((begin, table)) = growing.take() {
                growths.push((begin..offset, table));
            }
            if let Operator::TableGrow { table } = operator {
                let next = self.helpers.len();
                self.helpers.entry(table).or_insert(next);
                growing = Some((offset, table));
            }
        }
        self.bodies.push(Body { range: body.range(), growths });
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Vec<u8> {
        let mut helpers: Vec<(usize, u32)> = self.helpers.iter().map(|(table, n)| (*n, *table)).collect();
        helpers.sort_unstable();
        let types: Vec<Vec<u8>> = helpers.iter().map(|(_, table)| self.helper_type(*table)).collect();
        let functions: Vec<Vec<u8>> = helpers.iter().map(|(n, _)| number(self.types as usize + n)).collect();
        let bodies: Vec<Vec<u8>> = helpers.iter().map(|(_, table)| helper_body(*table)).collect();
        let mut written = bytes[..HEADER].to_vec();
        for section in sections(bytes) {
            match section.id {
                id::TYPE => {
                    write_extended(&mut written, id::TYPE, section.payload, &types);
                }
                id::FUNCTION => {
                    write_extended(&mut written, id::FUNCTION, section.payload, &functions);
                }
                id::CODE => {
                    let mut payload = number(self.bodies.len() + bodies.len());
                    for body in &self.bodies {
                        write_sized(&mut payload, &self.with_calls(bytes, body));
                    }
                    payload.extend(bodies.iter().flatten());
                    write_section(&mut written, id::CODE, &payload);
                }
                _ => written.extend_from_slice(section.whole),
            }
        }
        written
    }

    fn with_calls(&self, bytes: &[u8], body: &Body) -> Vec<u8> {
        let mut written = Vec::with_capacity(body.range.len());
        let mut from = body.range.start;
        for (range, table) in &body.growths {
            written.extend_from_slice(&bytes[from..range.start]);
            written.push(0x10); // call
            write_number(&mut written, self.functions as usize + self.helpers[table]);
            from = range.end;
        }
        written.extend_from_slice(&bytes[from..body.range.end]);
        written
    }

    /// `(func (param $init ref) (param $delta i32) (result i32))`
    fn helper_type(&self, table: u32) -> Vec<u8> {
        let element = self.tables.get(table as usize).copied().unwrap_or(RefType::FUNCREF);
        let element = if element.is_func_ref() { 0x70 } else { 0x6f };
        vec![0x60, 2, element, 0x7f, 1, 0x7f]
    }
}

fn helper_body(table: u32) -> Vec<u8> {
    // No locals; local.get 0, local.get 1, table.grow, end.
    let mut body = vec![0, 0x20, 0, 0x20, 1, OPCODE[0], OPCODE[1]];
    write_number(&mut body, table as usize);
    body.push(0x0b);
    let mut written = Vec::new();
    write_sized(&mut written, &body);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modules_that_grow_tables_are_changed() {
        let same = |wat: &str| as_calls(&wat::parse_str(wat).unwrap()).unwrap().is_none();
        assert!(same("(module)"));
        assert!(same("(module (func (drop (i32.const -4))))"));
        assert!(same("(module (table 1 funcref) (func (table.fill (i32.const 0) (ref.null func) (i32.const 1))))"));
    }

    #[test]
    fn each_table_gets_its_function_and_the_module_stays_valid() {
        let wat = r#"(module (import "env" "f" (func)) (type (func (param i64)))
            (table 1 funcref) (table 2 externref) (table 3 funcref)
            (func (export "a") (result i32) (table.grow 2 (ref.null func) (i32.const 1)))
            (func (result i32) (i32.add (table.grow 1 (ref.null extern) (i32.const -1))
                (table.grow 2 (ref.func 0) (i32.const 200))))
            (elem declare func 0) (@custom "name" "x") (data "\fc\0f"))"#;
        let bytes = wat::parse_str(wat).unwrap();
        let changed = as_calls(&bytes).unwrap().unwrap();
        wasmparser::validate(&changed).unwrap();
        let found = Found::read(&changed).unwrap();
        assert_eq!(found.functions, 5);
        let growths: Vec<usize> = found.bodies.iter().map(|body| body.growths.len()).collect();
        assert_eq!(growths, [0, 0, 1, 1]);
        assert_eq!(found.helpers.keys().copied().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_long_encoding_of_the_instruction_is_found() {
        let wat = "(module (table 1 funcref) (func (result i32) (table.grow (ref.null func) (i32.const 1))))";
        let mut bytes = wat::parse_str(wat).unwrap();
        let at = bytes.windows(2).position(|pair| pair == OPCODE).unwrap();
        bytes.splice(at + 1..at + 2, [0x8f, 0x80, 0x00]);
        // The body and the section are two bytes longer now.
        let code = bytes.iter().position(|byte| *byte == id::CODE).unwrap();
        bytes[code + 1] += 2;
        bytes[code + 3] += 2;
        wasmparser::validate(&bytes).unwrap();
        let changed = as_calls(&bytes).unwrap().unwrap();
        wasmparser::validate(&changed).unwrap();
        assert_eq!(Found::read(&changed).unwrap().bodies[0].growths.len(), 0);
    }
}

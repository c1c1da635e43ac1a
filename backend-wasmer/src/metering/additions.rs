//! What is added to a module before it is compiled: a counter, a place for one number, a table with the host's
//! function in it, a function that calls that one, and a function that sees whether there is room on the stack.
//! Everything comes after what the module has, so that no index in it changes.
//!
//! The start section becomes an export that is called like any other: Wasmer would run it while it makes the instance,
//! before the table is filled.

use chassis_engine_api::CheckedModule;
use chassis_engine_api::binary::{
    HEADER, ORDER, export, id, kind, number, read_number, sections, unused_export, write_extended, write_number,
    write_sized,
};
use wasmer::sys::wasmparser::{BinaryReaderError, Parser, Payload, TypeRef};

/// A module with the additions.
pub(crate) struct Additions {
    pub(crate) bytes: Vec<u8>,
    pub(crate) indices: Indices,
    pub(crate) names: Names,
    /// By how much function bodies have moved within the bytes.
    pub(crate) moved: usize,
}

/// Where the additions are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indices {
    /// The function that calls the host.
    pub(crate) refill: u32,
    /// The function that traps where its argument, an `i32`, is a number of levels for which the stack is too small.
    pub(crate) room: u32,
    /// The counter, an `i64`.
    pub(crate) counter: u32,
    /// The place for one number, an `i32`.
    pub(crate) number: u32,
}

/// How many functions are added.
pub(crate) const FUNCTIONS: usize = 3;

/// The names under which they are exported, none of which the module uses itself.
#[derive(Debug)]
pub(crate) struct Names {
    /// The counter.
    pub(crate) counter: String,
    /// The table whose only element is the host's function.
    pub(crate) refill: String,
    /// The start function, if there is one.
    pub(crate) start: Option<String>,
}

impl Additions {
    pub(crate) fn new(module: &CheckedModule) -> Result<Self, BinaryReaderError> {
        let bytes = module.bytes();
        let counts = Counts::read(bytes)?;
        let start = sections(bytes).find(|section| section.id == id::START).map(|section| section.payload.to_vec());
        let info = module.info();
        let names = Names {
            counter: unused_export(info, "counter"),
            refill: unused_export(info, "refill"),
            start: start.as_ref().map(|_| unused_export(info, "start")),
        };
        let indices = Indices {
            refill: counts.functions,
            room: counts.functions.saturating_add(1),
            counter: counts.globals,
            number: counts.globals.saturating_add(1),
        };
        let (bytes, moved) = write(bytes, additions(&counts, &names, start.as_deref()));
        Ok(Additions { bytes, indices, names, moved })
    }
}

const I32: u8 = 0x7f;
const I64: u8 = 0x7e;
const FUNCREF: u8 = 0x70;
const I32_CONST: u8 = 0x41;
const I64_CONST: u8 = 0x42;
const CALL: u8 = 0x10;
const CALL_INDIRECT: u8 = 0x11;
const IF: u8 = 0x04;
const EMPTY: u8 = 0x40;
const LOCAL_GET: u8 = 0x20;
const I32_EQ: u8 = 0x46;
const I32_SUB: u8 = 0x6b;
/// -1 as it stands behind `I32_CONST`.
const MINUS_ONE: u8 = 0x7f;
const END: u8 = 0x0b;
const MUTABLE: u8 = 1;

/// How many of each a module has, imported ones included.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    types: u32,
    functions: u32,
    tables: u32,
    globals: u32,
}

impl Counts {
    fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut counts = Counts::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => counts.types = section.count(),
                Payload::FunctionSection(section) => counts.functions += section.count(),
                Payload::TableSection(section) => counts.tables += section.count(),
                Payload::GlobalSection(section) => counts.globals += section.count(),
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => counts.functions += 1,
                            TypeRef::Table(_) => counts.tables += 1,
                            TypeRef::Global(_) => counts.globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(counts)
    }
}

/// What each section gets, in the order of sections.
fn additions(counts: &Counts, names: &Names, start: Option<&[u8]>) -> Vec<(u8, Vec<Vec<u8>>)> {
    let [types, tables, globals] = [counts.types, counts.tables, counts.globals].map(|count| count as usize);
    let mut exports = vec![
        export(&names.counter, kind::GLOBAL, &number(globals)),
        export(&names.refill, kind::TABLE, &number(tables)),
    ];
    if let (Some(name), Some(function)) = (&names.start, start) {
        exports.push(export(name, kind::FUNCTION, function));
    }
    // No locals; i32.const 0, call_indirect (type) (table), end.
    let mut body = vec![0, I32_CONST, 0, CALL_INDIRECT];
    write_number(&mut body, types);
    write_number(&mut body, tables);
    body.push(END);
    let refill = sized(&body);
    let room = counts.functions as usize + 1;
    let mut wide = vec![0x60];
    write_sized(&mut wide, &[I64; WIDE]);
    wide.push(0);
    vec![
        (id::TYPE, vec![vec![0x60, 0, 0], vec![0x60, 1, I32, 0], wide]),
        (id::FUNCTION, vec![number(types), number(types + 1), number(types + 2)]),
        // One element, without a maximum: calls through tables of a fixed size do not see what the host puts there.
        (id::TABLE, vec![vec![FUNCREF, 0, 1]]),
        (id::GLOBAL, vec![vec![I64, MUTABLE, I64_CONST, 0, END], vec![I32, MUTABLE, I32_CONST, 0, END]]),
        (id::EXPORT, exports),
        (id::CODE, vec![refill, sized(&room_body(room)), sized(&[0, END])]),
    ]
}

/// Parameters of the function that is never called, and locals of the one that seems to call it: eight KiB of either.
const WIDE: usize = 1_000;

/// `(func $room (param i32) (local i64 ..) (if (local.get 0) (then (if (i32.eq (local.get 0) (i32.const -1)) (then
/// (call $wide (i64.const 0) ..))) (call $room (i32.sub (local.get 0) (i32.const 1))))))`
///
/// Its frame is large with any compiler: one keeps a place for a call's arguments although the call is not made, the
/// other one for locals although they are not used. Each level of it touches its frame, page by page.
fn room_body(room: usize) -> Vec<u8> {
    let mut body = vec![1];
    write_number(&mut body, WIDE);
    body.extend_from_slice(&[I64, LOCAL_GET, 0, IF, EMPTY]);
    body.extend_from_slice(&[LOCAL_GET, 0, I32_CONST, MINUS_ONE, I32_EQ, IF, EMPTY]);
    body.extend_from_slice(&[I64_CONST, 0].repeat(WIDE));
    body.push(CALL);
    write_number(&mut body, room + 1);
    body.push(END);
    body.extend_from_slice(&[LOCAL_GET, 0, I32_CONST, 1, I32_SUB, CALL]);
    write_number(&mut body, room);
    body.extend_from_slice(&[END, END]);
    body
}

fn sized(body: &[u8]) -> Vec<u8> {
    let mut sized = Vec::with_capacity(body.len() + 3);
    write_sized(&mut sized, body);
    sized
}

/// The module with the additions and without its start section, and by how much function bodies have moved.
fn write(bytes: &[u8], additions: Vec<(u8, Vec<Vec<u8>>)>) -> (Vec<u8>, usize) {
    let mut written = Vec::with_capacity(bytes.len() + 256);
    written.extend_from_slice(&bytes[..HEADER]);
    let mut moved = 0;
    let mut additions = additions.into_iter().peekable();
    for section in sections(bytes) {
        if section.id == id::CUSTOM {
            written.extend_from_slice(section.whole);
            continue;
        }
        while let Some((id, added)) = additions.next_if(|(id, _)| rank(*id) < rank(section.id)) {
            write_extended(&mut written, id, &[0], &added);
        }
        match additions.next_if(|(id, _)| *id == section.id) {
            Some((id, added)) => {
                let begin = write_extended(&mut written, id, section.payload, &added);
                if id == id::CODE {
                    let (_, entries) = read_number(section.payload);
                    moved = begin - (section.offset + section.payload.len() - entries.len());
                }
            }
            None if section.id == id::START => {}
            None => written.extend_from_slice(section.whole),
        }
    }
    for (id, added) in additions {
        write_extended(&mut written, id, &[0], &added);
    }
    (written, moved)
}

fn rank(id: u8) -> usize {
    ORDER.iter().position(|known| *known == id).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use chassis_engine_api::FrontLimits;
    use wasmer::sys::wasmparser::{self, KnownCustom};

    use super::*;

    fn added(wat: &str) -> (Vec<u8>, Additions) {
        let bytes = wat::parse_str(wat).unwrap();
        let module = CheckedModule::new(bytes.clone(), &FrontLimits::default()).unwrap();
        let additions = Additions::new(&module).unwrap();
        wasmparser::validate(&additions.bytes).unwrap();
        (bytes, additions)
    }

    fn bodies(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let mut bodies = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                let range = body.range();
                bodies.push((range.start, bytes[range].to_vec()));
            }
        }
        bodies
    }

    #[test]
    fn every_kind_of_module_stays_valid_and_its_bodies_are_the_same() {
        let functions: String = (0..127).map(|i| format!("(func (result i32) (i32.const {i}))")).collect();
        for wat in [
            "(module)".to_owned(),
            "(module (memory 1) (data (i32.const 0) \"x\"))".to_owned(),
            r#"(module (import "env" "f" (func)) (export "f" (func 0)))"#.to_owned(),
            format!("(module (table 2 funcref) (global i32 (i32.const 1)) {functions} (elem (i32.const 0) 1 2))"),
            r#"(module (type (func (param i64))) (import "a" "t" (table 1 funcref)) (import "a" "g" (global i64))
                (memory (export "memory") 1) (func $s) (start $s) (data $d "x") (func (data.drop $d))
                (@custom "name" "\00\02\01x") (export "chassis:start" (func $s)))"#
                .to_owned(),
        ] {
            let (bytes, additions) = added(&wat);
            let (before, mut after) = (bodies(&bytes), bodies(&additions.bytes));
            after.truncate(after.len() - FUNCTIONS);
            let moved: Vec<_> = after.into_iter().map(|(at, body)| (at - additions.moved, body)).collect();
            assert_eq!(before, moved, "{wat}");
        }
    }

    #[test]
    fn what_is_added_comes_last() {
        let (bytes, additions) = added(
            r#"(module (type (func (param i64))) (import "a" "f" (func)) (import "a" "g" (global i64))
                (table 1 funcref) (table 2 funcref) (global i32 (i32.const 1)) (func) (func))"#,
        );
        let before = Counts::read(&bytes).unwrap();
        assert_eq!(before, Counts { types: 2, functions: 3, tables: 2, globals: 2 });
        let after = Counts::read(&additions.bytes).unwrap();
        assert_eq!(after, Counts { types: 5, functions: 3 + FUNCTIONS as u32, tables: 3, globals: 4 });
        let Indices { refill, room, counter, number } = additions.indices;
        assert_eq!((refill, room, counter, number), (3, 4, 2, 3));
    }

    #[test]
    fn the_start_section_becomes_an_export_with_a_name_of_its_own() {
        let (_, additions) = added(r#"(module (func $s) (start $s) (export "chassis:start" (func $s)))"#);
        assert_eq!(additions.names.start.as_deref(), Some("chassis:start_"));
        assert!(sections(&additions.bytes).all(|section| section.id != id::START));
        let (_, additions) = added("(module (func $s))");
        assert_eq!(additions.names.start, None);
    }

    #[test]
    fn names_of_functions_are_kept() {
        let (_, additions) = added("(module (func $one) (func $two (call $one)))");
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(&additions.bytes) {
            let Payload::CustomSection(section) = payload.unwrap() else { continue };
            let KnownCustom::Name(reader) = section.as_known() else { continue };
            for name in reader {
                let wasmparser::Name::Function(map) = name.unwrap() else { continue };
                names.extend(map.into_iter().map(|naming| naming.unwrap().name.to_owned()));
            }
        }
        assert_eq!(names, ["one", "two"]);
    }
}

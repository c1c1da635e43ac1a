//! The sections of a module, read and written: for backends that change a module before their engine sees it.
//!
//! Only for modules that passed the front check ([`CheckedModule`](crate::CheckedModule)): sizes are taken as they are.

use crate::module::ModuleInfo;

/// The bytes before the first section.
pub const HEADER: usize = 8;

/// The ids of sections.
pub mod id {
    /// Custom sections.
    pub const CUSTOM: u8 = 0;
    /// Types of functions.
    pub const TYPE: u8 = 1;
    /// The type of each function.
    pub const FUNCTION: u8 = 3;
    /// Tables.
    pub const TABLE: u8 = 4;
    /// Globals.
    pub const GLOBAL: u8 = 6;
    /// Exports.
    pub const EXPORT: u8 = 7;
    /// The start function.
    pub const START: u8 = 8;
    /// Bodies of functions.
    pub const CODE: u8 = 10;
}

/// The kinds of exports.
pub mod kind {
    /// A function.
    pub const FUNCTION: u8 = 0;
    /// A table.
    pub const TABLE: u8 = 1;
    /// A global.
    pub const GLOBAL: u8 = 3;
}

/// The order in which sections stand in a module, custom ones aside: tags come before globals, and the count of data
/// segments before the code.
pub const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

/// One section of a module.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Its kind ([`id`]).
    pub id: u8,
    /// What follows its size.
    pub payload: &'a [u8],
    /// Id and size included.
    pub whole: &'a [u8],
    /// Where `payload` begins in the module.
    pub offset: usize,
}

/// The sections of a module, in order.
///
/// # Panics
/// If the module did not pass the front check.
pub fn sections(bytes: &[u8]) -> impl Iterator<Item = Section<'_>> {
    let mut rest = &bytes[HEADER..];
    std::iter::from_fn(move || {
        let (id, after_id) = rest.split_first()?;
        let (size, after_size) = read_number(after_id);
        let (payload, next) = after_size.split_at(size);
        let whole = &rest[..rest.len() - next.len()];
        rest = next;
        Some(Section { id: *id, payload, whole, offset: bytes.len() - next.len() - payload.len() })
    })
}

/// Writes a section.
pub fn write_section(written: &mut Vec<u8>, id: u8, payload: &[u8]) {
    written.push(id);
    write_sized(written, payload);
}

/// Writes a section that has `added` after the `old` entries, which begin with their count. Answers where the entries
/// begin in `written`.
pub fn write_extended(written: &mut Vec<u8>, id: u8, old: &[u8], added: &[Vec<u8>]) -> usize {
    let (payload, entries) = extended(old, added);
    write_section(written, id, &payload);
    written.len() - payload.len() + entries
}

/// The payload of a section that has `added` after the `old` entries, which begin with their count; and where its
/// entries begin.
pub fn extended(old: &[u8], added: &[Vec<u8>]) -> (Vec<u8>, usize) {
    let (count, entries) = read_number(old);
    let mut payload = Vec::with_capacity(old.len() + 64);
    write_number(&mut payload, count + added.len());
    let begin = payload.len();
    payload.extend_from_slice(entries);
    payload.extend(added.iter().flatten());
    (payload, begin)
}

/// The entry of an export. `index` is a [`number`].
pub fn export(name: &str, kind: u8, index: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(name.len() + 8);
    write_sized(&mut entry, name.as_bytes());
    entry.push(kind);
    entry.extend_from_slice(index);
    entry
}

/// A name like this that the module does not export yet.
pub fn unused_export(info: &ModuleInfo, like: &str) -> String {
    let mut name = format!("chassis:{like}");
    while info.export(&name).is_some() {
        name.push('_');
    }
    name
}

/// Reads an unsigned number of at most 32 bits; answers what comes after it too.
pub fn read_number(bytes: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, &bytes[i + 1..]);
        }
    }
    (value, &[])
}

/// Writes an unsigned number.
pub fn write_number(written: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            written.push(low);
            return;
        }
        written.push(low | 0x80);
    }
}

/// An unsigned number by itself.
pub fn number(value: usize) -> Vec<u8> {
    let mut written = Vec::new();
    write_number(&mut written, value);
    written
}

/// Writes bytes with their count before them, as names and bodies have it.
pub fn write_sized(written: &mut Vec<u8>, bytes: &[u8]) {
    write_number(written, bytes.len());
    written.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckedModule, FrontLimits};

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 0xffff_ffff] {
            let mut written = number(value);
            written.push(9);
            assert_eq!(read_number(&written), (value, [9].as_slice()));
        }
        // Longer than need be, which is valid.
        assert_eq!(read_number(&[0x81, 0x80, 0x00, 9]), (1, [9].as_slice()));
    }

    #[test]
    fn sections_are_found_where_they_are() {
        let bytes =
            wat::parse_str("(module (func) (memory 1) (export \"m\" (memory 0)) (@custom \"c\" \"xyz\"))").unwrap();
        let mut at = HEADER;
        let mut ids = Vec::new();
        for section in sections(&bytes) {
            assert_eq!(&bytes[section.offset..section.offset + section.payload.len()], section.payload);
            assert_eq!(&bytes[at..at + section.whole.len()], section.whole);
            assert_eq!(at + section.whole.len(), section.offset + section.payload.len());
            at += section.whole.len();
            ids.push(section.id);
        }
        assert_eq!(at, bytes.len());
        ids.retain(|id| *id != id::CUSTOM);
        assert_eq!(ids, [id::TYPE, id::FUNCTION, 5, id::EXPORT, id::CODE]);
        assert!(ids.is_sorted_by_key(|id| ORDER.iter().position(|known| known == id)));
    }

    #[test]
    fn a_section_gets_more_entries() {
        let bytes = wat::parse_str("(module (func) (func) (export \"chassis:f\" (func 1)))").unwrap();
        let module = CheckedModule::new(bytes.clone(), &FrontLimits::default()).unwrap();
        let name = unused_export(module.info(), "f");
        assert_eq!(name, "chassis:f_");
        let mut written = bytes[..HEADER].to_vec();
        for section in sections(&bytes) {
            if section.id != id::EXPORT {
                written.extend_from_slice(section.whole);
                continue;
            }
            let begin =
                write_extended(&mut written, id::EXPORT, section.payload, &[export(&name, kind::FUNCTION, &number(0))]);
            assert_eq!(&written[begin..begin + 10], b"\x09chassis:f");
        }
        let module = CheckedModule::new(written, &FrontLimits::default()).unwrap();
        let names: Vec<&str> = module.info().exports.iter().map(|export| export.name.as_str()).collect();
        assert_eq!(names, ["chassis:f", "chassis:f_"]);
    }
}

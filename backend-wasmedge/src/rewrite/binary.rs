//! The binary format, as far as it is written here.

use std::collections::BTreeMap;

use chassis_engine_api::binary::{HEADER, ORDER, extended, id, sections, write_number, write_section, write_sized};
use wasmparser::ValType;

/// The sections of a module without the custom ones.
pub(super) struct Sections {
    header: [u8; HEADER],
    payloads: BTreeMap<u8, Vec<u8>>,
}

impl Sections {
    /// Reads a module that passed the front check, so that all sizes fit.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut header = [0; HEADER];
        header.copy_from_slice(&bytes[..HEADER]);
        let kept = sections(bytes).filter(|section| section.id != id::CUSTOM);
        let payloads = kept.map(|section| (section.id, section.payload.to_vec())).collect();
        Sections { header, payloads }
    }

    /// Takes a section out.
    pub(super) fn take(&mut self, id: u8) -> Option<Vec<u8>> {
        self.payloads.remove(&id)
    }

    /// Adds entries at the end of a section.
    pub(super) fn extend(&mut self, id: u8, added: &[Vec<u8>]) {
        if added.is_empty() {
            return;
        }
        let old = self.payloads.remove(&id).unwrap_or_else(|| vec![0]);
        self.payloads.insert(id, extended(&old, added).0);
    }

    /// Puts these entries, each with its size before it, in place of a section's.
    pub(super) fn replace(&mut self, id: u8, entries: &[Vec<u8>]) {
        let mut payload = Vec::new();
        write_number(&mut payload, entries.len());
        for entry in entries {
            write_sized(&mut payload, entry);
        }
        self.payloads.insert(id, payload);
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut written = self.header.to_vec();
        for id in ORDER {
            if let Some(payload) = self.payloads.get(&id) {
                write_section(&mut written, id, payload);
            }
        }
        written
    }
}

/// The type of a block without parameters and with several results.
pub(super) fn block_type(results: &[ValType]) -> Vec<u8> {
    let mut ty = vec![0x60, 0];
    write_number(&mut ty, results.len());
    ty.extend(results.iter().map(|ty| value_type(*ty)));
    ty
}

pub(super) fn value_type(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        ValType::V128 => 0x7b,
        ValType::Ref(ty) if ty.is_func_ref() => 0x70,
        ValType::Ref(_) => 0x6f,
    }
}

/// Writes an index, or another number of 32 bits.
pub(super) fn write_u32(written: &mut Vec<u8>, value: u32) {
    write_number(written, value as usize);
}

/// Writes `i32.const` of a number that is not negative.
pub(super) fn write_const(written: &mut Vec<u8>, mut value: u32) {
    written.push(0x41);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        // The last byte's second-highest bit is the sign.
        if value == 0 && low & 0x40 == 0 {
            written.push(low);
            return;
        }
        written.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_written_as_they_are_read() {
        for value in [0, 1, 63, 64, 127, 128, 300, 8191, 8192, 16_383, 16_384, 0x7fff_ffff] {
            let mut constant = Vec::new();
            write_const(&mut constant, value);
            let mut reader = wasmparser::BinaryReader::new(&constant[1..], 0);
            assert_eq!(reader.read_var_i32().unwrap(), value as i32);
            assert!(reader.eof());
        }
    }
}

//! The binary format, as far as it is written here.

use std::collections::BTreeMap;

use wasmparser::ValType;

/// Section ids.
pub(super) mod id {
    pub(crate) const TYPE: u8 = 1;
    pub(crate) const FUNCTION: u8 = 3;
    pub(crate) const GLOBAL: u8 = 6;
    pub(crate) const EXPORT: u8 = 7;
    pub(crate) const START: u8 = 8;
    pub(crate) const CODE: u8 = 10;
}

/// The order in which sections stand in a module: the count of the data segments comes before the code.
const ORDER: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

const HEADER: usize = 8;

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
        let mut payloads = BTreeMap::new();
        let mut rest = &bytes[HEADER..];
        while let Some((id, after_id)) = rest.split_first() {
            let (size, after_size) = read_u32(after_id);
            let (payload, next) = after_size.split_at(size as usize);
            if *id != 0 {
                payloads.insert(*id, payload.to_vec());
            }
            rest = next;
        }
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
        let (count, entries) = read_u32(&old);
        let mut payload = Vec::with_capacity(old.len() + 64);
        write_u32(&mut payload, count + added.len() as u32);
        payload.extend_from_slice(entries);
        payload.extend(added.iter().flatten());
        self.payloads.insert(id, payload);
    }

    /// Puts these entries, each with its size before it, in place of a section's.
    pub(super) fn replace(&mut self, id: u8, entries: &[Vec<u8>]) {
        let mut payload = Vec::new();
        write_u32(&mut payload, entries.len() as u32);
        for entry in entries {
            write_u32(&mut payload, entry.len() as u32);
            payload.extend_from_slice(entry);
        }
        self.payloads.insert(id, payload);
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut written = self.header.to_vec();
        for id in ORDER {
            let Some(payload) = self.payloads.get(&id) else { continue };
            written.push(id);
            write_u32(&mut written, payload.len() as u32);
            written.extend_from_slice(payload);
        }
        written
    }
}

/// The type of a block without parameters and with several results.
pub(super) fn block_type(results: &[ValType]) -> Vec<u8> {
    let mut ty = vec![0x60, 0];
    write_u32(&mut ty, results.len() as u32);
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

pub(super) fn read_u32(bytes: &[u8]) -> (u32, &[u8]) {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, &bytes[i + 1..]);
        }
    }
    (value, &[])
}

pub(super) fn write_u32(written: &mut Vec<u8>, mut value: u32) {
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

pub(super) fn write_name(written: &mut Vec<u8>, name: &str) {
    write_u32(written, name.len() as u32);
    written.extend_from_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 63, 64, 127, 128, 300, 8191, 8192, 16_383, 16_384, 0x7fff_ffff] {
            let mut written = Vec::new();
            write_u32(&mut written, value);
            written.push(9);
            assert_eq!(read_u32(&written), (value, [9].as_slice()));
            let mut constant = Vec::new();
            write_const(&mut constant, value);
            let mut reader = wasmparser::BinaryReader::new(&constant[1..], 0);
            assert_eq!(reader.read_var_i32().unwrap(), value as i32);
            assert!(reader.eof());
        }
    }
}

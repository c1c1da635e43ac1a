//! The sections of a module, read and written.

/// The bytes before the first section.
pub(super) const HEADER: usize = 8;

pub(super) struct Section<'a> {
    pub(super) id: u8,
    pub(super) payload: &'a [u8],
    pub(super) whole: &'a [u8],
    /// Where `payload` begins in the module.
    pub(super) offset: usize,
}

/// The sections of a module that passed the front check, so that all sizes fit.
pub(super) fn sections(bytes: &[u8]) -> impl Iterator<Item = Section<'_>> {
    let mut rest = &bytes[HEADER..];
    std::iter::from_fn(move || {
        let (id, after_id) = rest.split_first()?;
        let (size, after_size) = read_u32(after_id);
        let (payload, next) = after_size.split_at(size);
        let whole = &rest[..rest.len() - next.len()];
        rest = next;
        Some(Section { id: *id, payload, whole, offset: bytes.len() - next.len() - payload.len() })
    })
}

/// Writes a section that has `added` after the `old` entries (which begin with their count). Answers where the entries
/// begin.
pub(super) fn write_extended(written: &mut Vec<u8>, id: u8, old: &[u8], added: &[Vec<u8>]) -> usize {
    let (count, entries) = read_u32(old);
    let mut payload = Vec::with_capacity(old.len() + 64);
    write_u32(&mut payload, count + added.len());
    let begin = payload.len();
    payload.extend_from_slice(entries);
    payload.extend(added.iter().flatten());
    written.push(id);
    write_u32(written, payload.len());
    let begin = written.len() + begin;
    written.extend_from_slice(&payload);
    begin
}

/// A number and what comes after it.
pub(super) fn read_u32(bytes: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, &bytes[i + 1..]);
        }
    }
    (value, &[])
}

pub(super) fn write_u32(written: &mut Vec<u8>, mut value: usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 0xffff_ffff] {
            let mut written = Vec::new();
            write_u32(&mut written, value);
            written.push(9);
            assert_eq!(read_u32(&written), (value, [9].as_slice()));
        }
        // Longer than need be, which is valid.
        assert_eq!(read_u32(&[0x81, 0x80, 0x00, 9]), (1, [9].as_slice()));
    }
}

//! The serialised form of maps (ABI 0.2.1, "Serialization"): a count, the lengths, then names and values, each followed
//! by a NUL that its length does not count. All numbers are 32-bit little-endian.

use bytes::Bytes;
use thiserror::Error;

use crate::headers::HeaderList;

/// How many pairs a map from a guest may have.
pub const MAX_PAIRS: usize = 1024;
/// How many bytes the names and values of a map from a guest may have together, however it is set.
pub const MAX_MAP_BYTES: usize = 1 << 20;

/// How many bytes a serialised map can have within these limits.
const MAX_ENCODED: usize = COUNT_BYTES + MAX_PAIRS * PAIR_BYTES + MAX_MAP_BYTES;
/// The count.
const COUNT_BYTES: usize = 4;
/// What a pair needs beside name and value: two lengths and two NULs.
const PAIR_BYTES: usize = 10;

/// Why a serialised map was refused; the guest's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PairsError {
    /// It ends too early, or lengths and count do not fit its size.
    #[error("the map is cut or its lengths are wrong")]
    Length,
    /// A name or value is not followed by a NUL.
    #[error("a name or value in the map is not terminated by NUL")]
    Terminator,
    /// Bytes follow the last pair.
    #[error("bytes follow the last pair of the map")]
    Trailing,
    /// It is beyond [`MAX_PAIRS`], or its names and values are beyond [`MAX_MAP_BYTES`].
    #[error("the map has more than {MAX_PAIRS} pairs or {MAX_MAP_BYTES} bytes of names and values")]
    TooLarge,
}

/// The size of `list` in serialised form; 0 when it is empty.
pub(crate) fn encoded_len(list: &HeaderList) -> usize {
    if list.is_empty() {
        return 0;
    }
    COUNT_BYTES + PAIR_BYTES * list.len() + list.byte_size()
}

/// Serialises `list`; an empty list is no bytes at all.
pub(crate) fn encode(list: &HeaderList) -> Vec<u8> {
    let mut out = vec![0; encoded_len(list)];
    encode_into(list, &mut out);
    out
}

/// As [`encode`], to `out`.
///
/// # Panics
/// If `out` is shorter than [`encoded_len`].
pub(crate) fn encode_into(list: &HeaderList, out: &mut [u8]) {
    if list.is_empty() {
        return;
    }
    let (count, rest) = out.split_at_mut(4);
    count.copy_from_slice(&number(list.len()));
    let (lengths, mut rest) = rest.split_at_mut(8 * list.len());
    for ((name, value), pair) in list.iter().zip(lengths.chunks_exact_mut(8)) {
        pair[..4].copy_from_slice(&number(name.len()));
        pair[4..].copy_from_slice(&number(value.len()));
        for field in [name, value] {
            let (place, after) = rest.split_at_mut(field.len() + 1);
            place[..field.len()].copy_from_slice(field);
            place[field.len()] = 0;
            rest = after;
        }
    }
}

/// Reads a serialised map. No bytes, and a single NUL, are an empty map.
pub(crate) fn decode(bytes: &[u8]) -> Result<HeaderList, PairsError> {
    if bytes.is_empty() || bytes == [0] {
        return Ok(HeaderList::default());
    }
    if bytes.len() > MAX_ENCODED {
        return Err(PairsError::TooLarge);
    }
    let count = read_u32(bytes, 0).ok_or(PairsError::Length)?;
    if count > MAX_PAIRS || bytes.len() > COUNT_BYTES + PAIR_BYTES * count + MAX_MAP_BYTES {
        return Err(PairsError::TooLarge);
    }
    let mut at = 4 + 8 * count;
    let mut list = HeaderList::with_capacity(count);
    for i in 0..count {
        let name = read_u32(bytes, 4 + 8 * i).ok_or(PairsError::Length)?;
        let value = read_u32(bytes, 8 + 8 * i).ok_or(PairsError::Length)?;
        let name = terminated(bytes, &mut at, name)?;
        let value = terminated(bytes, &mut at, value)?;
        list.push_unchecked(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
    }
    if at == bytes.len() { Ok(list) } else { Err(PairsError::Trailing) }
}

fn terminated<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8], PairsError> {
    let end = at.checked_add(len).ok_or(PairsError::Length)?;
    let field = bytes.get(*at..end).ok_or(PairsError::Length)?;
    match bytes.get(end) {
        Some(0) => {
            *at = end + 1;
            Ok(field)
        }
        Some(_) => Err(PairsError::Terminator),
        None => Err(PairsError::Length),
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize)
}

fn number(number: usize) -> [u8; 4] {
    // The host's own maps are bounded far below 4 GiB.
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(pairs: &[(&[u8], &[u8])]) -> HeaderList {
        let mut list = HeaderList::default();
        for (name, value) in pairs {
            list.push_unchecked(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        }
        list
    }

    #[test]
    fn the_form_is_the_one_of_the_specification() {
        let bytes = encode(&list(&[(b"a", b"1"), (b"b", b"")]));
        assert_eq!(bytes, b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0a\x001\0b\0\0");
        assert_eq!(encode(&HeaderList::default()), b"");
        assert_eq!(decode(b"\0").unwrap(), HeaderList::default());
        assert_eq!(decode(b"\0\0\0\0").unwrap(), HeaderList::default());
    }

    #[test]
    fn what_lies_about_its_size_is_refused() {
        let good = encode(&list(&[(b"name", b"value"), (b"n", b"v")]));
        for end in 2..good.len() {
            assert!(decode(&good[..end]).is_err(), "cut at {end}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(decode(&longer), Err(PairsError::Trailing));
        let mut unterminated = good.clone();
        *unterminated.last_mut().unwrap() = b'x';
        assert_eq!(decode(&unterminated), Err(PairsError::Terminator));
        assert_eq!(decode(&[0xff; 64]), Err(PairsError::TooLarge));
        let mut wrapping = b"\x02\0\0\0".to_vec();
        wrapping.extend([0xff; 16]);
        assert_eq!(decode(&wrapping), Err(PairsError::Length));
    }

    #[test]
    fn the_limits_hold_at_their_edges() {
        let many = |n: usize| encode(&list(&vec![(b"n".as_slice(), b"v".as_slice()); n]));
        assert_eq!(decode(&many(MAX_PAIRS)).unwrap().len(), MAX_PAIRS);
        assert_eq!(decode(&many(MAX_PAIRS + 1)), Err(PairsError::TooLarge));
        let sized = |n: usize| encode(&list(&[(b"n", vec![b'v'; n - 1].as_slice())]));
        assert_eq!(decode(&sized(MAX_MAP_BYTES)).unwrap().byte_size(), MAX_MAP_BYTES);
        assert_eq!(decode(&sized(MAX_MAP_BYTES + 1)), Err(PairsError::TooLarge));
        assert_eq!(decode(&vec![0; MAX_ENCODED + 1]), Err(PairsError::TooLarge));
    }

    /// What adding and replacing make of a list, at their limits, can be read and set again as a whole.
    #[test]
    fn the_limits_are_those_of_single_entries() {
        let mut one = HeaderList::default();
        one.add(b"n", &vec![b'v'; MAX_MAP_BYTES - 1]).unwrap();
        let mut many = HeaderList::default();
        while many.len() < MAX_PAIRS {
            many.add(b"nnnn", &[b'v'; MAX_MAP_BYTES / MAX_PAIRS - 4]).unwrap();
        }
        assert_eq!(encode(&many).len(), MAX_ENCODED);
        for mut list in [one, many] {
            assert_eq!(list.byte_size(), MAX_MAP_BYTES);
            assert!(list.add(b"m", b"").is_err());
            let read = decode(&encode(&list)).unwrap();
            assert_eq!(read, list);
            list.replace_all(&read).unwrap();
            assert_eq!(list, read);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..40)) {
            let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
            let list = list(&pairs);
            let bytes = encode(&list);
            prop_assert_eq!(bytes.len(), encoded_len(&list));
            prop_assert_eq!(decode(&bytes).unwrap(), list);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let list = decode(&bytes).unwrap_or_default();
            if !list.is_empty() {
                prop_assert_eq!(encode(&list), bytes);
            }
        }
    }
}

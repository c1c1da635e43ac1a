//! The name in a serialized `envoy.config.core.v3.GrpcService`, which guests written for Envoy give in place of the
//! name of an upstream.
//!
//! Of the message only the target is read: `envoy_grpc` (1) with its `cluster_name` (1), or `google_grpc` (2) with its
//! `target_uri` (1). Everything else is passed over, so nothing is allocated.

/// The name of the target; `None` if these bytes are no such message, or have no target.
pub(crate) fn target(message: &[u8]) -> Option<&str> {
    let mut target: Option<(u32, &[u8])> = None;
    for field in Fields(message) {
        let Field { number, bytes } = field?;
        let (1 | 2, Some(service)) = (number, bytes) else { continue };
        // Of the members of a oneof the last one counts; the parts of one message are merged.
        let before = target.filter(|(member, _)| *member == number).map(|(_, name)| name);
        let name = first_field(service)?.or(before).unwrap_or_default();
        target = Some((number, name));
    }
    let (_, name) = target.filter(|(_, name)| !name.is_empty())?;
    std::str::from_utf8(name).ok()
}

/// The last value of the field 1, which is a string in both.
fn first_field(message: &[u8]) -> Option<Option<&[u8]>> {
    let mut value = None;
    for field in Fields(message) {
        let Field { number, bytes } = field?;
        value = bytes.filter(|_| number == 1).or(value);
    }
    Some(value)
}

struct Field<'a> {
    number: u32,
    /// Of a string or a message; other types have none that are of interest.
    bytes: Option<&'a [u8]>,
}

/// The fields of a message; `None` in the place of the first that is none, which is the last.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        let mut bytes = None;
        match tag & 7 {
            VARINT => drop(self.varint()?),
            FIXED_64 => drop(self.take(8)?),
            LENGTH => {
                let length = usize::try_from(self.varint()?).ok()?;
                bytes = Some(self.take(length)?);
            }
            FIXED_32 => drop(self.take(4)?),
            // Groups, which this message has never had, and types that there are not.
            _ => return None,
        }
        Some(Field { number, bytes })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for i in 0..MAX_VARINT {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(7 * i)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED_32: u32 = 5;

/// Bytes of the longest number.
const MAX_VARINT: u32 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
        [varint(u64::from(number << 3 | LENGTH)), varint(bytes.len() as u64), bytes.to_vec()].concat()
    }

    #[test]
    fn the_target_is_found() {
        assert_eq!(target(b"\x0a\x06\x0a\x04side"), Some("side"));
        assert_eq!(target(b"\x12\x06\x0a\x04side"), Some("side"));
        // An authority, a timeout of 5 s, and metadata.
        let full = [
            field(1, &[field(1, b"side"), field(2, b"authority")].concat()),
            field(3, b"\x08\x05"),
            field(5, &[field(1, b"name"), field(2, b"value")].concat()),
        ];
        assert_eq!(target(&full.concat()), Some("side"));
    }

    #[test]
    fn the_last_member_of_the_oneof_counts_and_parts_are_merged() {
        let envoy = |name: &[u8]| field(1, &field(1, name));
        let google = |name: &[u8]| field(2, &field(1, name));
        assert_eq!(target(&[envoy(b"a"), google(b"b")].concat()), Some("b"));
        assert_eq!(target(&[envoy(b"a"), google(b"b"), envoy(b"c")].concat()), Some("c"));
        assert_eq!(target(&[envoy(b"a"), envoy(b"b")].concat()), Some("b"));
        assert_eq!(target(&[envoy(b"a"), field(1, &field(2, b"authority"))].concat()), Some("a"));
        assert_eq!(target(&[envoy(b"a"), field(2, b"")].concat()), None);
    }

    #[test]
    fn what_is_no_such_message_has_no_target() {
        let cases: [&[u8]; 12] = [
            b"",
            b"\x0a",
            b"\x0a\x06\x0a\x04sid",
            b"\x0a\x07\x0a\x04side",
            b"\x0a\x06\x0a\x05side",
            b"\x0a\x02\x0a\x00",
            b"\x0a\x06\x0a\x04\xff\xff\xff\xff",
            b"\x0b\x0c",
            b"\x02\x00",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x08\x01",
        ];
        for message in cases {
            assert_eq!(target(message), None, "{message:?}");
        }
        // Numbers, and fixed ones, before the target.
        assert_eq!(target(b"\x40\x01\x4912345678\x4d1234\x0a\x06\x0a\x04side"), Some("side"));
    }

    proptest! {
        #[test]
        fn any_name_is_found_among_any_fields(
            name in "[a-z.:0-9]{1,40}",
            google: bool,
            others in prop::collection::vec((3..1_000_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            before in 0..8_usize,
        ) {
            let mut parts: Vec<_> = others.iter().map(|(number, bytes)| field(*number, bytes)).collect();
            parts.insert(before.min(parts.len()), field(if google { 2 } else { 1 }, &field(1, name.as_bytes())));
            let message = parts.concat();
            prop_assert_eq!(target(&message), Some(name.as_str()));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = target(&bytes);
        }

        #[test]
        fn what_is_cut_off_has_no_target(name in "[a-z]{1,300}", google: bool, cut in 0..300_usize) {
            let whole = field(if google { 2 } else { 1 }, &field(1, name.as_bytes()));
            let cut = cut % whole.len();
            prop_assert_eq!(target(&whole[..cut]), None);
        }
    }
}

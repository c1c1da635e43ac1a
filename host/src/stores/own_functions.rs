//! The foreign functions of the host's own.

use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{ForeignCall, ForeignError};
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use super::foreign::ForeignFunctions;
use super::shared_data::SharedData;

/// The most bytes that `uncompress` answers.
const MOST: usize = 16 << 20;
/// The most bytes that `compress` takes: a worker stands still meanwhile, and it takes much longer than the way back.
const MOST_TO_COMPRESS: usize = 4 << 20;
/// The most bytes that `shared_data_keys` answers.
const MOST_KEYS: usize = 1 << 20;
/// What zlib has by default: neither fast nor small above all.
const LEVEL: u8 = 6;

pub(super) fn register(functions: &ForeignFunctions, data: &Arc<SharedData>) {
    functions.register(b"compress", Arc::new(compress));
    functions.register(b"uncompress", Arc::new(uncompress));
    functions.register(b"clear_route_cache", Arc::new(clear_route_cache));
    functions.register(b"get_log_level", Arc::new(get_log_level));
    functions.register(b"set_envoy_filter_state", Arc::new(set_envoy_filter_state));
    let (of_delete, of_keys) = (Arc::clone(data), Arc::clone(data));
    let delete = move |call: &mut ForeignCall<'_>| match of_delete.delete(&call.plugin.vm_id, call.arguments) {
        true => Ok(Bytes::new()),
        false => Err(ForeignError::NotFound),
    };
    functions.register(b"shared_data_delete", Arc::new(delete));
    let keys = move |call: &mut ForeignCall<'_>| {
        let keys = of_keys.keys(&call.plugin.vm_id, call.arguments, MOST_KEYS).ok_or(ForeignError::InternalFailure)?;
        Ok(with_lengths(&keys))
    };
    functions.register(b"shared_data_keys", Arc::new(keys));
}

/// The arguments in the zlib format.
fn compress(call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    if call.arguments.len() > MOST_TO_COMPRESS {
        return Err(ForeignError::InternalFailure);
    }
    Ok(compress_to_vec_zlib(call.arguments, LEVEL).into())
}

/// What the arguments are in the zlib format.
fn uncompress(call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    decompress_to_vec_zlib_with_limit(call.arguments, MOST).map(Bytes::from).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => ForeignError::InternalFailure,
        _ => ForeignError::SerializationFailure,
    })
}

/// As `proxy_clear_route_cache` of ABI 0.1.0, which has no other name later.
fn clear_route_cache(_: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    Ok(Bytes::new())
}

/// The level as 32 bits, little-endian: how plugins for Higress ask whatever ABI version they have.
fn get_log_level(call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    Ok(Bytes::copy_from_slice(&(call.log_level as u32).to_le_bytes()))
}

/// Sets property `filter_state.<path>` of the stream to the value of Envoy's message `SetEnvoyFilterStateArguments`.
/// Whatever its life span, it ends with the stream.
fn set_envoy_filter_state(call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
    let (path, value) = filter_state(call.arguments).ok_or(ForeignError::BadArgument)?;
    let exchange = call.exchange.as_deref_mut().ok_or(ForeignError::NotFound)?;
    let path = [b"filter_state\0", path].concat();
    match exchange.properties.insert(&path, Bytes::copy_from_slice(value)) {
        true => Ok(Bytes::new()),
        false => Err(ForeignError::InternalFailure),
    }
}

/// Field 1, the path, and field 2, the value; field 3 is the life span. Both are UTF-8 texts, and empty unless given.
fn filter_state(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut path, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut rest = Message(message);
    while !rest.0.is_empty() {
        let key = rest.varint()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| (1..1 << 29).contains(field))?;
        match (field, key & 7) {
            (1, 2) => path = rest.text()?,
            (2, 2) => value = rest.text()?,
            // Protocol buffers pass over fields that they do not know.
            (_, 0) => drop(rest.varint()?),
            (_, 1) => drop(rest.take(8)?),
            (_, 2) => drop(rest.bytes()?),
            (_, 5) => drop(rest.take(4)?),
            _ => return None,
        }
    }
    Some((path, value))
}

/// What is left of a protocol buffers message.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        self.bytes().filter(|bytes| std::str::from_utf8(bytes).is_ok())
    }
}

/// Each key behind its length, 32 bits little-endian.
fn with_lengths(keys: &[Box<[u8]>]) -> Bytes {
    let mut out = Vec::new();
    for key in keys {
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use chassis_abi::{Identity, LogLevel};

    use super::super::Stores;
    use super::*;

    fn call(stores: &Stores, name: &str, arguments: &[u8]) -> Result<Bytes, ForeignError> {
        stores.functions.call(&mut ForeignCall::new(name.as_bytes(), arguments, &Identity::default(), LogLevel::Info))
    }

    #[test]
    fn what_is_uncompressed_is_bounded() {
        let stores = Stores::new();
        let most = vec![0; MOST_TO_COMPRESS];
        let small = call(&stores, "compress", &most).unwrap();
        assert!(small.len() < 100_000);
        assert_eq!(call(&stores, "uncompress", &small), Ok(Bytes::from(most)));
        assert_eq!(call(&stores, "compress", &vec![0; MOST_TO_COMPRESS + 1]), Err(ForeignError::InternalFailure));
        let bomb = |bytes| compress_to_vec_zlib(&vec![0; bytes], LEVEL);
        assert_eq!(call(&stores, "uncompress", &bomb(MOST)).map(|bytes| bytes.len()), Ok(MOST));
        assert_eq!(call(&stores, "uncompress", &bomb(MOST + 1)), Err(ForeignError::InternalFailure));
    }

    #[test]
    fn fields_of_a_message_are_read_and_unknown_ones_passed_over() {
        let message = b"\x0a\x01p\x12\x02vv\x18\x01";
        assert_eq!(filter_state(message), Some((&b"p"[..], &b"vv"[..])));
        assert_eq!(filter_state(b""), Some((&b""[..], &b""[..])));
        let unknown =
            b"\x22\x01x\x29\0\0\0\0\0\0\0\0\x35\0\0\0\0\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x01p\x0a\x01q";
        assert_eq!(filter_state(unknown), Some((&b"q"[..], &b""[..])), "the last one counts");
        for cut in 1..message.len() {
            let whole = [3, 7, 9].contains(&cut);
            assert_eq!(filter_state(&message[..cut]).is_some(), whole, "{cut}");
        }
        for wrong in
            [&b"\x0a\x05abc"[..], b"\x0a\x01\xff", b"\0\0", b"\x0b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(filter_state(wrong), None, "{wrong:?}");
        }
    }
}

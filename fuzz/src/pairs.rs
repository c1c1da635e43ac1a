//! Serialised maps: what is accepted is written as it was read, and can be held.

use chassis_abi::{HeaderList, MAX_MAP_BYTES, MAX_PAIRS};

/// Reads `data` as a map; writes and reads again what it is.
pub fn run(data: &[u8]) {
    let Ok(list) = HeaderList::decode(data) else { return };
    assert!(list.len() <= MAX_PAIRS && list.byte_size() <= MAX_MAP_BYTES);
    let encoded = list.encode();
    assert_eq!(encoded.len(), list.encoded_len());
    // An empty map has three forms; what is written is no bytes.
    assert!(encoded == data || (list.is_empty() && encoded.is_empty()), "{data:x?} became {encoded:x?}");
    let again = HeaderList::decode(&encoded).expect("what was written can be read");
    assert!(again.iter().eq(list.iter()));

    // As headers of a request, where each entry is judged: all or nothing.
    let mut headers: HeaderList = [(":method", "GET"), (":path", "/"), ("x-a", "1")].into_iter().collect();
    let before: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if headers.replace_all(&list).is_err() {
        assert!(headers.iter().eq(before.iter().map(|(name, value)| (name, value))));
    }
    for (name, value) in headers.iter() {
        assert!(!name.is_empty() && !value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
}

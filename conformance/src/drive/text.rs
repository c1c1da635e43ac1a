//! Bytes and maps as text on one line.

use chassis_abi::HeaderList;

/// Names and values as `name: value, ...`.
pub(super) fn fields(list: &HeaderList) -> String {
    let pairs = list.iter().map(|(name, value)| format!("{}: {}", bytes(name), bytes(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Text with its control characters escaped; escaped bytes if it is no text.
pub(super) fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

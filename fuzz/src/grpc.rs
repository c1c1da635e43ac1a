//! What comes with gRPC: messages in frames, and the message `GrpcService` in place of the name of an upstream.
//!
//! Neither is public in its crate, so both files are compiled here again.

use crate::input::Input;

#[allow(dead_code, unreachable_pub)]
#[path = "../../gateway/src/callouts/grpc/frame.rs"]
mod frame;
#[allow(dead_code, unreachable_pub)]
#[path = "../../abi/src/grpc_service.rs"]
mod grpc_service;

/// Takes `data` apart in both ways. The first byte is the size of the pieces in which frames come.
pub fn run(data: &[u8]) {
    if let Some(name) = grpc_service::target(data) {
        assert!(!name.is_empty() && data.windows(name.len()).any(|part| part == name.as_bytes()));
    }
    let mut input = Input::new(data);
    let piece = usize::from(input.byte()).max(1);
    let bytes = input.rest();
    let whole = messages(bytes, bytes.len().max(1));
    assert_eq!(whole, messages(bytes, piece), "in pieces of {piece}");
}

const LIMIT: usize = 64;

/// The messages, whether they end in a frame that is none, and how many bytes are left.
fn messages(bytes: &[u8], piece: usize) -> (Vec<bytes::Bytes>, bool, usize) {
    let mut decoder = frame::Decoder::new(LIMIT);
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    assert!(message.len() <= LIMIT);
                    messages.push(message);
                }
                Ok(None) => break,
                Err(_) => return (messages, true, 0),
            }
        }
    }
    (messages, false, decoder.held())
}

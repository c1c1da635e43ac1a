//! Requests of HTTP/1.1 as they come from clients: heads, bodies and chunks, however they are cut.

use chassis_gateway::head::{HeadLimits, Judge, Verdict};

use crate::input::Input;

/// Judges the requests in `data` at once and in pieces. The first byte is the size of the pieces.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.byte()).max(1);
    let bytes = input.rest();
    let whole = judge(bytes, bytes.len());
    assert_eq!(whole, judge(bytes, piece), "in pieces of {piece}");
}

/// How many bytes are passed, and whether what follows is refused.
fn judge(bytes: &[u8], piece: usize) -> (usize, bool) {
    let mut limits = HeadLimits::default();
    (limits.bytes, limits.uri, limits.lines) = (2048, 256, 20);
    let mut judge = Judge::new(limits);
    let (mut passed, mut here) = (0, 0);
    loop {
        if passed == here {
            if here == bytes.len() {
                return (passed, false);
            }
            here = (here + piece).min(bytes.len());
        }
        match judge.judge(&bytes[passed..here]) {
            Verdict::Pass(count) => {
                assert!(count > 0 && passed + count <= here, "{count} of {}", here - passed);
                passed += count;
            }
            Verdict::Hold if here == bytes.len() => return (passed, false),
            Verdict::Hold => {
                assert!(here - passed <= limits.bytes + piece, "{} bytes are held", here - passed);
                here = (here + piece).min(bytes.len());
            }
            Verdict::RefuseHead(refusal) | Verdict::RefuseBody(refusal) => {
                assert!(refusal.status().is_client_error() || refusal.status().is_server_error());
                return (passed, true);
            }
        }
    }
}

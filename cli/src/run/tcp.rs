//! What happens to a TCP stream, from options.

use std::ffi::OsStr;

use bytes::Bytes;
use chassis_abi::{Direction, PeerType};
use chassis_conformance::drive::TcpEvent;
use chassis_conformance::unescape;

/// Reads an event in the words of conformance cases: `downstream: data`, `upstream_close: remote`, `tick`.
pub(crate) fn event(text: &OsStr) -> Result<TcpEvent, String> {
    let text = text.to_str().ok_or("must be UTF-8; other bytes are written `\\xNN`")?;
    if text == "tick" {
        return Ok(TcpEvent::Tick);
    }
    let (name, value) = text.split_once(':').ok_or_else(known)?;
    let value = value.strip_prefix(' ').unwrap_or(value);
    let (from, what) = name.split_once('_').unwrap_or((name, ""));
    let direction = match from {
        "downstream" => Direction::Request,
        "upstream" => Direction::Response,
        _ => return Err(known()),
    };
    match what {
        "" | "end" => Ok(TcpEvent::Data { direction, data: Bytes::from(unescape(value)?), end: what == "end" }),
        "close" => Ok(TcpEvent::Closed { from: direction, peer: peer(value)? }),
        _ => Err(known()),
    }
}

fn peer(name: &str) -> Result<PeerType, String> {
    let known = [PeerType::Unknown, PeerType::Local, PeerType::Remote];
    let peer = known.into_iter().find(|peer| peer.as_str() == name);
    peer.ok_or_else(|| "a connection is closed by unknown, local or remote".to_owned())
}

fn known() -> String {
    "must be `downstream: DATA`, `downstream_end: DATA`, `downstream_close: PEER`, the same with `upstream`, or `tick`"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_in_cases() {
        let data = |direction, data: &'static [u8], end| TcpEvent::Data { direction, data: data.into(), end };
        let read = |text: &str| event(text.as_ref());
        assert_eq!(read("downstream: hello\\n"), Ok(data(Direction::Request, b"hello\n", false)));
        assert_eq!(read("upstream_end:  a: b "), Ok(data(Direction::Response, b" a: b ", true)));
        assert_eq!(read("downstream_end:"), Ok(data(Direction::Request, b"", true)));
        let closed = TcpEvent::Closed { from: Direction::Response, peer: PeerType::Remote };
        assert_eq!(read("upstream_close: remote"), Ok(closed));
        assert_eq!(read("tick"), Ok(TcpEvent::Tick));
        for wrong in ["", "tock", "downstream", "sidestream: a", "upstream_start: a", "downstream_close: me"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("upstream: \\q").is_err());
    }
}

//! A client that sends frames of HTTP/2 as a test has them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const GOAWAY: u8 = 7;

pub(crate) struct Frames {
    stream: TcpStream,
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Frames {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Frames { stream }
    }

    /// A connection on which preface and settings were sent.
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let mut frames = Self::connect(address);
        frames.send(PREFACE);
        frames.send(&frame(4, 0, 0, &[]));
        frames
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The other side may be gone, which is then what is tested.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a GET of a path of at most 126 bytes.
    pub(crate) fn request(&mut self, stream: u32, path: &str) {
        let block = [&b"\x82\x86\x04"[..], &[path.len() as u8], path.as_bytes(), b"\x41\x04test"].concat();
        self.send(&frame(1, 5, stream, &block));
    }

    /// Sends what `next` gives so often, or until the other side takes no more.
    pub(crate) fn flood(&mut self, count: u32, next: impl Fn(u32) -> Vec<u8>) {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        for first in (0..count).step_by(500) {
            let bytes: Vec<u8> = (first..first + 500).flat_map(&next).collect();
            if self.stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    /// The payload of the next frame that is looked for.
    pub(crate) fn wait_for(&mut self, is_it: impl Fn(u8, u32, &[u8]) -> bool) -> Vec<u8> {
        loop {
            let (kind, stream, payload) = self.next().expect("the connection was closed instead of a frame");
            if is_it(kind, stream, &payload) {
                return payload;
            }
        }
    }

    /// The code of the last GOAWAY before the connection ends; `None` if there is none.
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some((kind, _, payload)) = self.next() {
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.read(&mut payload)?;
        Some((head[3], u32::from_be_bytes(head[5..].try_into().unwrap()), payload))
    }

    fn read(&mut self, space: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(space) {
            Ok(()) => Some(()),
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it stays open");
                None
            }
        }
    }
}

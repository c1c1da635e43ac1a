//! Following the bytes that a client sends, without I/O.

use super::Refusal;
use super::chunked::Chunks;
use super::fields::Fields;

/// How large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Bytes of the whole head: 64 KiB by default. More is 431.
    pub bytes: usize,
    /// Bytes of the URI: 8 KiB by default. More is 414.
    pub uri: usize,
    /// Header lines: 100 by default. More is 431.
    pub lines: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { bytes: 64 << 10, uri: 8 << 10, lines: 100 }
    }
}

/// What is to be done with bytes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are the begin of a head: hold them until there is more.
    Hold,
    /// So many of them, at least one, may be handed on: a whole head, or a part of a body.
    Pass(usize),
    /// They begin a head that is refused.
    RefuseHead(Refusal),
    /// The body ends here, in a way it may not.
    RefuseBody(Refusal),
}

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct Judge {
    limits: HeadLimits,
    at: At,
}

#[derive(Debug)]
enum At {
    /// In a head.
    Head(Head),
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In a chunked body.
    Chunks(Chunks),
}

/// A head that is being read. Positions count from its begin.
#[derive(Debug, Default)]
struct Head {
    /// Where the line begins that is not complete.
    line: usize,
    /// What was searched for a line end.
    searched: usize,
    /// Complete lines, the request line included.
    lines: usize,
    fields: Fields,
}

impl Default for At {
    fn default() -> Self {
        At::Head(Head::default())
    }
}

impl Judge {
    /// A judge at the begin of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Judge { limits, at: At::default() }
    }

    /// Whether the next byte belongs to a head.
    pub fn in_head(&self) -> bool {
        matches!(self.at, At::Head(_))
    }

    /// Judges `bytes`: all that came after those that were passed, so that bytes to be held are given again with those
    /// that follow them. `bytes` may not be empty.
    pub fn judge(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.at {
            At::Head(head) => match head.read(bytes, &self.limits) {
                Ok(None) => Verdict::Hold,
                Ok(Some(end)) => {
                    self.at = head.body();
                    Verdict::Pass(end)
                }
                Err(refusal) => Verdict::RefuseHead(refusal),
            },
            At::Body(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                if *left == 0 {
                    self.at = At::default();
                }
                Verdict::Pass(here as usize)
            }
            At::Chunks(chunks) => match chunks.follow(bytes) {
                (0, Err(refusal)) => Verdict::RefuseBody(refusal),
                (here, ended) => {
                    if ended == Ok(true) {
                        self.at = At::default();
                    }
                    Verdict::Pass(here)
                }
            },
        }
    }
}

/// More than any method, the version and what is between them take of a request line.
const NEAR_URI: usize = 64;

impl Head {
    /// Reads on; answers where the head ends.
    fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
        if !matches!(bytes.first(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'\r' | b'\n')) {
            return Err(Refusal::NotHttp);
        }
        while let Some(end) = bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + end;
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(Refusal::BareLineFeed)?;
            self.line = end + 1;
            self.searched = end + 1;
            if end >= limits.bytes {
                return Err(Refusal::HeadTooLarge);
            }
            match (self.lines, line) {
                // An empty line before the request line is skipped (RFC 9112, section 2.2).
                (0, []) => continue,
                // As long as one that is refused before it has ended.
                (0, _) if line.len() + 1 > limits.uri + NEAR_URI => return Err(Refusal::UriTooLong),
                (0, _) => self.fields.request_line(line, limits.uri)?,
                (_, []) => {
                    self.fields.end()?;
                    return Ok(Some(end + 1));
                }
                _ => self.fields.header_line(line)?,
            }
            self.lines += 1;
            if self.lines > limits.lines + 1 {
                return Err(Refusal::HeadTooLarge);
            }
        }
        self.searched = bytes.len();
        if self.lines == 0 && bytes.len() - self.line > limits.uri + NEAR_URI {
            return Err(Refusal::UriTooLong);
        }
        if bytes.len() >= limits.bytes {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(None)
    }

    /// What comes after this head.
    fn body(&self) -> At {
        match self.fields.length {
            _ if self.fields.chunked => At::Chunks(Chunks::new()),
            None | Some(0) => At::default(),
            Some(length) => At::Body(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of `bytes` is passed when they come in pieces of `step`, and what was refused.
    fn follow(bytes: &[u8], step: usize) -> (usize, Option<Verdict>) {
        let mut judge = Judge::default();
        let (mut passed, mut came) = (0, 0);
        while came < bytes.len() {
            came = (came + step).min(bytes.len());
            while passed < came {
                match judge.judge(&bytes[passed..came]) {
                    Verdict::Hold => break,
                    Verdict::Pass(count) => passed += count,
                    refused => return (passed, Some(refused)),
                }
            }
        }
        (passed, None)
    }

    fn all_pieces(bytes: &[u8]) -> (usize, Option<Verdict>) {
        let whole = follow(bytes, bytes.len());
        for step in [1, 2, 3, 7] {
            assert_eq!(follow(bytes, step), whole, "in pieces of {step}: {:?}", String::from_utf8_lossy(bytes));
        }
        whole
    }

    #[test]
    fn good_requests_pass_to_the_last_byte() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nhost:\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHOST: [::1]:80\r\nContent-Length: 5 \r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tChunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n00a \t;x=\"y\"\r\n0123456789\r\n0;z\r\nA: b\r\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Lengthy: x\r\nHosts: b\r\nTransfer-Encodings: x\r\n\r\n",
        ] {
            assert_eq!(all_pieces(request.as_bytes()), (request.len(), None), "{request:?}");
            let twice = request.repeat(2);
            assert_eq!(all_pieces(twice.as_bytes()), (twice.len(), None), "{request:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        for (lines, refusal) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Refusal::LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Refusal::RepeatedLength),
            ("Content-Length: 5\r\ncontent-length: 5\r\n", Refusal::RepeatedLength),
            ("Content-Length: 5, 5\r\n", Refusal::ContentLength),
            ("Content-Length: +5\r\n", Refusal::ContentLength),
            ("Content-Length: -5\r\n", Refusal::ContentLength),
            ("Content-Length: 5 5\r\n", Refusal::ContentLength),
            ("Content-Length: 0x5\r\n", Refusal::ContentLength),
            ("Content-Length: \r\n", Refusal::ContentLength),
            ("Content-Length: 9999999999999999999\r\n", Refusal::ContentLength),
            ("Content-Length: 18446744073709551617\r\n", Refusal::ContentLength),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", Refusal::UnknownCoding),
            ("Transfer-Encoding: chunked, identity\r\n", Refusal::UnknownCoding),
            ("Transfer-Encoding: identity\r\n", Refusal::UnknownCoding),
            ("Transfer-Encoding: x\x0bchunked\r\n", Refusal::UnknownCoding),
            ("Transfer-Encoding:\r\n", Refusal::TransferEncoding),
            ("A: b\r\n c\r\n", Refusal::Folding),
            ("A: b\r\n\tContent-Length: 5\r\n", Refusal::Folding),
            ("A: b\nContent-Length: 5\r\n", Refusal::BareLineFeed),
            ("A: b\r\n\nGET /x HTTP/1.1\r\n", Refusal::BareLineFeed),
            ("Host: a\r\n", Refusal::Host),
            ("Host: b\r\n", Refusal::Host),
        ] {
            assert_eq!(all_pieces(head(lines).as_bytes()), (0, Some(Verdict::RefuseHead(refusal))), "{lines:?}");
        }
        for (head, refusal) in [
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\nHost: a\n\n", Refusal::BareLineFeed),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareLineFeed),
            ("GET /\r\n\r\n", Refusal::RequestLine),
            ("GET / HTTP/1.1 \r\n\r\n", Refusal::RequestLine),
            ("GET / http/1.1\r\n\r\n", Refusal::RequestLine),
            ("HTTP/1.1\r\n\r\n", Refusal::RequestLine),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal::Version),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
            ("\x16\x03\x01\x02", Refusal::NotHttp),
            (" GET / HTTP/1.1\r\n", Refusal::NotHttp),
            ("\0", Refusal::NotHttp),
        ] {
            assert_eq!(all_pieces(head.as_bytes()), (0, Some(Verdict::RefuseHead(refusal))), "{head:?}");
        }
    }

    #[test]
    fn a_long_method_is_refused_however_it_comes() {
        let line = |method: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(method));
        let refused = (0, Some(Verdict::RefuseHead(Refusal::UriTooLong)));
        let limit = HeadLimits::default().uri + NEAR_URI;
        assert_eq!(all_pieces(line(limit).as_bytes()), refused);
        // With the rest of the line and the CR, one byte more than may be there.
        assert_eq!(all_pieces(line(limit - 11).as_bytes()), refused);
        assert_eq!(all_pieces(line(limit - 12).as_bytes()), (line(limit - 12).len(), None));
        assert_eq!(all_pieces(line(20).as_bytes()), (line(20).len(), None));
    }

    #[test]
    fn chunks_are_followed_exactly() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (body, good) in [
            ("FFFFFFFFFFFFFFFF\r\n", 15),
            ("0000000000000005\r\n", 15),
            ("\r\n", 0),
            (";x\r\n", 0),
            ("-1\r\n", 0),
            ("0x5\r\nhello\r\n", 1),
            ("5\nhello\r\n", 1),
            ("5 5\r\n", 2),
            ("5;a\nb\r\n", 3),
            ("5;a\0\r\n", 3),
            ("5\rhello", 2),
            ("5\r\nhelloX", 8),
            ("5\r\nhello\n", 8),
            ("5\r\nhello\rX", 9),
            ("5\r\nhello\r\n\r\n", 10),
            ("0\r\n\n", 3),
            ("0\r\n\rX", 4),
            ("0\r\nA: b\n\r\n", 7),
            ("0\r\nA: b\rX", 8),
            ("0\r\nA: b\r\n c\r\n\r\n", 9),
            ("0\r\nA: \0\r\n\r\n", 6),
        ] {
            let expected = (head.len() + good, Some(Verdict::RefuseBody(Refusal::Chunk)));
            assert_eq!(all_pieces(format!("{head}{body}").as_bytes()), expected, "{body:?}");
        }
    }

    #[test]
    fn a_refused_head_behind_a_good_request_takes_nothing_with_it() {
        let good = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
        let bytes = format!("{good}GET /2 HTTP/1.1\nHost: a\n\n");
        assert_eq!(all_pieces(bytes.as_bytes()), (good.len(), Some(Verdict::RefuseHead(Refusal::BareLineFeed))));
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let limits = HeadLimits { bytes: 200, uri: 20, lines: 3 };
        let judge = |head: &str| {
            let mut judge = Judge::new(limits);
            // As a drip, so that the answer does not depend on having all of it.
            (1..=head.len()).map(|end| judge.judge(&head.as_bytes()[..end])).find(|verdict| *verdict != Verdict::Hold)
        };
        let head = |uri: usize, lines: usize| {
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n", "u".repeat(uri - 1), "a: b\r\n".repeat(lines - 1))
        };
        assert!(matches!(judge(&head(20, 3)), Some(Verdict::Pass(_))));
        assert_eq!(judge(&head(21, 3)), Some(Verdict::RefuseHead(Refusal::UriTooLong)));
        assert_eq!(judge(&head(20, 4)), Some(Verdict::RefuseHead(Refusal::HeadTooLarge)));
        assert_eq!(judge(&format!("GET /{}", "u".repeat(100))), Some(Verdict::RefuseHead(Refusal::UriTooLong)));
        assert_eq!(
            judge(&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(200))),
            Some(Verdict::RefuseHead(Refusal::HeadTooLarge))
        );
        assert_eq!(judge(&"\r\n".repeat(101)), Some(Verdict::RefuseHead(Refusal::HeadTooLarge)));
        let exact = |length: usize| {
            let head = "GET / HTTP/1.0\r\na: \r\n\r\n";
            head.replace("a: ", &format!("a: {}", "x".repeat(length - head.len())))
        };
        assert_eq!(judge(&exact(200)), Some(Verdict::Pass(200)));
        assert_eq!(judge(&exact(201)), Some(Verdict::RefuseHead(Refusal::HeadTooLarge)));
    }
}

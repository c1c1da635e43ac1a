//! The header fields that say where a message ends and whom it is for.

use super::Refusal;

/// What the lines of a head have said so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) http11: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    host: bool,
}

impl Fields {
    /// Takes the request line, without its line end.
    pub(super) fn request_line(&mut self, line: &[u8], max_uri: usize) -> Result<(), Refusal> {
        let (rest, version) = line.split_at_checked(line.len().saturating_sub(9)).ok_or(Refusal::RequestLine)?;
        let method = rest.iter().position(|byte| *byte == b' ').ok_or(Refusal::RequestLine)?;
        if rest.len() - method - 1 > max_uri {
            return Err(Refusal::UriTooLong);
        }
        match version {
            b" HTTP/1.1" => self.http11 = true,
            b" HTTP/1.0" => {}
            [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Refusal::Version),
            _ => return Err(Refusal::RequestLine),
        }
        Ok(())
    }

    /// Takes a header line, without its line end. Only lines that can begin one of our names are looked at.
    pub(super) fn header_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        match line.first() {
            Some(b' ' | b'\t') => Err(Refusal::Folding),
            Some(b'c' | b'C') => value_of(line, b"content-length").map_or(Ok(()), |value| self.content_length(value)),
            Some(b't' | b'T') => value_of(line, b"transfer-encoding").map_or(Ok(()), |value| self.coding(value)),
            Some(b'h' | b'H') => value_of(line, b"host").map_or(Ok(()), |value| self.host(value)),
            _ => Ok(()),
        }
    }

    /// Takes the end of the head.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::LengthAndEncoding);
        }
        if self.chunked && !self.http11 {
            return Err(Refusal::TransferEncoding);
        }
        if self.http11 && !self.host {
            return Err(Refusal::Host);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::RepeatedLength);
        }
        // 18 digits are less than any limit of 64 bits, and more than any body.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::ContentLength);
        }
        self.length = Some(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::TransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(if value.is_empty() { Refusal::TransferEncoding } else { Refusal::UnknownCoding });
        }
        self.chunked = true;
        Ok(())
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.host || !is_host(value) {
            return Err(Refusal::Host);
        }
        self.host = true;
        Ok(())
    }
}

/// Whether these are bytes that a host with its port can have.
pub(super) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte))
}

/// The trimmed value of a header line, if its name is `name`.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

//! Header maps: ordered lists of byte strings, duplicates kept.

use bytes::Bytes;
use thiserror::Error;

use crate::pairs::{self, PairsError};

/// Headers or trailers in order, pseudo-headers (`:path`) first. Names are lower-case; look-ups ignore case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderList {
    entries: Vec<(Bytes, Bytes)>,
}

/// Why a header may not be set; the guest's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is empty or has bytes that RFC 9110 does not allow in a token.
    #[error("not a header name")]
    Name,
    /// The value has a CR, LF or NUL.
    #[error("not a header value")]
    Value,
    /// The field belongs to the host: framing and hop-by-hop fields (RFC 9110, section 7.6.1).
    #[error("the field belongs to the host")]
    HostOwned,
    /// A pseudo-header that is not there, or one that must stay.
    #[error("pseudo-headers can only be replaced")]
    Pseudo,
}

/// Fields that describe the connection to one neighbour. A guest never sees them and may not set them.
const HOP_BY_HOP: [&[u8]; 8] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
];

impl HeaderList {
    /// An empty list with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        HeaderList { entries: Vec::with_capacity(capacity) }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// The first value under a name.
    pub fn get(&self, name: &[u8]) -> Option<&Bytes> {
        self.entries.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All values under a name, in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Bytes> {
        self.entries.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds an entry that is known to be valid, such as one that the HTTP parser has accepted. The name must be in lower
    /// case.
    pub fn push_unchecked(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.entries.push((name.into(), value.into()));
    }

    /// Adds an entry from a guest, keeping those of the same name.
    ///
    /// # Errors
    /// [`InvalidHeader`]; the list is unchanged then.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        if is_pseudo(name) {
            return Err(InvalidHeader::Pseudo);
        }
        let entry = valid(name, value)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Sets the only value of a name: the first entry takes it, further ones go, a missing one is added at the end.
    ///
    /// # Errors
    /// [`InvalidHeader`]; the list is unchanged then.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let (name, value) = valid(name, value)?;
        let Some(first) = self.entries.iter().position(|(n, _)| *n == name) else {
            if is_pseudo(&name) {
                return Err(InvalidHeader::Pseudo);
            }
            self.entries.push((name, value));
            return Ok(());
        };
        self.entries[first].1 = value;
        let mut index = 0;
        self.entries.retain(|(n, _)| {
            index += 1;
            index - 1 <= first || *n != name
        });
        Ok(())
    }

    /// Removes all entries of a name; a name that is not there is fine.
    ///
    /// # Errors
    /// [`InvalidHeader::Pseudo`] for a pseudo-header that is there.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), InvalidHeader> {
        if is_pseudo(name) && self.get(name).is_some() {
            return Err(InvalidHeader::Pseudo);
        }
        self.entries.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        Ok(())
    }

    /// Replaces the whole list by one from a guest.
    ///
    /// # Errors
    /// [`InvalidHeader`] if an entry is not valid or the pseudo-headers are not the same ones as before; the list is
    /// unchanged then.
    pub fn replace_all(&mut self, list: &HeaderList) -> Result<(), InvalidHeader> {
        let mut pseudo = Vec::new();
        let mut fields = Vec::new();
        for (name, value) in list.iter() {
            let entry = valid(name, value)?;
            if is_pseudo(&entry.0) { pseudo.push(entry) } else { fields.push(entry) }
        }
        let before = self.entries.iter().filter(|(name, _)| is_pseudo(name));
        let names = |entries: &[(Bytes, Bytes)]| {
            let mut names: Vec<Bytes> = entries.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            names
        };
        if names(&pseudo) != names(&before.cloned().collect::<Vec<_>>()) {
            return Err(InvalidHeader::Pseudo);
        }
        pseudo.append(&mut fields);
        self.entries = pseudo;
        Ok(())
    }

    /// The bytes of all names and values.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The size of the serialised form.
    pub fn encoded_len(&self) -> usize {
        pairs::encoded_len(self)
    }

    /// The serialised form; no bytes when the list is empty.
    pub fn encode(&self) -> Vec<u8> {
        pairs::encode(self)
    }

    /// Reads the serialised form. Names and values are not judged yet.
    ///
    /// # Errors
    /// [`PairsError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PairsError> {
        pairs::decode(bytes)
    }
}

impl<N: Into<Bytes>, V: Into<Bytes>> FromIterator<(N, V)> for HeaderList {
    /// As [`push_unchecked`](HeaderList::push_unchecked).
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        HeaderList { entries: entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Whether a guest may never set this field.
pub(crate) fn is_host_owned(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn is_pseudo(name: &[u8]) -> bool {
    name.first() == Some(&b':')
}

fn valid(name: &[u8], value: &[u8]) -> Result<(Bytes, Bytes), InvalidHeader> {
    let token = if is_pseudo(name) { &name[1..] } else { name };
    if token.is_empty() || !token.iter().all(|byte| is_token(*byte)) {
        return Err(InvalidHeader::Name);
    }
    if is_host_owned(name) {
        return Err(InvalidHeader::HostOwned);
    }
    let value = value.trim_ascii();
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(InvalidHeader::Value);
    }
    if is_pseudo(name) && !valid_pseudo(name, value) {
        return Err(InvalidHeader::Value);
    }
    Ok((Bytes::from(name.to_ascii_lowercase()), Bytes::copy_from_slice(value)))
}

/// What the host can put into a request line or status line without a second reading of it.
fn valid_pseudo(name: &[u8], value: &[u8]) -> bool {
    match name {
        b":status" => matches!(value, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']),
        b":method" => !value.is_empty() && value.iter().all(|byte| is_token(*byte)),
        b":scheme" => value == b"http" || value == b"https",
        b":path" => (value.starts_with(b"/") || value == b"*") && value.iter().all(u8::is_ascii_graphic),
        b":authority" => {
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
            !value.is_empty() && value.iter().all(allowed)
        }
        _ => false,
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> HeaderList {
        [
            (":method", "GET"),
            (":path", "/"),
            (":authority", "a"),
            (":scheme", "http"),
            ("x", "1"),
            ("y", "2"),
            ("x", "3"),
        ]
        .into_iter()
        .collect()
    }

    fn text(list: &HeaderList) -> String {
        let pairs = list.iter().map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
        pairs.filter(|pair| !pair.starts_with(':')).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn duplicates_keep_their_order() {
        let mut list = request();
        list.add(b"X", b" 4 ").unwrap();
        assert_eq!(text(&list), "x=1 y=2 x=3 x=4");
        assert_eq!(list.get(b"X").unwrap(), "1");
        assert_eq!(list.get_all(b"x").count(), 3);
        list.replace(b"X", b"5").unwrap();
        assert_eq!(text(&list), "x=5 y=2");
        list.replace(b"z", b"6").unwrap();
        list.remove(b"Y").unwrap();
        list.remove(b"not-there").unwrap();
        assert_eq!(text(&list), "x=5 z=6");
    }

    #[test]
    fn what_would_break_the_message_is_refused_and_changes_nothing() {
        let mut list = request();
        let bad: [(&[u8], &[u8], InvalidHeader); 10] = [
            (b"", b"v", InvalidHeader::Name),
            (b"a b", b"v", InvalidHeader::Name),
            (b"a:b", b"v", InvalidHeader::Name),
            (b"a\r\nb", b"v", InvalidHeader::Name),
            (b"a", b"v\r\nx: y", InvalidHeader::Value),
            (b"a", b"v\0", InvalidHeader::Value),
            (b"Transfer-Encoding", b"chunked", InvalidHeader::HostOwned),
            (b"connection", b"x", InvalidHeader::HostOwned),
            (b":status", b"200", InvalidHeader::Pseudo),
            (b":path", b"/a b", InvalidHeader::Value),
        ];
        for (name, value, error) in bad {
            assert_eq!(list.replace(name, value), Err(error), "{name:?}");
            let mut all = request();
            all.push_unchecked(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
            assert!(list.replace_all(&all).is_err(), "{name:?}");
        }
        assert_eq!(list.add(b":path", b"/b"), Err(InvalidHeader::Pseudo));
        assert_eq!(list.remove(b":path"), Err(InvalidHeader::Pseudo));
        assert_eq!(list, request());
    }

    #[test]
    fn pseudo_headers_are_replaced_and_stay_first() {
        let mut list = request();
        list.replace(b":path", b"/other?x=1").unwrap();
        assert_eq!(list.get(b":path").unwrap(), "/other?x=1");
        let mut new: HeaderList =
            [("b", "1"), (":path", "/"), (":method", "PUT"), (":authority", "b"), (":scheme", "http")]
                .into_iter()
                .collect();
        list.replace_all(&new).unwrap();
        assert_eq!(list.iter().last().unwrap().0, "b");
        new.push_unchecked(":path", "/twice");
        assert_eq!(list.replace_all(&new), Err(InvalidHeader::Pseudo));
        for bad in ["99", "1000", "20", "2x0", "199", "600"] {
            let mut response: HeaderList = [(":status", "200")].into_iter().collect();
            assert_eq!(response.replace(b":status", bad.as_bytes()), Err(InvalidHeader::Value), "{bad}");
        }
    }
}

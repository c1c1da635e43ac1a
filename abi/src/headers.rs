//! Header maps: ordered lists of byte strings, duplicates kept.

use std::fmt;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::pairs::{self, MAX_MAP_BYTES, MAX_PAIRS, PairsError};

/// Headers or trailers in order, pseudo-headers (`:path`) first. Names are lower-case; look-ups ignore case.
#[derive(Default)]
pub struct HeaderList {
    entries: Vec<(Bytes, Bytes)>,
    /// Where names and values of guests go, so that not each of them is an allocation.
    text: BytesMut,
}

/// Why a header may not be set; the guest's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is empty or has bytes that RFC 9110 does not allow in a token.
    #[error("not a header name")]
    Name,
    /// The value has a control character other than a tab, or is not what its pseudo-header may be.
    #[error("not a header value")]
    Value,
    /// The field belongs to the host: framing and hop-by-hop fields (RFC 9110, section 7.6.1).
    #[error("the field belongs to the host")]
    HostOwned,
    /// A pseudo-header that is not there, or one that must stay.
    #[error("pseudo-headers can only be replaced")]
    Pseudo,
    /// The list would grow beyond [`MAX_PAIRS`] or [`MAX_MAP_BYTES`].
    #[error("the list would have more than {MAX_PAIRS} entries or {MAX_MAP_BYTES} bytes")]
    TooLarge,
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
        HeaderList { entries: Vec::with_capacity(capacity), text: BytesMut::new() }
    }

    /// Removes all entries; what they were kept in is used again, unless it is large.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(KEPT_ENTRIES);
    }

    /// Makes room for `additional` entries more.
    pub fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional);
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
        self.find(name).map(|(_, value)| value)
    }

    /// The first value under a name, with its place.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<(usize, &Bytes)> {
        let mut entries = self.entries.iter().enumerate();
        entries.find(|(_, (n, _))| is_name(n, name)).map(|(index, (_, value))| (index, value))
    }

    /// The entry at a place.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> Option<&(Bytes, Bytes)> {
        self.entries.get(index)
    }

    /// All values under a name, in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Bytes> {
        self.entries.iter().filter(|(n, _)| is_name(n, name)).map(|(_, value)| value)
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
        if self.len() >= MAX_PAIRS || self.byte_size() + name.len() + value.len() > MAX_MAP_BYTES {
            return Err(InvalidHeader::TooLarge);
        }
        let entry = self.keep(name, valid(name, value)?);
        self.entries.push(entry);
        Ok(())
    }

    /// Adds a pseudo-header of a message that a guest makes.
    ///
    /// # Errors
    /// [`InvalidHeader`]; the list is unchanged then.
    pub(crate) fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        if !is_pseudo(name) {
            return Err(InvalidHeader::Pseudo);
        }
        let entry = self.keep(name, valid(name, value)?);
        self.entries.push(entry);
        Ok(())
    }

    /// Sets the only value of a name: the first entry takes it, further ones go, a missing one is added at the end.
    ///
    /// # Errors
    /// [`InvalidHeader`]; the list is unchanged then.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let Some(first) = self.entries.iter().position(|(n, _)| is_name(n, name)) else {
            return self.add(name, value);
        };
        let others = self.entries.iter().filter(|(n, _)| !is_name(n, name));
        let others: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        // A list that came too large may be made smaller.
        if others + name.len() + value.len() > MAX_MAP_BYTES.max(self.byte_size()) {
            return Err(InvalidHeader::TooLarge);
        }
        let value = valid(name, value)?;
        self.entries[first].1 = self.keep(&[], value).1;
        let mut index = 0;
        self.entries.retain(|(n, _)| {
            index += 1;
            index - 1 <= first || !is_name(n, name)
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
        self.entries.retain(|(n, _)| !is_name(n, name));
        Ok(())
    }

    /// Replaces the whole list by one from a guest. An entry that is in the list already may come back whatever it is, so
    /// that a guest can always give back what it read.
    ///
    /// # Errors
    /// [`InvalidHeader`] if an entry is not valid or the pseudo-headers are not the same ones as before; the list is
    /// unchanged then.
    pub fn replace_all(&mut self, list: &HeaderList) -> Result<(), InvalidHeader> {
        let mut pseudo = Vec::new();
        let mut fields = Vec::new();
        for entry in &list.entries {
            let entry = match valid(&entry.0, &entry.1) {
                Ok(value) => self.keep(&entry.0, value),
                Err(_) if self.entries.contains(entry) => entry.clone(),
                Err(error) => return Err(error),
            };
            if is_pseudo(&entry.0) { pseudo.push(entry) } else { fields.push(entry) }
        }
        let before = self.entries.iter().filter(|(name, _)| is_pseudo(name));
        if sorted_names(pseudo.iter()) != sorted_names(before) {
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

    /// Writes the serialised form to `out`, which has its length.
    pub(crate) fn encode_into(&self, out: &mut [u8]) {
        pairs::encode_into(self, out);
    }

    /// Reads the serialised form. Names and values are not judged yet.
    ///
    /// # Errors
    /// [`PairsError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PairsError> {
        pairs::decode(bytes)
    }
}

impl HeaderList {
    /// A guest's name, in lower case, and value.
    fn keep(&mut self, name: &[u8], value: &[u8]) -> (Bytes, Bytes) {
        let len = name.len() + value.len();
        if len > PIECE {
            return (Bytes::from(name.to_ascii_lowercase()), Bytes::copy_from_slice(value));
        }
        // What is left of a piece that others still hold is given up.
        if self.text.capacity() < len && !self.text.try_reclaim(len) {
            self.text = BytesMut::with_capacity(PIECE);
        }
        self.text.extend_from_slice(name);
        self.text.make_ascii_lowercase();
        let name = self.text.split().freeze();
        self.text.extend_from_slice(value);
        (name, self.text.split().freeze())
    }
}

/// How large the pieces are in which small names and values of guests are kept. The least of them may keep a whole piece
/// in memory, so that what is larger than a piece has memory of its own, the name and the value each.
const PIECE: usize = 512;
/// How many entries a list that is used again has room for.
const KEPT_ENTRIES: usize = 64;

impl Clone for HeaderList {
    fn clone(&self) -> Self {
        HeaderList { entries: self.entries.clone(), text: BytesMut::new() }
    }
}

impl PartialEq for HeaderList {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for HeaderList {}

impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderList").field("entries", &self.entries).finish()
    }
}

impl<N: Into<Bytes>, V: Into<Bytes>> FromIterator<(N, V)> for HeaderList {
    /// As [`push_unchecked`](HeaderList::push_unchecked).
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        HeaderList { entries, text: BytesMut::new() }
    }
}

/// Whether a guest may never set this field.
pub(crate) fn is_host_owned(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// Whether an entry is of this name. Most are not, which their length tells; most that are need no look at their case.
#[inline]
fn is_name(entry: &[u8], name: &[u8]) -> bool {
    entry.len() == name.len() && (entry == name || entry.eq_ignore_ascii_case(name))
}

fn is_pseudo(name: &[u8]) -> bool {
    name.first() == Some(&b':')
}

fn sorted_names<'a>(entries: impl Iterator<Item = &'a (Bytes, Bytes)>) -> Vec<&'a Bytes> {
    let mut names: Vec<&Bytes> = entries.map(|(name, _)| name).collect();
    names.sort();
    names
}

/// The longest name, and the longest pseudo-header value, that HTTP libraries take.
const MAX_NAME_BYTES: usize = 65_534;

/// The value as it is set, without the spaces around it, if a guest may set it under this name.
fn valid<'a>(name: &[u8], value: &'a [u8]) -> Result<&'a [u8], InvalidHeader> {
    let token = name.strip_prefix(b":").unwrap_or(name);
    if token.is_empty() || token.len() > MAX_NAME_BYTES || !token.iter().all(|byte| is_token(*byte)) {
        return Err(InvalidHeader::Name);
    }
    if is_host_owned(name) {
        return Err(InvalidHeader::HostOwned);
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(InvalidHeader::Value);
    }
    let value = value.trim_ascii();
    if is_pseudo(name) && !valid_pseudo(name, value) {
        return Err(InvalidHeader::Value);
    }
    Ok(value)
}

/// What the host can put into a request line or status line without a second reading of it.
fn valid_pseudo(name: &[u8], value: &[u8]) -> bool {
    match &*name.to_ascii_lowercase() {
        _ if value.len() > MAX_NAME_BYTES => false,
        b":status" => matches!(value, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']),
        b":method" => !value.is_empty() && value.iter().all(|byte| is_token(*byte)),
        b":scheme" => value == b"http" || value == b"https",
        b":path" => value == b"*" || (value.starts_with(b"/") && std::str::from_utf8(value).is_ok_and(valid_path)),
        b":authority" => valid_authority(value),
        _ => false,
    }
}

/// The characters of RFC 3986 for a path and query, those that clients send unescaped all the same, and no fragment.
fn valid_path(path: &str) -> bool {
    path.chars().all(|c| match c {
        '"' | '#' | '<' | '>' | '`' => false,
        c => !c.is_control() && !c.is_whitespace(),
    })
}

/// A host and maybe a port, without user information (RFC 3986, section 3.2).
fn valid_authority(authority: &[u8]) -> bool {
    let (host, rest) = match authority.strip_prefix(b"[") {
        Some(address) => {
            let end = address.iter().position(|byte| *byte == b']').unwrap_or(0);
            let (address, rest) = address.split_at(end);
            let is_address = address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
            (if is_address { address } else { &[] }, rest.get(1..).unwrap_or_default())
        }
        None => {
            let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
            let (name, rest) = authority.split_at(end);
            let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte));
            (if is_name { name } else { &[] }, rest)
        }
    };
    let is_port = match rest.strip_prefix(b":") {
        Some(port) => (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit),
        None => rest.is_empty(),
    };
    !host.is_empty() && is_port
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

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
        let bad: [(&[u8], &[u8], InvalidHeader); 15] = [
            (b"", b"v", InvalidHeader::Name),
            (b"a b", b"v", InvalidHeader::Name),
            (b"a:b", b"v", InvalidHeader::Name),
            (b"a\r\nb", b"v", InvalidHeader::Name),
            (b"a", b"v\r\nx: y", InvalidHeader::Value),
            (b"a", b"v\0", InvalidHeader::Value),
            (b"a", b"v\r\n", InvalidHeader::Value),
            (b"a", b"\x1b[2J", InvalidHeader::Value),
            (b"a", b"\x7f", InvalidHeader::Value),
            (&[b'a'; MAX_NAME_BYTES + 1], b"", InvalidHeader::Name),
            (b"a", &[b'v'; MAX_MAP_BYTES], InvalidHeader::TooLarge),
            (b"Transfer-Encoding", b"chunked", InvalidHeader::HostOwned),
            (b"connection", b"x", InvalidHeader::HostOwned),
            (b":status", b"200", InvalidHeader::Pseudo),
            (b":path", b"/a b", InvalidHeader::Value),
        ];
        for (name, value, error) in bad {
            assert_eq!(list.replace(name, value), Err(error), "{name:?}");
            let mut all = request();
            all.push_unchecked(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
            if error != InvalidHeader::TooLarge {
                assert!(list.replace_all(&all).is_err(), "{name:?}");
            }
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

    #[test]
    fn pseudo_headers_are_what_a_request_line_can_have() {
        let judged = |name: &str, value: &[u8]| request().replace(name.as_bytes(), value).is_ok();
        for good in ["/", "*", "/a?b=c&d", "/[x]{y}|^\\", "/\u{fc}", "//a;b=c,d@e:f!$'()~%20"] {
            assert!(judged(":path", good.as_bytes()), "{good}");
            assert!(judged(":Path", good.as_bytes()), "{good}");
        }
        for bad in ["", "a", "**", "http://a/", "/a b", "/a#b", "/<", "/\u{85}", "/\u{2028}", "/\u{0}"] {
            assert!(!judged(":path", bad.as_bytes()), "{bad}");
        }
        assert!(!judged(":path", b"/\xff"));
        assert!(!judged(":path", &[b'/'; MAX_NAME_BYTES + 1]));
        for good in ["a", "a.b-c_d:8080", "127.0.0.1", "[::1]", "[::ffff:1.2.3.4]:65535"] {
            assert!(judged(":authority", good.as_bytes()), "{good}");
        }
        for bad in
            ["", ":80", "a:", "a:b", "a:1:2", "a:123456", "u@a", "a/b", "a%20", "[]", "[::1", "::1]", "[x]", "[::1]a"]
        {
            assert!(!judged(":authority", bad.as_bytes()), "{bad}");
        }
        assert!(judged(":method", b"PURGE") && !judged(":method", b"") && !judged(":method", b"GET /"));
        assert!(judged(":scheme", b"https") && !judged(":scheme", b"ftp"));
    }

    #[test]
    fn what_was_read_can_be_given_back() {
        let mut list = request();
        list.push_unchecked("te", "trailers");
        list.push_unchecked("x-odd", &b"\x01"[..]);
        let read = list.clone();
        list.replace_all(&read).unwrap();
        assert_eq!(list, read);
        let mut other = read.clone();
        other.push_unchecked("te", "gzip");
        assert_eq!(list.replace_all(&other), Err(InvalidHeader::HostOwned));
    }

    #[test]
    fn the_limits_hold_at_their_edges() {
        let mut list: HeaderList = (0..MAX_PAIRS - 1).map(|i| (format!("h{i}"), "v")).collect();
        list.add(b"last", b"v").unwrap();
        assert_eq!(list.add(b"more", b"v"), Err(InvalidHeader::TooLarge));
        assert_eq!(list.replace(b"more", b"v"), Err(InvalidHeader::TooLarge));
        list.replace(b"H0", b"w").unwrap();
        assert_eq!((list.len(), list.get(b"h0").unwrap().as_ref()), (MAX_PAIRS, b"w".as_ref()));

        let mut list = HeaderList::default();
        list.add(b"a", &[b'v'; MAX_MAP_BYTES - 1]).unwrap();
        assert_eq!(list.add(b"b", b""), Err(InvalidHeader::TooLarge));
        assert_eq!(list.replace(b"a", &[b'w'; MAX_MAP_BYTES]), Err(InvalidHeader::TooLarge));
        list.replace(b"a", &[b'w'; MAX_MAP_BYTES - 1]).unwrap();
        list.replace(b"a", b"").unwrap();

        let mut huge: HeaderList = (0..2 * MAX_PAIRS).map(|i| (format!("h{i}"), "v")).collect();
        huge.replace(b"h7", b"v2").unwrap();
        huge.remove(b"h8").unwrap();
        assert_eq!(huge.len(), 2 * MAX_PAIRS - 1);
    }

    /// A guest that sets something large and takes it back must not have its memory held by something small, nor by a
    /// list that is used again.
    #[test]
    fn what_is_small_keeps_little_in_memory() {
        let large = [b'x'; 100_000];
        let mut list = HeaderList::default();
        for _ in 0..4 {
            list.add(b"large", &large).unwrap();
            list.remove(b"large").unwrap();
            list.add(b"small", b"1").unwrap();
        }
        list.add(b"replaced", &large).unwrap();
        list.replace(b"replaced", b"2").unwrap();
        list.add(&[b'n'; 50_000], &large[..40_000]).unwrap();
        list.replace(&[b'N'; 50_000], b"3").unwrap();
        let entries = std::mem::take(&mut list.entries);
        list.clear();
        assert!(list.text.capacity() <= PIECE && !list.text.try_reclaim(PIECE + 1));
        drop(list);
        for (name, value) in entries {
            for text in [name, value] {
                let len = text.len();
                // Whoever is the last to hold a piece can have all of it.
                if let Ok(all) = text.try_into_mut() {
                    assert!(all.capacity() <= len.max(PIECE), "{} for {len}", all.capacity());
                }
            }
        }
    }
}

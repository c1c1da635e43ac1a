//! What requests have in common that go to one node: numbers of it that are the same in every process.

use std::net::SocketAddr;

use http::{header, request, uri};

use crate::config::{HashKey, KeyPart};
use crate::variables::{argument, cookie};

/// What is looked at of a request to choose a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Who sent it; nobody for what the gateway sends by itself.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) head: &'a request::Parts,
}

/// The number of a request's key. A request that has nothing of the key is told by its client's address.
pub(super) fn of_key(key: &HashKey, subject: &Subject<'_>) -> u64 {
    let mut state = Fnv::default();
    let mut any = false;
    for part in &key.0 {
        any |= add(&mut state, part, subject);
    }
    if !any {
        add(&mut state, &KeyPart::RemoteAddr, subject);
    }
    mix(state.0)
}

/// Adds what a request has of a part; `false` if it has nothing.
fn add(state: &mut Fnv, part: &KeyPart, subject: &Subject<'_>) -> bool {
    let head = subject.head;
    let mut text = |text: Option<&[u8]>| {
        state.add(text.unwrap_or_default());
        text.is_some_and(|text| !text.is_empty())
    };
    match part {
        KeyPart::Text(same) => {
            text(Some(same.as_bytes()));
            false
        }
        KeyPart::RemoteAddr => match subject.client.map(|client| client.ip().to_canonical()) {
            Some(std::net::IpAddr::V4(ip)) => text(Some(&ip.octets())),
            Some(std::net::IpAddr::V6(ip)) => text(Some(&ip.octets())),
            None => false,
        },
        KeyPart::RemotePort => {
            text(subject.client.map(|client| client.port().to_be_bytes()).as_ref().map(|port| &port[..]))
        }
        KeyPart::Uri => text(Some(head.uri.path().as_bytes())),
        KeyPart::RequestUri => text(head.uri.path_and_query().map(|path| path.as_str().as_bytes())),
        KeyPart::Args => text(head.uri.query().map(str::as_bytes)),
        KeyPart::Host => {
            let field = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let host = head.uri.authority().map(uri::Authority::as_str).or_else(field).map(crate::route::host_of);
            host.is_some_and(|host| {
                host.bytes().for_each(|byte| state.add(&[byte.to_ascii_lowercase()]));
                !host.is_empty()
            })
        }
        KeyPart::Method => text(Some(head.method.as_str().as_bytes())),
        KeyPart::Arg(name) => text(argument(head.uri.query().unwrap_or_default(), name).as_deref()),
        KeyPart::Header(name) => text(head.headers.get(name).map(|value| value.as_bytes())),
        KeyPart::Cookie(name) => text(cookie(&head.headers, name)),
    }
}

/// FNV-1a with 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The number of a name.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut state = Fnv::default();
    state.add(bytes);
    mix(state.0)
}

/// Makes every bit depend on every other (the finaliser of SplitMix64).
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[KeyPart], client: &str, uri: &str, fields: &[(&'static str, &'static str)]) -> u64 {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        of_key(&HashKey(parts.to_vec()), &Subject { client: client.parse().ok(), head: &head })
    }

    #[test]
    fn what_is_not_part_of_the_key_changes_nothing() {
        let a = &[("host", "A.example:80"), ("cookie", "x=1; sid=7"), ("x-user", "u")][..];
        let b = &[("host", "a.EXAMPLE"), ("cookie", "sid=7;y"), ("x-user", "u"), ("x-other", "1")][..];
        for part in [
            KeyPart::RemoteAddr,
            KeyPart::Uri,
            KeyPart::Host,
            KeyPart::Method,
            KeyPart::Arg("id".into()),
            KeyPart::Header("x-user".parse().unwrap()),
            KeyPart::Cookie("sid".into()),
        ] {
            let parts = [part];
            let same = key(&parts, "1.2.3.4:5", "/p?a=1&id=7", a) == key(&parts, "1.2.3.4:6", "/p?%69d=%37", b);
            assert!(same, "{parts:?}");
        }
        let v4_in_v6 = key(&[KeyPart::RemoteAddr], "[::ffff:1.2.3.4]:5", "/", &[]);
        assert_eq!(v4_in_v6, key(&[KeyPart::RemoteAddr], "1.2.3.4:5", "/", &[]));
    }

    #[test]
    fn what_is_part_of_the_key_changes_it() {
        let other: &[(&'static str, &'static str)] = &[("host", "b"), ("cookie", "sid=8"), ("x-user", "v")];
        for part in [
            KeyPart::RemoteAddr,
            KeyPart::RemotePort,
            KeyPart::Uri,
            KeyPart::RequestUri,
            KeyPart::Args,
            KeyPart::Host,
            KeyPart::Arg("id".into()),
            KeyPart::Header("x-user".parse().unwrap()),
            KeyPart::Cookie("sid".into()),
        ] {
            let parts = [KeyPart::Text("t".into()), part];
            let one = key(&parts, "1.2.3.4:5", "/p?id=7", &[("host", "a"), ("cookie", "sid=7"), ("x-user", "u")]);
            assert_ne!(one, key(&parts, "1.2.3.5:6", "/q?id=8", other), "{parts:?}");
        }
    }

    #[test]
    fn who_has_nothing_of_the_key_is_told_by_its_address() {
        let parts = [KeyPart::Cookie("sid".into())];
        let from = |client| key(&parts, client, "/", &[]);
        assert_eq!(from("1.2.3.4:5"), from("1.2.3.4:6"));
        assert_ne!(from("1.2.3.4:5"), from("1.2.3.5:5"));
        // A client may not choose to be told so by an empty value.
        assert_eq!(key(&parts, "1.2.3.4:5", "/", &[("cookie", "sid=")]), from("1.2.3.4:5"));
        // The gateway's own requests have no client.
        assert_eq!(from(""), from(""));
    }
}

//! Properties of a stream by Envoy's attribute names.

use bytes::Bytes;
use chassis_abi::{Exchange, HeaderList, StreamKind};

/// The value of an attribute, in the encoding that Envoy gives it: strings as they are, integers as 8 bytes
/// little-endian, maps serialised.
pub fn attribute(exchange: &Exchange, path: &[&[u8]]) -> Option<Bytes> {
    if exchange.kind == StreamKind::Tcp {
        return known(exchange, path);
    }
    match path {
        [b"request", b"headers", name] => exchange.request.headers.get(name).cloned(),
        [b"response", b"headers", name] if exchange.response.has_headers => {
            exchange.response.headers.get(name).cloned()
        }
        [b"request", b"trailers", name] => exchange.request.trailers.get(name).cloned(),
        [b"response", b"trailers", name] => exchange.response.trailers.get(name).cloned(),
        [b"request", name] => request(exchange, name),
        [b"response", name] => response(exchange, name),
        _ => known(exchange, path),
    }
}

fn request(exchange: &Exchange, name: &[u8]) -> Option<Bytes> {
    let headers = &exchange.request.headers;
    match name {
        b"path" => headers.get(b":path").cloned(),
        b"url_path" => headers.get(b":path").map(before_query),
        b"query" => headers.get(b":path").map(query),
        b"host" => headers.get(b":authority").cloned(),
        b"scheme" => headers.get(b":scheme").cloned(),
        b"method" => headers.get(b":method").cloned(),
        b"referer" => headers.get(b"referer").cloned(),
        b"useragent" => headers.get(b"user-agent").cloned(),
        b"id" => headers.get(b"x-request-id").cloned(),
        b"headers" => Some(encoded(headers)),
        _ => known(exchange, &[b"request", name]),
    }
}

fn response(exchange: &Exchange, name: &[u8]) -> Option<Bytes> {
    if !exchange.response.has_headers {
        return None;
    }
    let headers = &exchange.response.headers;
    match name {
        b"code" => {
            let code: u64 = std::str::from_utf8(headers.get(b":status")?).ok()?.parse().ok()?;
            Some(Bytes::copy_from_slice(&code.to_le_bytes()))
        }
        b"headers" => Some(encoded(headers)),
        _ => known(exchange, &[b"response", name]),
    }
}

/// What the embedder said of the stream.
fn known(exchange: &Exchange, path: &[&[u8]]) -> Option<Bytes> {
    let name = path.join(&b'.');
    let name = std::str::from_utf8(&name).ok()?;
    exchange.attributes.get(name).cloned()
}

fn encoded(headers: &HeaderList) -> Bytes {
    headers.encode().into()
}

fn before_query(path: &Bytes) -> Bytes {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    path.slice(..end)
}

fn query(path: &Bytes) -> Bytes {
    match path.iter().position(|byte| *byte == b'?') {
        Some(start) => path.slice(start + 1..),
        None => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(exchange: &Exchange, path: &str) -> Option<Bytes> {
        attribute(exchange, &path.split('.').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_come_from_the_headers_and_from_the_embedder() {
        let headers = [(":method", "GET"), (":path", "/a?b=c"), ("x", "1")].into_iter().collect();
        let mut exchange = Exchange::new(headers);
        exchange.attributes.insert("source.address", Bytes::from("127.0.0.1:1"));
        assert_eq!(get(&exchange, "request.path").unwrap(), "/a?b=c");
        assert_eq!(get(&exchange, "request.url_path").unwrap(), "/a");
        assert_eq!(get(&exchange, "request.query").unwrap(), "b=c");
        assert_eq!(get(&exchange, "request.headers.x").unwrap(), "1");
        assert_eq!(get(&exchange, "source.address").unwrap(), "127.0.0.1:1");
        assert_eq!(get(&exchange, "response.code"), None);
        exchange.response.has_headers = true;
        exchange.response.headers.push_unchecked(":status", "204");
        assert_eq!(get(&exchange, "response.code").unwrap(), &204_u64.to_le_bytes()[..]);
        assert_eq!(get(&exchange, "request.path.x"), None);
        assert_eq!(get(&exchange, ""), None);
    }
}

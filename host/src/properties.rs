//! Properties of a stream by Envoy's attribute names.

use bytes::Bytes;
use chassis_abi::{Exchange, HeaderList, StreamKind};

/// The value of an attribute, in the encoding that Envoy gives it: strings as they are, integers, times and durations
/// (in nanoseconds) as 8 bytes little-endian, truth values as one byte, maps serialised.
///
/// What the headers and trailers say is known here; the rest is what the embedder said of the stream.
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
        // What some names were before they were below another one.
        [b"connection_id"] => known(exchange, &[b"connection", b"id"]),
        [b"route_name" | b"cluster_name" | b"virtual_host_name" | b"listener_direction"] => {
            known(exchange, &[b"xds", path[0]])
        }
        _ => known(exchange, path),
    }
}

/// Whether a path names attributes together, which have no value of their own (nor in Envoy).
pub(crate) fn is_group(path: &[&[u8]]) -> bool {
    const GROUPS: [&[u8]; 7] = [b"request", b"response", b"source", b"destination", b"connection", b"upstream", b"xds"];
    matches!(path, [group] if GROUPS.contains(group))
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
        b"headers_bytes" => Some(bytes_of(headers)),
        b"size" => known(exchange, &[b"request", name]).or_else(|| number(headers.get(b"content-length")?)),
        _ => known(exchange, &[b"request", name]),
    }
}

fn response(exchange: &Exchange, name: &[u8]) -> Option<Bytes> {
    if !exchange.response.has_headers {
        return None;
    }
    let headers = &exchange.response.headers;
    match name {
        b"code" => number(headers.get(b":status")?),
        b"headers" => Some(encoded(headers)),
        b"headers_bytes" => Some(bytes_of(headers)),
        b"trailers" if exchange.response.has_trailers => Some(encoded(&exchange.response.trailers)),
        b"size" => known(exchange, &[b"response", name]).or_else(|| number(headers.get(b"content-length")?)),
        b"grpc_status" => {
            let trailers = &exchange.response.trailers;
            number(trailers.get(b"grpc-status").or_else(|| headers.get(b"grpc-status"))?)
        }
        _ => known(exchange, &[b"response", name]),
    }
}

/// What the embedder said of the stream.
fn known(exchange: &Exchange, path: &[&[u8]]) -> Option<Bytes> {
    let name = path.join(&b'.');
    let name = std::str::from_utf8(&name).ok()?;
    exchange.attributes.get(name).cloned()
}

/// A number that is written in decimal.
fn number(text: &[u8]) -> Option<Bytes> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(Bytes::copy_from_slice(&number.to_le_bytes()))
}

/// How many bytes names and values have.
fn bytes_of(headers: &HeaderList) -> Bytes {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    Bytes::copy_from_slice(&(bytes as u64).to_le_bytes())
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
        let int = |number: i64| Some(Bytes::copy_from_slice(&number.to_le_bytes()));
        assert_eq!(get(&exchange, "request.headers_bytes"), int(7 + 3 + 5 + 6 + 1 + 1));
        assert_eq!((get(&exchange, "request.size"), get(&exchange, "response.grpc_status")), (None, None));
        exchange.request.headers.push_unchecked("content-length", "12");
        assert_eq!(get(&exchange, "request.size"), int(12));
        exchange.attributes.insert("request.size", Bytes::from_static(&[9; 8]));
        assert_eq!(get(&exchange, "request.size").unwrap(), &[9; 8][..]);
        exchange.response.trailers.push_unchecked("grpc-status", "14");
        assert_eq!((get(&exchange, "response.grpc_status"), get(&exchange, "response.trailers")), (int(14), None));
        exchange.response.has_trailers = true;
        assert!(get(&exchange, "response.trailers").is_some());
        exchange.attributes.insert("xds.route_name", Bytes::from("r"));
        exchange.attributes.insert("connection.id", Bytes::from("7"));
        assert_eq!(
            (get(&exchange, "route_name").unwrap(), get(&exchange, "connection_id").unwrap()),
            ("r".into(), "7".into())
        );
        assert_eq!(get(&exchange, "request.path.x"), None);
        assert_eq!(get(&exchange, ""), None);
    }
}

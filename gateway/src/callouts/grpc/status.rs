//! How a call went, out of what HTTP/2 says of it.

use std::time::Duration;

use bytes::Bytes;
use chassis_host::GrpcStatus;
use h2::Reason;
use http::{HeaderMap, StatusCode};

/// The status among trailers, or among the headers of an answer that has no trailers.
pub(super) fn in_trailers(fields: &HeaderMap) -> Option<GrpcStatus> {
    let code = fields.get("grpc-status")?.as_bytes();
    let message = fields.get("grpc-message").map(|message| percent_decoded(message.as_bytes())).unwrap_or_default();
    Some(GrpcStatus { code: code_of(code), message })
}

/// A status's number; one that there is not, or that is none, is the unknown one.
fn code_of(text: &[u8]) -> u8 {
    let number = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).filter(|code| *code <= LAST).unwrap_or(GrpcStatus::UNKNOWN)
}

/// Unauthenticated.
const LAST: u8 = 16;

/// What an answer means that has no status of gRPC's (gRPC, "HTTP to gRPC Status Code Mapping").
pub(super) fn of_http(status: StatusCode) -> GrpcStatus {
    let code = match status.as_u16() {
        400 => GrpcStatus::INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => GrpcStatus::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => GrpcStatus::UNAVAILABLE,
        _ => GrpcStatus::UNKNOWN,
    };
    GrpcStatus::new(code, format!("HTTP status {}", status.as_u16()))
}

const CANCELLED: u8 = 1;
const PERMISSION_DENIED: u8 = 7;
const UNAUTHENTICATED: u8 = 16;

/// What the end of a stream or of its connection means (gRPC over HTTP/2, "Errors").
pub(super) fn of_error(error: &h2::Error) -> GrpcStatus {
    if !error.is_reset() {
        return GrpcStatus::new(GrpcStatus::UNAVAILABLE, "connection ended");
    }
    if !error.is_remote() {
        return GrpcStatus::new(GrpcStatus::INTERNAL, "invalid HTTP/2");
    }
    let code = match error.reason() {
        Some(Reason::REFUSED_STREAM) => GrpcStatus::UNAVAILABLE,
        Some(Reason::CANCEL) => CANCELLED,
        Some(Reason::ENHANCE_YOUR_CALM) => GrpcStatus::RESOURCE_EXHAUSTED,
        Some(Reason::INADEQUATE_SECURITY) => PERMISSION_DENIED,
        Some(Reason::HTTP_1_1_REQUIRED) => GrpcStatus::UNKNOWN,
        _ => GrpcStatus::INTERNAL,
    };
    GrpcStatus::new(code, "reset")
}

/// The field `grpc-timeout`: eight digits at most, and a unit.
pub(super) fn timeout(limit: Duration) -> String {
    match limit.as_millis() {
        milliseconds if milliseconds < 100_000_000 => format!("{milliseconds}m"),
        _ => format!("{}S", limit.as_secs().min(99_999_999)),
    }
}

/// A text in which `%XX` stands for a byte; what is no such thing stands for itself.
fn percent_decoded(text: &[u8]) -> Bytes {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => decoded.push(*byte),
        }
    }
    decoded.into()
}

fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn status(fields: &[(&'static str, &'static str)]) -> Option<GrpcStatus> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        in_trailers(&map)
    }

    #[test]
    fn a_status_is_a_number_up_to_16_and_words() {
        assert_eq!(status(&[("grpc-message", "x")]), None);
        assert_eq!(status(&[("grpc-status", "0")]), Some(GrpcStatus::default()));
        assert_eq!(status(&[("grpc-status", "16"), ("grpc-message", "a%20b")]), Some(GrpcStatus::new(16, "a b")));
        for odd in ["17", "256", "-1", "+1", "", "x", "1x", "99999999999999999999"] {
            assert_eq!(status(&[("grpc-status", odd)]), Some(GrpcStatus::new(2, "")), "{odd}");
        }
    }

    #[test]
    fn http_statuses_have_their_numbers() {
        let codes = [200, 204, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504]
            .map(|status| of_http(StatusCode::from_u16(status).unwrap()).code);
        assert_eq!(codes, [2, 2, 13, 16, 7, 12, 2, 14, 2, 14, 14, 14]);
    }

    #[test]
    fn timeouts_have_eight_digits_at_most() {
        let text = |milliseconds| timeout(Duration::from_millis(milliseconds));
        assert_eq!([text(1), text(99_999_999), text(100_000_000)], ["1m", "99999999m", "100000S"]);
        assert_eq!(timeout(Duration::from_secs(u64::MAX)), "99999999S");
    }

    #[test]
    fn what_is_not_encoded_stands_for_itself() {
        for (text, decoded) in
            [("", &b""[..]), ("a%2Fb%c3%A4", b"a/b\xc3\xa4"), ("%", b"%"), ("%4", b"%4"), ("%4g%%41", b"%4g%A")]
        {
            assert_eq!(percent_decoded(text.as_bytes()), decoded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&percent_decoded(encoded.as_bytes())[..], &bytes[..]);
            prop_assert!(percent_decoded(&bytes).len() <= bytes.len());
        }
    }
}

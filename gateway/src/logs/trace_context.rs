//! Trace Context (W3C Recommendation, version 00): the header `traceparent`.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that says which trace a request is a part of.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Which trace a request is a part of, and which of its spans has made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace: u128,
    /// The span; not 0.
    pub span: u64,
    /// Bit 0: the caller may have recorded it.
    pub flags: u8,
}

impl TraceContext {
    /// Reads the header's value: version 00 to the letter, later ones as far as 00 goes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [v1, v2, b'-', fields @ ..] = known else { return None };
        let version = hex(&[*v1, *v2])?;
        let complete = if version == 0 { rest.is_empty() } else { matches!(rest.first(), None | Some(b'-')) };
        if version == 0xff || !complete || fields[32] != b'-' || fields[49] != b'-' {
            return None;
        }
        let trace = hex(&fields[..32])?;
        let span = u64::try_from(hex(&fields[33..49])?).ok()?;
        let flags = u8::try_from(hex(&fields[50..])?).ok()?;
        (trace != 0 && span != 0).then_some(TraceContext { trace, span, flags })
    }

    /// A trace that begins here, not recorded; `None` if the system has no random numbers.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).ok()?;
        let (trace, span) = bytes.split_at(16);
        let trace = u128::from_be_bytes(trace.try_into().ok()?).max(1);
        let span = u64::from_be_bytes(span.try_into().ok()?).max(1);
        Some(TraceContext { trace, span, flags: 0 })
    }

    /// The trace of a request. One that is not told properly is replaced by one that begins here, and what vendors said of
    /// it goes with it; one that is not told at all begins here if it is to `create` any.
    pub(crate) fn of_request(headers: &mut HeaderMap, create: bool) -> Option<Self> {
        let mut told = headers.get_all(TRACEPARENT).iter();
        match (told.next(), told.next()) {
            (None, _) if !create => return None,
            (Some(value), None) => {
                if let Some(known) = TraceContext::parse(value.as_bytes()) {
                    return Some(known);
                }
            }
            _ => {}
        }
        headers.remove(TRACESTATE);
        headers.remove(TRACEPARENT);
        let begun = TraceContext::random()?;
        let value = HeaderValue::try_from(begun.to_string()).ok()?;
        headers.try_insert(TRACEPARENT, value).ok()?;
        Some(begun)
    }
}

/// `00-`, 32 digits, 16 digits and 2 digits, with dashes between them.
const LENGTH: usize = 55;

/// A number in lower-case digits, which alone are allowed.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_well_formed_is_read_and_written_as_it_came() {
        assert_eq!(TraceContext::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
        let later = GOOD.replacen("00", "cc", 1);
        for later in [later.clone(), format!("{later}-what-comes")] {
            assert_eq!(TraceContext::parse(later.as_bytes()).unwrap().span, 0xf0_67aa_0ba9_02b7);
        }
        let random = TraceContext::random().unwrap();
        assert_eq!(TraceContext::parse(random.to_string().as_bytes()), Some(random));
        assert_ne!(TraceContext::random(), Some(random));
    }

    #[test]
    fn what_is_not_is_none() {
        let bad = [
            "",
            "00",
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0x", 1),
            &format!("{GOOD}-more"),
            &format!("{}.", GOOD.replacen("00", "01", 1)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ];
        for bad in bad {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_request_keeps_a_good_one_and_gets_another_for_a_bad_one() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
            for value in values {
                headers.append(TRACEPARENT, HeaderValue::from_static(value));
            }
            headers
        };
        let mut headers = with(&[GOOD]);
        assert_eq!(TraceContext::of_request(&mut headers, false), TraceContext::parse(GOOD.as_bytes()));
        assert_eq!(headers, with(&[GOOD]));
        let mut headers = with(&[]);
        assert_eq!(TraceContext::of_request(&mut headers, false), None);
        assert_eq!(headers, with(&[]));
        for (values, create) in [(&["bad"][..], false), (&[GOOD, GOOD], false), (&[], true)] {
            let mut headers = with(values);
            let begun = TraceContext::of_request(&mut headers, create).unwrap();
            assert_eq!(headers.len(), 1, "{headers:?}");
            assert_eq!(headers[TRACEPARENT], begun.to_string());
        }
    }
}

//! The prime authorisers decide about every token inside the deadline, and crash of none.

use std::ffi::OsString;

use serde_json::Value;

use crate::{chassis, plugin};

/// What is decided about a token by both plugins on all engines, with the deadline that plugins have unless it is set.
fn statuses(token: Option<&[u8]>) -> Vec<u64> {
    let mut found = Vec::new();
    for name in ["rust/prime-auth.wasm", "rust/prime-auth-010.wasm"] {
        let mut command = chassis(["run", "--json", "--engine", "all"]);
        if let Some(token) = token {
            command.arg("-H").arg(field(token));
        }
        let output = command.arg(plugin(name)).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for run in report["runs"].as_array().unwrap() {
            assert_eq!(run["error"], Value::Null, "{name}, {token:?}");
            assert_eq!(run["logs"].as_array().unwrap().len(), 0, "{name}, {token:?}: {}", run["logs"]);
            let status = run["response"]["status"].as_u64().unwrap();
            if status == 403 {
                let headers = run["response"]["headers"].as_array().unwrap();
                assert!(headers.contains(&serde_json::json!(["powered-by", "proxy-wasm"])), "{headers:?}");
                assert_eq!(run["response"]["body"], "Access forbidden.\n");
            }
            found.push(status);
        }
        assert_eq!(output.status.code(), Some(0), "{name}, {token:?}");
    }
    assert!(found.len() >= 2);
    found
}

fn field(token: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec([b"token: ", token].concat())
}

#[test]
fn primes_pass() {
    // The last ones have 19 and 20 digits: the largest below 10^19, and the largest of 64 bits.
    for token in ["2", "32323", "1000000000000000003", "9999999999999999961", "18446744073709551557"] {
        assert!(statuses(Some(token.as_bytes())).iter().all(|status| *status == 200), "{token}");
    }
}

#[test]
fn everything_else_is_refused() {
    let digits = "9".repeat(5000);
    let others: [&[u8]; 12] = [
        b"0",
        b"1",
        b"323232",
        // The product of the two largest primes below 2^32.
        b"18446743979220271189",
        b"18446744073709551629",
        digits.as_bytes(),
        b"",
        b"abc",
        b"-7",
        b"7.0",
        b"7 7",
        b"\xff\xfe",
    ];
    for token in others {
        assert!(statuses(Some(token)).iter().all(|status| *status == 403), "{token:?}");
    }
    assert!(statuses(None).iter().all(|status| *status == 403));
}

//! A case can fail: whatever it expects that is not so is reported, at its place.

use chassis_conformance::{Difference, Verdict};

use crate::{results, suite};

const CASE: &str = r#"about: It is as it says.
guest:
  script:
    proxy_on_request_headers: |
      proxy_get_header_map_value(request_headers, "a")
      proxy_log(info, "one")
      proxy_log(warn, "two")
      proxy_add_header_map_value(request_headers, "b", "2")
    proxy_on_response_headers: ""
request:
  headers:
    - a: 1
upstream:
  headers:
    - c: 3
  body: hello
expect:
  start: ""
  trace: |
    proxy_on_request_headers(2, 5, 1) -> 0
      proxy_get_header_map_value(request_headers, "a") -> ok "1"
      proxy_log(info, "one") -> ok
      proxy_log(warn, "two") -> ok
      proxy_add_header_map_value(request_headers, "b", "2") -> ok
    proxy_on_response_headers(2, 2, 0) -> 0
  callbacks: |
    proxy_on_request_headers(2, 5, 1) -> 0
    proxy_on_response_headers(2, 2, 0) -> 0
  logs: |
    info: one
    warn: two
  counts:
    proxy_log: 2
  upstream:
    path: /
    headers:
      - a: 1
      - b: 2
    body: ""
  client:
    status: 200
    headers:
      - c: 3
    body: hello
    trailers: []
then:
  - expect:
      upstream:
        method: GET
"#;

/// The differences on all engines that the case shows once `from` in it is `to`.
fn doctored(from: &str, to: &str) -> Vec<Difference> {
    assert_eq!(CASE.matches(from).count(), 1, "{from}");
    let suite = suite(&[("area/case.yaml", &CASE.replace(from, to))]).unwrap();
    let mut results = results(&suite);
    let ran = results.pop().unwrap().ran;
    assert!(results.is_empty());
    ran.into_iter()
        .map(|(engine, ran)| match ran.verdict {
            Verdict::Failed(difference) => *difference,
            other => panic!("{from} as {to} on {engine}: {other:?}"),
        })
        .collect()
}

/// Checks the first difference: its key, its line in the file, and what differs.
fn differs(from: &str, to: &str, at: &str, line: u64, expected: Option<&str>, seen: Option<&str>) {
    let differences = doctored(from, to);
    assert!(!differences.is_empty());
    for difference in differences {
        assert_eq!(difference.at, at, "{from} as {to}");
        assert_eq!(difference.line, line, "{from} as {to}");
        assert_eq!(difference.expected_line(), expected, "{from} as {to}");
        assert_eq!(difference.seen_line(), seen, "{from} as {to}");
    }
}

#[test]
fn what_is_as_it_says_passes() {
    let suite = suite(&[("area/case.yaml", CASE)]).unwrap();
    for result in results(&suite) {
        for (engine, ran) in &result.ran {
            assert_eq!(ran.verdict, Verdict::Passed, "{engine}");
            assert_eq!(ran.trips.len(), 2);
        }
        assert!(result.differs.is_empty());
    }
}

#[test]
fn a_wrong_status_is_found() {
    differs(
        r#""a") -> ok "1""#,
        r#""a") -> not_found"#,
        "expect.trace",
        21,
        Some(r#"  proxy_get_header_map_value(request_headers, "a") -> not_found"#),
        Some(r#"  proxy_get_header_map_value(request_headers, "a") -> ok "1""#),
    );
}

#[test]
fn a_wrong_value_is_found() {
    differs(
        r#""a") -> ok "1""#,
        r#""a") -> ok "2""#,
        "expect.trace",
        21,
        Some(r#"  proxy_get_header_map_value(request_headers, "a") -> ok "2""#),
        Some(r#"  proxy_get_header_map_value(request_headers, "a") -> ok "1""#),
    );
}

#[test]
fn another_order_of_host_calls_is_found() {
    differs(
        "      proxy_log(info, \"one\") -> ok\n      proxy_log(warn, \"two\") -> ok\n",
        "      proxy_log(warn, \"two\") -> ok\n      proxy_log(info, \"one\") -> ok\n",
        "expect.trace",
        22,
        Some("  proxy_log(warn, \"two\") -> ok"),
        Some("  proxy_log(info, \"one\") -> ok"),
    );
}

#[test]
fn a_host_call_that_nobody_expects_is_found() {
    let line = "      proxy_add_header_map_value(request_headers, \"b\", \"2\") -> ok\n";
    differs(
        line,
        "",
        "expect.trace",
        24,
        Some("proxy_on_response_headers(2, 2, 0) -> 0"),
        Some("  proxy_add_header_map_value(request_headers, \"b\", \"2\") -> ok"),
    );
}

#[test]
fn wrong_parameters_and_results_of_callbacks_are_found() {
    let callbacks = "callbacks: |\n    proxy_on_request_headers(2, 5, 1) -> 0";
    let seen = Some("proxy_on_request_headers(2, 5, 1) -> 0");
    for wrong in ["(2, 4, 1) -> 0", "(2, 5, 0) -> 0", "(3, 5, 1) -> 0", "(2, 5, 1) -> 1", "(2, 5, 1)"] {
        let expected = format!("proxy_on_request_headers{wrong}");
        let to = format!("callbacks: |\n    {expected}");
        differs(callbacks, &to, "expect.callbacks", 27, Some(&expected), seen);
    }
}

#[test]
fn another_order_of_callbacks_is_found() {
    differs(
        "callbacks: |\n    proxy_on_request_headers(2, 5, 1) -> 0\n    proxy_on_response_headers(2, 2, 0) -> 0\n",
        "callbacks: |\n    proxy_on_response_headers(2, 2, 0) -> 0\n    proxy_on_request_headers(2, 5, 1) -> 0\n",
        "expect.callbacks",
        27,
        Some("proxy_on_response_headers(2, 2, 0) -> 0"),
        Some("proxy_on_request_headers(2, 5, 1) -> 0"),
    );
}

#[test]
fn missing_and_superfluous_log_lines_are_found() {
    differs("    warn: two\n", "", "expect.logs", 31, None, Some("warn: two"));
    differs("    warn: two\n", "    warn: two\n    info: three\n", "expect.logs", 32, Some("info: three"), None);
    differs("    warn: two\n", "    error: two\n", "expect.logs", 31, Some("error: two"), Some("warn: two"));
}

#[test]
fn a_callback_at_the_start_that_nobody_made_is_found() {
    let vm_start = "proxy_on_vm_start(1, 0) -> 1";
    differs("start: \"\"", &format!("start: |\n    {vm_start}"), "expect.start", 19, Some(vm_start), None);
}

#[test]
fn a_wrong_count_is_found() {
    differs("proxy_log: 2", "proxy_log: 3", "expect.counts", 33, Some("proxy_log: 3"), Some("proxy_log: 2"));
}

#[test]
fn wrong_headers_are_found() {
    let upstream = "      - a: 1\n      - b: 2\n";
    let at = "expect.upstream.headers";
    differs(upstream, "      - a: 1\n      - b: 3\n", at, 35, Some("b: 3"), Some("b: 2"));
    differs(upstream, "      - b: 2\n      - a: 1\n", at, 35, Some("b: 2"), Some("a: 1"));
    differs(upstream, "      - a: 1\n", at, 35, None, Some("b: 2"));
    differs("    headers:\n      - c: 3\n", "    headers: []\n", "expect.client.headers", 41, None, Some("c: 3"));
}

#[test]
fn a_wrong_message_is_found() {
    differs("path: /", "path: /x", "expect.upstream.path", 35, Some("/x"), Some("/"));
    differs("status: 200", "status: 201", "expect.client.status", 41, Some("201"), Some("200"));
    differs(
        "    body: hello\n    tr",
        "    body: hullo\n    tr",
        "expect.client.body",
        41,
        Some("hullo"),
        Some("hello"),
    );
    differs("trailers: []", "trailers: [{ t: 1 }]", "expect.client.trailers", 41, Some("t: 1"), None);
}

#[test]
fn an_outcome_that_nobody_expects_is_found() {
    let start = "  start: \"\"\n";
    differs(start, "  outcome: paused\n", "expect.outcome", 0, Some("paused"), Some("response"));
    let crash = "  outcome: crash\n  error: { kind: trap }\n";
    differs(start, crash, "expect.error.kind", 19, Some("trap"), Some("none"));
    let trap = "proxy_log(info, \"one\")\n      proxy_log(warn, \"two\")";
    differs(trap, "(unreachable)", "expect.error.kind", 0, Some("none"), Some("trap"));
}

#[test]
fn a_further_request_is_judged_too() {
    differs("method: GET", "method: PUT", "then[0].expect.upstream.method", 49, Some("PUT"), Some("GET"));
}

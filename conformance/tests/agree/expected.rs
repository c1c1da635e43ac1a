//! What plugins are there for: results and log lines that agreeing engines could all miss.

use serde_json::Value;

use crate::inputs::{COMPOSITE, FAULT, HEADERS, Input, LARGE_PRIME, MIB, PRIME, REWRITE, TEXT};

/// What a plugin must do with an input.
struct Expected {
    language: &'static str,
    plugin: &'static str,
    input: &'static str,
    status: u64,
    /// The client's body, if it is told.
    body: Option<&'static str>,
    /// A line at level warn.
    log: Option<&'static str>,
}

const fn expect(
    (language, plugin): (&'static str, &'static str),
    input: &'static str,
    status: u64,
    body: Option<&'static str>,
    log: Option<&'static str>,
) -> Expected {
    Expected { language, plugin, input, status, body, log }
}

const FORBIDDEN: Option<&str> = Some("Access forbidden.\n");

const ALL: [Expected; 14] = [
    expect(("rust", "hello"), PRIME, 200, Some(""), Some("on_http_request_headers")),
    expect(("rust", "prime-auth"), PRIME, 200, Some(""), None),
    expect(("rust", "prime-auth"), LARGE_PRIME, 200, Some(""), None),
    expect(("rust", "prime-auth"), COMPOSITE, 403, FORBIDDEN, None),
    expect(("rust", "prime-auth"), TEXT, 403, FORBIDDEN, None),
    expect(("rust", "prime-auth-010"), LARGE_PRIME, 200, Some(""), None),
    expect(("rust", "prime-auth-010"), COMPOSITE, 403, FORBIDDEN, None),
    expect(("rust", "body-rewrite"), MIB, 200, None, None),
    expect(("assemblyscript", "fault-injection"), TEXT, 403, Some("neither this nor that"), None),
    expect(("go", "log"), TEXT, 200, Some(""), Some("run plugin ctx 1 with conf neither this nor that in http ctx 2")),
    expect(("go", "fault-injection"), FAULT, 503, Some("broken"), None),
    expect(("go", "response-headers"), HEADERS, 200, Some(""), None),
    expect(("go", "response-rewrite"), REWRITE, 404, Some("gone"), None),
    expect(("c", "headers"), PRIME, 200, Some(""), None),
];

pub(crate) fn check(language: &str, plugin: &str, input: &Input, runs: &[Value]) -> Result<(), String> {
    let meant =
        |expected: &&Expected| (expected.language, expected.plugin, expected.input) == (language, plugin, input.name);
    ALL.iter().filter(meant).try_for_each(|expected| expected.check(&runs[0]))
}

impl Expected {
    fn check(&self, run: &Value) -> Result<(), String> {
        let response = &run["response"];
        if response["status"] != self.status {
            return Err(format!("the status is {}, not {}: {}", response["status"], self.status, run["error"]));
        }
        if let Some(body) = self.body
            && response["body"] != body
        {
            return Err(format!("the body is {}, not {body:?}", response["body"]));
        }
        let warned = |log: &str| {
            let logs = run["logs"].as_array().into_iter().flatten();
            logs.into_iter().any(|line| line["level"] == "warn" && line["message"] == log)
        };
        match self.log {
            Some(log) if !warned(log) => Err(format!("{log:?} is not logged at warn: {}", run["logs"])),
            _ => Ok(()),
        }
    }
}

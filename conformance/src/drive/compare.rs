//! Whether engines agree.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::run::Run;

/// What may differ: which engine it was, how long it took, and what an engine can tell of a trap beyond its kind.
const MAY_DIFFER: [&str; 3] = ["engine", "duration_ns", "backtrace"];

/// Where two engines' runs differ first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The place in the JSON of the runs, as `runs[0].callbacks[3].result`.
    pub at: String,
    /// What the one engine came to, as JSON, cut to a readable length.
    pub one: String,
    /// What the other engine came to.
    pub other: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} against {}", self.at, self.one, self.other)
    }
}

/// The first difference between two engines' runs of the same plan; `None` if they agree.
pub fn difference(one: &[Run], other: &[Run]) -> Option<Disagreement> {
    let (mut one, mut other) = (serde_json::to_value(one).ok()?, serde_json::to_value(other).ok()?);
    for (one, other) in one.as_array_mut()?.iter_mut().zip(other.as_array_mut()?) {
        until_stopped(one, other);
    }
    let (at, one, other) = first(&one, &other, "runs")?;
    Some(Disagreement { at, one, other })
}

/// Of runs that a deadline ended, leaves what both came to: how far a guest gets until then depends on its speed.
fn until_stopped(a: &mut Value, b: &mut Value) {
    let stopped = |run: &Value| {
        let name = &run["error"]["callback"];
        let callbacks = run["callbacks"].as_array().filter(|_| run["error"]["kind"] == "deadline")?;
        callbacks.iter().rposition(|callback| callback["name"] == *name)
    };
    let (Some(at), Some(other)) = (stopped(a), stopped(b)) else { return };
    if at != other {
        return;
    }
    shorten(&mut a["logs"], &mut b["logs"]);
    let (a, b) = (&mut a["callbacks"][at], &mut b["callbacks"][at]);
    shorten(&mut a["host_calls"], &mut b["host_calls"]);
    for callback in [a, b] {
        callback.as_object_mut().map(|callback| callback.remove("omitted"));
    }
}

/// Cuts two lists to the same length.
fn shorten(a: &mut Value, b: &mut Value) {
    let (Some(a), Some(b)) = (a.as_array_mut(), b.as_array_mut()) else { return };
    let length = a.len().min(b.len());
    a.truncate(length);
    b.truncate(length);
}

fn first(a: &Value, b: &Value, path: &str) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            let inner = a.iter().zip(b).enumerate().find_map(|(i, (a, b))| first(a, b, &format!("{path}[{i}]")));
            let counts =
                || (a.len() != b.len()).then(|| (format!("{path}.length"), a.len().to_string(), b.len().to_string()));
            inner.or_else(counts)
        }
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.filter(|name| !MAY_DIFFER.contains(&name.as_str())).find_map(|name| {
                let value = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                first(&kind_only(name, value(a)), &kind_only(name, value(b)), &format!("{path}.{name}"))
            })
        }
        (a, b) => (a != b).then(|| (path.to_owned(), shown(a), shown(b))),
    }
}

/// Of a trap's message the part that all engines share: what is in parentheses are the engine's own words.
fn kind_only(name: &str, value: Value) -> Value {
    match (name, &value) {
        ("message", Value::String(text)) if text.starts_with("trap: ") => {
            Value::from(text.split(" (").next().unwrap_or_default())
        }
        _ => value,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differ(a: Value, b: Value) -> Option<String> {
        first(&a, &b, "runs").map(|(path, a, b)| format!("{path}: {a}, {b}"))
    }

    #[test]
    fn the_first_difference_is_placed() {
        let run = |status: &str| json!([{ "callbacks": [{ "host_calls": [{ "status": status }] }] }]);
        assert_eq!(differ(run("ok"), run("ok")), None);
        assert_eq!(
            differ(run("ok"), run("empty")).unwrap(),
            r#"runs[0].callbacks[0].host_calls[0].status: "ok", "empty""#
        );
        assert_eq!(differ(json!([1]), json!([1, 2])).unwrap(), "runs.length: 1, 2");
        assert_eq!(differ(json!({}), json!({ "body": "x" })).unwrap(), r#"runs.body: null, "x""#);
    }

    #[test]
    fn of_what_a_deadline_ended_the_beginning_counts() {
        let run = |kind: &str, statuses: &[&str]| {
            let calls: Vec<Value> = statuses.iter().map(|status| json!({ "status": status })).collect();
            let before = json!({ "name": "f", "host_calls": [1, 2] });
            let stopped = json!({ "name": "f", "host_calls": calls, "omitted": calls.len() });
            json!({ "error": { "kind": kind, "callback": "f" }, "logs": calls, "callbacks": [before, stopped] })
        };
        let differ = |mut a: Value, mut b: Value| {
            until_stopped(&mut a, &mut b);
            differ(a, b)
        };
        assert_eq!(differ(run("deadline", &["ok", "ok"]), run("deadline", &["ok"])), None);
        assert_eq!(differ(run("deadline", &[]), run("deadline", &["ok"])), None);
        assert!(differ(run("deadline", &["ok", "ok"]), run("deadline", &["empty"])).is_some());
        assert!(differ(run("trap", &["ok", "ok"]), run("trap", &["ok"])).is_some());
        assert!(differ(run("deadline", &["ok", "ok"]), run("trap", &["ok"])).is_some());
    }

    #[test]
    fn what_engines_are_free_in_is_left_out() {
        let a = json!({ "engine": "a", "duration_ns": 1, "backtrace": [], "message": "trap: unreachable (at 0x1)" });
        let b = json!({ "engine": "b", "duration_ns": 2, "message": "trap: unreachable" });
        assert_eq!(differ(a, b), None);
    }
}

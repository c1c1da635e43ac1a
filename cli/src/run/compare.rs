//! Whether engines agree.

use serde_json::Value;

use super::report::Run;

/// What may differ: which engine it was, how long it took, and what an engine can tell of a trap beyond its kind.
const MAY_DIFFER: [&str; 3] = ["engine", "duration_ns", "backtrace"];

/// The first difference between two engines' runs, in words; `None` if they agree.
pub(crate) fn difference(a: &[Run], b: &[Run]) -> Option<String> {
    let (a, b) = (serde_json::to_value(a).ok()?, serde_json::to_value(b).ok()?);
    let (path, a, b) = first(&a, &b, "runs")?;
    Some(format!("{path}: {a} against {b}"))
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
    fn what_engines_are_free_in_is_left_out() {
        let a = json!({ "engine": "a", "duration_ns": 1, "backtrace": [], "message": "trap: unreachable (at 0x1)" });
        let b = json!({ "engine": "b", "duration_ns": 2, "message": "trap: unreachable" });
        assert_eq!(differ(a, b), None);
    }
}

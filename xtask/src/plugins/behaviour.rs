//! What a module does, as `chassis run` shows it: two builds of the same sources must do the same, however much their
//! bytes differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use super::language::complete;

/// Each is given to every guest; what one of them makes nothing of shows how it refuses it. None leaves anything to
/// chance, since random numbers are other ones in each run.
const INPUTS: [&[&str]; 9] = [
    &[],
    &["--config", ""],
    &["--config", "neither this nor that"],
    &["--config", "x-a: 1\nx-b: 2", "-H", "token: 32323", "--request", "POST /", "--body", "banana"],
    &["--config", "an=>na", "-H", "token: 323232", "--upstream-body", "banana", "--chunk-size", "2"],
    &["--config", "request set x-a: 1\nresponse add x-b: 2\nresponse remove x-c", "--upstream-header", "x-c: 3"],
    &["--config", r#"{"headers": [{"name": "x-a", "value": "1"}]}"#, "--upstream-header", "x-a: 0"],
    &["--config", r#"{"status": 404, "body": "gone"}"#, "--upstream-body", "banana", "--chunk-size", "4"],
    &["--config", r#"{"http_status": 503, "body": "broken", "percentage": 100}"#, "--repeat", "2"],
];

/// What is told of a run that has to do with the run, not with the guest.
const INCIDENTAL: [&str; 2] = ["plugin", "duration_ns"];

/// The command line, built from the sources that lie there.
pub(super) struct Chassis(PathBuf);

impl Chassis {
    pub(super) fn build(root: &Path) -> Result<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        complete(cargo.current_dir(root).args(["build", "--quiet", "--package", "chassis-cli"]))?;
        Ok(Self(super::target(root).join("debug").join(format!("chassis{}", std::env::consts::EXE_SUFFIX))))
    }

    /// One line for each input for which the two modules do not do the same.
    pub(super) fn differences(&self, committed: &Path, fresh: &Path) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        for input in INPUTS {
            if self.run(committed, input)? != self.run(fresh, input)? {
                differences.push(format!("does something else when run with {input:?}"));
            }
        }
        Ok(differences)
    }

    fn run(&self, module: &Path, input: &[&str]) -> Result<Value> {
        let mut shown = self.shown(module, input)?.map_err(|error| anyhow!("{}: {error}", module.display()))?;
        strip(&mut shown);
        Ok(shown)
    }

    /// What `chassis run` shows of a module, or what it says where there are no runs to show.
    pub(super) fn shown(&self, module: &Path, input: &[&str]) -> Result<Result<Value, String>> {
        let output = Command::new(&self.0)
            .arg("run")
            .arg(module)
            .args(["--engine", "wasmi", "--json"])
            .args(input)
            .output()
            .with_context(|| format!("cannot start {}", self.0.display()))?;
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(shown) if shown["runs"].is_array() => Ok(Ok(shown)),
            _ => Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}

/// Removes what is incidental, and the calls of WASI, which are the standard library's and change with the compiler.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !INCIDENTAL.contains(&name.as_str()));
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => {
            let is_proxy_call = |item: &Value| {
                let name = item.get("status").and(item.get("name")).and_then(Value::as_str);
                name.is_none_or(|name| name.starts_with("proxy_"))
            };
            items.retain(is_proxy_call);
            items.iter_mut().for_each(strip);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_and_calls_of_the_standard_library_do_not_count() {
        let run = |duration: u32, more: &[Value]| {
            let mut calls = vec![json!({"name": "proxy_log", "args": ["2"], "status": "ok"})];
            calls.extend_from_slice(more);
            let mut run = json!({"runs": [{"plugin": duration.to_string(), "callbacks": [
                {"name": "_initialize", "result": null, "host_calls": calls, "duration_ns": duration}
            ]}]});
            strip(&mut run);
            run
        };
        let wasi = json!({"name": "random_get", "args": [], "status": "success"});
        let proxy = json!({"name": "proxy_done", "args": [], "status": "ok"});
        assert_eq!(run(1, &[]), run(2, &[wasi]));
        assert_ne!(run(1, &[]), run(1, &[proxy]));
        assert_eq!(run(1, &[])["runs"][0]["callbacks"][0]["host_calls"][0]["name"], "proxy_log");
    }
}

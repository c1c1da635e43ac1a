//! `cargo xtask higress`: plugins of the gateway Higress as they are published, on PyPI, which nobody here built. They
//! are fetched by pip in the version, and with the hash, of `plugins/higress/requirements.txt`, and never committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::behaviour::Chassis;
use super::language::{complete, in_path};
use super::{Plugins, on_demand, say, sources, tell};

const REQUIREMENTS: &str = "higress/requirements.txt";
const REQUESTS: &str = "higress/requests.json";

/// What each plugin is given, and what must come of it.
#[derive(Debug, Deserialize)]
struct Requests {
    /// Where the plugins lie in the package.
    folder: PathBuf,
    request: Message,
    upstream: Message,
    plugins: Vec<Published>,
}

#[derive(Debug, Deserialize)]
struct Message {
    line: Option<String>,
    header: String,
    body: String,
}

#[derive(Debug, Deserialize)]
struct Published {
    name: String,
    #[serde(default)]
    config: Value,
    /// The client's status.
    status: Option<u64>,
    /// A header that the plugin adds to the request.
    reaches_upstream: Option<(String, String)>,
    /// Imports that no host of the specification has, so that the plugin cannot be loaded.
    #[serde(default)]
    needs: Vec<String>,
}

/// Fetches the plugins and prints their folder, or gives each a request, too, and prints a table.
///
/// # Errors
///
/// If pip is missing, the plugins cannot be fetched, or one of them does not do what it should.
pub(crate) fn run(fetch_only: bool) -> Result<()> {
    let plugins = Plugins::find()?;
    let package = fetch(&plugins)?;
    let requests: Requests = serde_json::from_str(&sources::text(&plugins.directory, REQUESTS)?)
        .with_context(|| format!("plugins/{REQUESTS} is not valid"))?;
    let folder = package.join(&requests.folder);
    if fetch_only {
        tell(&folder);
        return Ok(());
    }
    requests.all_named(&folder)?;
    let chassis = Chassis::build(&plugins.root)?;
    let mut wrong = 0;
    say(&format!("{:<30} {:<14} {:>5}  result", "plugin", "version", "MB"));
    for plugin in &requests.plugins {
        let (version, module) = module(&folder, &plugin.name)?;
        let size = fs::metadata(&module)?.len();
        let result = requests.give(&chassis, plugin, &module)?;
        wrong += usize::from(result.is_err());
        let result = result.unwrap_or_else(|what| format!("WRONG: {what}"));
        say(&format!("{:<30} {version:<14} {:>5.1}  {result}", plugin.name, size as f64 / 1e6));
    }
    ensure!(wrong == 0, "{wrong} of {} plugins do not do what they should", requests.plugins.len());
    Ok(())
}

/// Installs the package into a folder of its own, unless it lies there already.
fn fetch(plugins: &Plugins) -> Result<PathBuf> {
    let package = on_demand(&plugins.root).join("higress");
    let (wanted, stamp) = (sources::read(&plugins.directory, REQUIREMENTS)?, package.join("requirements.txt"));
    if fs::read(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(package);
    }
    ensure!(in_path("pip"), "pip is needed to fetch the plugins");
    let _ = fs::remove_dir_all(&package);
    let mut pip = Command::new("pip");
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    pip.args(["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes", "--requirement"]);
    complete(pip.arg(plugins.directory.join(REQUIREMENTS)).arg("--target").arg(&package))?;
    // Last, so that what was begun only is fetched again.
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(package)
}

/// A plugin's version, of which there is one, and its module.
fn module(folder: &Path, name: &str) -> Result<(String, PathBuf)> {
    let versions = folder.join(name);
    let mut found = fs::read_dir(&versions).with_context(|| format!("cannot list {}", versions.display()))?;
    let version = found.next().with_context(|| format!("there is no version of {name}"))??;
    Ok((version.file_name().to_string_lossy().into_owned(), version.path().join("plugin.wasm")))
}

impl Requests {
    /// A plugin that a newer package brings must not be passed over.
    fn all_named(&self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !self.plugins.iter().any(|plugin| plugin.name == name) {
                bail!("plugins/{REQUESTS} does not name {name}");
            }
        }
        Ok(())
    }

    /// What came of it, in words; as an error if it is not what should come of it.
    fn give(&self, chassis: &Chassis, plugin: &Published, module: &Path) -> Result<Result<String, String>> {
        let config = plugin.config.to_string();
        let input = [
            "--request",
            self.request.line.as_deref().unwrap_or("GET /"),
            "--header",
            &self.request.header,
            "--body",
            &self.request.body,
            "--upstream-header",
            &self.upstream.header,
            "--upstream-body",
            &self.upstream.body,
            "--property",
            "route_name=route",
            "--config",
            &config,
            // Whether they do what they should is the question here, not how soon.
            "--deadline",
            "20s",
            "--start-deadline",
            "20s",
            "--max-memory",
            "256MiB",
        ];
        Ok(match chassis.shown(module, &input)? {
            Ok(shown) => plugin.judge(&shown["runs"][0]),
            Err(error) => Err(error),
        })
    }
}

impl Published {
    fn judge(&self, run: &Value) -> Result<String, String> {
        if run["outcome"] == "load_error" {
            return self.judge_refused(run["error"]["message"].as_str().unwrap_or("no message"));
        }
        let status = &run["response"]["status"];
        let result = format!("{} {status}", run["outcome"].as_str().unwrap_or("nothing"));
        let Some(wanted) = self.status else { return Err(format!("{result}, though it should not be loaded")) };
        if run["outcome"] == "paused" || *status != wanted {
            return Err(format!("{result}, not {wanted}: {}", run["error"]));
        }
        if let Some((name, value)) = &self.reaches_upstream {
            let headers = run["upstream_request"]["headers"].as_array().into_iter().flatten();
            let mut values = headers.filter(|header| header[0] == **name).map(|header| &header[1]);
            if !values.any(|sent| sent == value) {
                return Err(format!("{result}, but {name}: {value} did not reach the upstream"));
            }
            return Ok(format!("{result}, with {name}: {value}"));
        }
        Ok(result)
    }

    /// Of a plugin that was not loaded: it must be for what it needs, all of which is named.
    fn judge_refused(&self, error: &str) -> Result<String, String> {
        let named = self.needs.iter().all(|import| error.contains(&format!("missing import {import}: ")));
        if self.needs.is_empty() || !named {
            return Err(error.to_owned());
        }
        Ok(format!("not loaded: needs {}", self.needs.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published(json: Value) -> Published {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_plugin_that_does_not_do_what_it_should_is_found_out() {
        let plugin = published(json!({"name": "a", "status": 200, "reaches_upstream": ["x-a", "1"]}));
        let run = |status: u64, outcome: &str, value: &str| {
            let headers = json!([["x-b", "1"], ["x-a", value]]);
            json!({"outcome": outcome, "response": {"status": status}, "upstream_request": {"headers": headers}})
        };
        assert!(plugin.judge(&run(200, "response", "1")).is_ok());
        assert!(plugin.judge(&run(200, "response", "2")).is_err());
        assert!(plugin.judge(&run(503, "paused", "1")).is_err());
        assert!(plugin.judge(&json!({"outcome": "load_error", "response": null})).is_err());
        assert!(plugin.judge_refused("missing import env.proxy_redis_init: an extension").is_err());
    }

    #[test]
    fn a_plugin_is_refused_only_for_what_it_needs() {
        let plugin = published(json!({"name": "a", "needs": ["env.x", "env.y"]}));
        assert!(plugin.judge_refused("missing import env.x: why; missing import env.y: why").is_ok());
        assert!(plugin.judge_refused("missing import env.x: why").is_err());
        assert!(plugin.judge(&json!({"outcome": "response", "response": {"status": 200}})).is_err());
    }

    #[test]
    fn what_is_committed_can_be_read() {
        let plugins = Plugins::find().unwrap();
        let requests: Requests = serde_json::from_str(&sources::text(&plugins.directory, REQUESTS).unwrap()).unwrap();
        assert!(requests.plugins.iter().all(|plugin| plugin.status.is_some() == plugin.needs.is_empty()));
    }
}

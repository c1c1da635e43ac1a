//! Plugins that are not committed: what makes them here, what they are given, and what must come of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::Plugin;
use crate::inputs::{Input, input};

/// A plugin that is made when it is wanted.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) inputs: Arc<[Input]>,
    task: &'static Task,
    /// From what the task prints to the module.
    find: fn(&Path, &str) -> Option<PathBuf>,
    wanted: Vec<Wanted>,
}

/// A task of `cargo xtask` that prints a path, done at most once.
struct Task {
    needs: &'static str,
    arguments: &'static [&'static str],
    path: OnceLock<Result<PathBuf, String>>,
}

/// What must come of a request.
enum Wanted {
    /// A response of this status, and a header that reached the upstream.
    Status(u64, Option<(String, String)>),
    /// The module cannot be loaded, for the lack of these imports.
    Missing(Vec<String>),
}

static WAF: Task = Task { needs: "go", arguments: &["plugins", "--waf"], path: OnceLock::new() };
static HIGRESS: Task = Task { needs: "pip", arguments: &["higress", "--fetch"], path: OnceLock::new() };

/// A start of the firewall takes a minute on an interpreter that is slow, on a machine that is busy several.
const DEADLINE: Duration = Duration::from_secs(600);
const MEMORY: u64 = 512 << 20;

pub(crate) fn all() -> Vec<Made> {
    let mut all = published();
    all.push(firewall());
    all
}

/// Refuses an injection, and lets the next request pass.
fn firewall() -> Made {
    let request =
        |path| input("an injection, then none").line("GET", path).header("user-agent", "a").header("accept", "*/*");
    let attack = Input { memory_bytes: MEMORY, ..request("/?id=1%20or%201=1") };
    Made {
        name: "go/waf".to_owned(),
        inputs: [Input { then: vec![request("/?id=1").request], ..attack }].into(),
        task: &WAF,
        find: |module, _| Some(module.to_owned()),
        wanted: vec![Wanted::Status(403, None), Wanted::Status(200, None)],
    }
}

/// `plugins/higress/requests.json`.
#[derive(Deserialize)]
struct Requests {
    request: Message,
    upstream: Message,
    plugins: Vec<Published>,
}

#[derive(Deserialize)]
struct Message {
    line: Option<String>,
    header: String,
    body: String,
}

#[derive(Deserialize)]
struct Published {
    name: String,
    #[serde(default)]
    config: Value,
    status: Option<u64>,
    reaches_upstream: Option<(String, String)>,
    #[serde(default)]
    needs: Vec<String>,
}

/// The plugins of Higress.
fn published() -> Vec<Made> {
    let requests: Requests = serde_json::from_str(include_str!("../../../plugins/higress/requests.json")).unwrap();
    let header = |message: &Message| {
        let (name, value) = message.header.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    let made = |plugin: &Published| {
        let (method, path) = requests.request.line.as_deref().unwrap().split_once(' ').unwrap();
        let ((name, value), (upstream_name, upstream_value)) = (header(&requests.request), header(&requests.upstream));
        let given = input("a request for a model")
            .line(method, path)
            .header(&name, value)
            .body(requests.request.body.clone())
            .upstream_header(&upstream_name, upstream_value)
            .upstream_body(requests.upstream.body.clone())
            .config(plugin.config.to_string());
        let properties = &[("route_name", "route")];
        let wanted = match plugin.status {
            Some(status) => Wanted::Status(status, plugin.reaches_upstream.clone()),
            None => Wanted::Missing(plugin.needs.clone()),
        };
        Made {
            name: format!("higress/{}", plugin.name),
            inputs: [Input { properties, memory_bytes: MEMORY, ..given }].into(),
            task: &HIGRESS,
            find: |folder, name| {
                let version = std::fs::read_dir(folder.join(name)).ok()?.next()?.ok()?;
                Some(version.path().join("plugin.wasm"))
            },
            wanted: vec![wanted],
        }
    };
    requests.plugins.iter().map(made).collect()
}

impl Made {
    /// Makes it, or says why it cannot be made here.
    pub(crate) fn plugin(&self) -> Result<Plugin, String> {
        let name = self.name.rsplit('/').next().unwrap_or_default().to_owned();
        let path = self.task.path()?;
        let file = (self.find)(&path, &name).ok_or_else(|| format!("there is no {name} in {}", path.display()))?;
        Ok(Plugin { language: "", name, file, deadline: DEADLINE })
    }

    /// Compares the runs of the only input with what is wanted.
    pub(crate) fn check(&self, runs: &[Vec<Value>]) -> Result<(), String> {
        self.wanted.iter().zip(&runs[0]).try_for_each(|(wanted, run)| wanted.check(run))
    }
}

impl Task {
    fn path(&self) -> Result<PathBuf, String> {
        self.path.get_or_init(|| self.carry_out()).clone()
    }

    fn carry_out(&self) -> Result<PathBuf, String> {
        if Command::new(self.needs).arg("--help").output().is_err() {
            return Err(format!("{} is not there", self.needs));
        }
        let mut task = Command::new(env!("CARGO"));
        task.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env("RUST_BACKTRACE", "0");
        let ended = task.args(["xtask"]).args(self.arguments).output().map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&ended.stdout);
        match printed.trim().lines().last() {
            Some(path) if ended.status.success() => Ok(path.into()),
            _ => {
                let said = String::from_utf8_lossy(&ended.stderr);
                let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
                let last = lines[lines.len().saturating_sub(3)..].join("; ");
                Err(format!("cargo xtask {}: {last}", self.arguments.join(" ")))
            }
        }
    }
}

impl Wanted {
    fn check(&self, run: &Value) -> Result<(), String> {
        match self {
            Wanted::Missing(imports) => {
                let message = run["error"]["message"].as_str().unwrap_or_default();
                let named = imports.iter().all(|import| message.contains(&format!("missing import {import}: ")));
                if run["outcome"] == "load_error" && named { Ok(()) } else { Err(format!("not missing: {run}")) }
            }
            Wanted::Status(status, header) => {
                if run["response"]["status"] != *status || run["outcome"] == "paused" {
                    let outcome = &run["outcome"];
                    return Err(format!("{outcome} {}, not {status}: {}", run["response"]["status"], run["error"]));
                }
                let Some((name, value)) = header else { return Ok(()) };
                let sent = run["upstream_request"]["headers"].as_array().into_iter().flatten();
                let mut values = sent.filter(|header| header[0] == **name).map(|header| &header[1]);
                if values.any(|sent| sent == value) {
                    return Ok(());
                }
                Err(format!("{name}: {value} did not reach the upstream: {}", run["upstream_request"]))
            }
        }
    }
}

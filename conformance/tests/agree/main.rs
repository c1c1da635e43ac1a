//! Plugins of the repository do the same on every engine: callbacks, host calls, statuses, logs, results; and what they
//! are there for.
//!
//! Plugins are found in their folders, so one that is added is tested. A trial, `<language>/<plugin>::<engine>`, gives
//! one plugin every input on one engine, and compares with what the same did on the first engine that was compiled in.
//! On that engine it is done twice, so that what is left to chance is found.
//!
//! Plugins that are too large to be committed, or not ours, are built or fetched by the first trial that wants them.
//! That and running them takes minutes, so `CHASSIS_LONG=1` has to ask for it, as `cargo xtask ci --full` does. Where they
//! cannot be had, their trials are reported as ignored, with the reason; `CHASSIS_REQUIRE=all` lets them fail.
#![allow(clippy::unwrap_used)]

mod expected;
mod inputs;
mod made;
mod play;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chassis_conformance::drive::Origin;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};

use crate::inputs::{Input, inputs};
use crate::play::Stage;

/// The folders of plugins, and what plugins end with there.
const LANGUAGES: [(&str, &str); 5] =
    [("assemblyscript", "wasm"), ("c", "wasm"), ("go", "wasm"), ("rust", "wasm"), ("wat", "wat")];

fn main() {
    let arguments = Arguments::from_args();
    let inputs: Arc<[Input]> = inputs().into();
    let mut trials = vec![
        Trial::test("every_language_has_plugins", || every_language_has_plugins().map_err(Failed::from)),
        Trial::test("a_doctored_run_is_found_out", || {
            a_doctored_run_is_found_out();
            Ok(())
        }),
    ];
    let engines = chassis_engines::compiled_in();
    for plugin in plugins() {
        let reference = Arc::new(Reference::new(engines[0], &plugin, &inputs));
        for engine in &engines {
            let name = format!("{}/{}::{engine}", plugin.language, plugin.name);
            let (plugin, reference, inputs, engine) = (plugin.clone(), reference.clone(), inputs.clone(), *engine);
            trials.push(Trial::test(name, move || {
                check(engine, &plugin, &inputs, &reference).map(|_| ()).map_err(Failed::from)
            }));
        }
    }
    for made in made::all() {
        let made = Arc::new(made);
        let reference = Arc::new(OnceLock::new());
        for engine in &engines {
            let (made, reference, first, engine) = (made.clone(), reference.clone(), engines[0], *engine);
            let name = format!("{}::{engine}", made.name);
            let trial = move || match if long() { made.plugin() } else { Err(LONG.to_owned()) } {
                Ok(plugin) => {
                    let reference = reference.get_or_init(|| Reference::new(first, &plugin, &made.inputs));
                    let runs = check(engine, &plugin, &made.inputs, reference)?;
                    made.check(&runs).map(|()| Completion::Completed).map_err(Failed::from)
                }
                Err(missing) if required() && long() => Err(missing.into()),
                Err(missing) => Ok(Completion::ignored_with(missing)),
            };
            trials.push(Trial::ignorable_test(name, trial));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether what cannot be tested here is a failure.
fn required() -> bool {
    std::env::var("CHASSIS_REQUIRE").is_ok_and(|required| required == "all")
}

/// Why plugins that are not committed are not run by each change's tests.
const LONG: &str = "takes minutes: `cargo xtask ci --full` runs it";

/// Whether what takes minutes is to be run.
fn long() -> bool {
    std::env::var_os("CHASSIS_LONG").is_some()
}

#[derive(Clone)]
struct Plugin {
    language: &'static str,
    name: String,
    file: PathBuf,
    /// How long a callback may run.
    deadline: Duration,
}

fn plugins() -> Vec<Plugin> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let mut found = Vec::new();
    for (language, extension) in LANGUAGES {
        for entry in std::fs::read_dir(folder.join(language)).unwrap() {
            let file = entry.unwrap().path();
            if file.extension() == Some(OsStr::new(extension)) {
                let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                let deadline = deadline(&name);
                found.push(Plugin { language, name, file, deadline });
            }
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn every_language_has_plugins() -> Result<(), String> {
    let found = plugins();
    for (language, _) in LANGUAGES {
        let count = found.iter().filter(|plugin| plugin.language == language).count();
        let least = if language == "wat" { 15 } else { 1 };
        if count < least {
            return Err(format!("{count} plugins in {language}"));
        }
    }
    if inputs().len() < 12 { Err("inputs are missing".to_owned()) } else { Ok(()) }
}

/// What a plugin does on the first engine, by input; played when the first trial asks for it, and gone with the last.
struct Reference {
    engine: &'static str,
    /// Its code serves for the second time, too.
    stage: Stage,
    plugin: Plugin,
    inputs: Arc<[Input]>,
    origin: Origin,
    runs: OnceLock<Vec<Vec<Value>>>,
}

impl Reference {
    fn new(engine: &'static str, plugin: &Plugin, inputs: &Arc<[Input]>) -> Self {
        let (plugin, inputs) = (plugin.clone(), inputs.clone());
        Reference { engine, stage: Stage::new(engine), plugin, inputs, origin: Origin::now(), runs: OnceLock::new() }
    }

    fn runs(&self) -> &[Vec<Value>] {
        self.runs.get_or_init(|| {
            let play = |input| self.stage.play(&self.plugin.file, input, &self.origin, self.plugin.deadline);
            self.inputs.iter().map(play).collect()
        })
    }
}

/// A guest that never returns is to be stopped soon, and every other one not, however slow the engine and however busy
/// the machine.
fn deadline(plugin: &str) -> Duration {
    let endless = plugin.starts_with("loop") || plugin == "grow";
    Duration::from_millis(if endless { 20 } else { 20_000 })
}

/// One plugin with every input on one engine: its runs by input, or everything that is wrong.
fn check(engine: &str, plugin: &Plugin, inputs: &[Input], reference: &Reference) -> Result<Vec<Vec<Value>>, String> {
    let other = (engine != reference.engine).then(|| Stage::new(engine));
    let stage = other.as_ref().unwrap_or(&reference.stage);
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (input, expected) in inputs.iter().zip(reference.runs()) {
        let runs = stage.play(&plugin.file, input, &reference.origin, plugin.deadline);
        if let Err(difference) = agree(expected, &runs, input.requests()) {
            wrong.push(format!("{}: {difference} ({}, then {engine})", input.name, reference.engine));
        }
        if let Err(surprise) = expected::check(plugin.language, &plugin.name, input, &runs) {
            wrong.push(format!("{}: {surprise}", input.name));
        }
        all.push(runs);
    }
    if wrong.is_empty() { Ok(all) } else { Err(format!("{} of {}:\n{}", wrong.len(), inputs.len(), wrong.join("\n"))) }
}

/// What may differ: which engine it was, how long it took, and how much an engine can tell of a guest's frames.
const MAY_DIFFER: [&str; 3] = ["engine", "duration_ns", "backtrace"];

/// Whether two engines have the same runs, of which there are `most` unless the plugin was not loaded.
fn agree(ours: &[Value], others: &[Value], most: usize) -> Result<(), String> {
    let expected = if ours.first().is_some_and(|run| run["outcome"] == "load_error") { 1 } else { most };
    if ours.len() != expected || others.len() != expected {
        return Err(format!("{} runs and {}, not {expected}", ours.len(), others.len()));
    }
    ours.iter().zip(others).enumerate().try_for_each(|(i, (a, b))| {
        let (mut a, mut b) = (a.clone(), b.clone());
        if [&a, &b].iter().all(|run| run["error"]["kind"] == "deadline") {
            until_stopped(&mut a, &mut b);
        }
        difference(&a, &b, &format!("runs[{i}]")).map_or(Ok(()), Err)
    })
}

/// How far a guest gets until its deadline depends on how fast it is: what both did is compared.
fn until_stopped(a: &mut Value, b: &mut Value) {
    let last = |run: &Value| run["callbacks"].as_array().map_or(0, Vec::len).saturating_sub(1);
    let callback = format!("/callbacks/{}", last(a));
    for pointer in ["/logs", &format!("{callback}/host_calls")] {
        let lists = (a.pointer_mut(pointer).and_then(Value::as_array_mut), b.pointer_mut(pointer));
        if let (Some(a), Some(b)) = (lists.0, lists.1.and_then(Value::as_array_mut)) {
            let length = a.len().min(b.len());
            a.truncate(length);
            b.truncate(length);
        }
    }
    for run in [a, b] {
        if let Some(callback) = run.pointer_mut(&callback).and_then(Value::as_object_mut) {
            callback.remove("omitted");
        }
    }
}

fn difference(a: &Value, b: &Value, path: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.filter(|name| !MAY_DIFFER.contains(&name.as_str())).find_map(|name| {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                difference(&of(a), &of(b), &format!("{path}.{name}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]")))
        }
        (a, b) => (a != b).then(|| format!("{path}: {} against {}", excerpt(a), excerpt(b))),
    }
}

/// A value's first characters.
fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// What is compared is compared: any change of a real run but to what may differ is found.
fn a_doctored_run_is_found_out() {
    let plugins = plugins();
    let prime = plugins.iter().find(|plugin| plugin.name == "prime-auth").unwrap();
    let inputs = inputs();
    let input = inputs.iter().find(|input| input.name == inputs::COMPOSITE).unwrap();
    let stage = Stage::new(chassis_engines::compiled_in()[0]);
    let runs = stage.play(&prime.file, input, &Origin::now(), prime.deadline);
    let doctored = |pointer: &str, value: Value| {
        let mut others = runs.clone();
        *others[0].pointer_mut(pointer).expect(pointer) = value;
        agree(&runs, &others, 1)
    };
    let at =
        runs[0]["callbacks"].as_array().unwrap().iter().position(|call| call["name"] == "proxy_on_request_headers");
    let call = |rest: &str| format!("/callbacks/{}/{rest}", at.unwrap());
    for (pointer, value) in [
        ("/outcome".to_owned(), json!("response")),
        ("/error".to_owned(), json!({ "kind": "trap" })),
        ("/response/status".to_owned(), json!(200)),
        ("/response/headers/0/1".to_owned(), json!("other")),
        ("/response/body".to_owned(), json!("Access forbidden.")),
        ("/logs".to_owned(), json!([{ "level": "warn" }])),
        (call("name"), json!("proxy_on_request_body")),
        (call("context"), json!(3)),
        (call("result"), json!(0)),
        (call("host_calls/0/name"), json!("proxy_get_property")),
        (call("host_calls/0/args/1"), json!("Token")),
        (call("host_calls/0/status"), json!("not_found")),
        ("/callbacks".to_owned(), json!([])),
    ] {
        assert!(doctored(&pointer, value).is_err(), "{pointer}");
    }
    assert_eq!(agree(&runs, &runs, 1), Ok(()));
    assert_eq!(doctored(&call("duration_ns"), json!(1)), Ok(()));
    assert!(agree(&runs, &runs, 2).is_err());
}

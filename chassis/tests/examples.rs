//! The examples, as they are built with this package, do what they say.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs an example. `cargo test -p chassis` builds them; with a choice of targets (`--test`, `--lib`) cargo does not.
fn example(name: &str, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().with_file_name("examples").join(name);
    let output = Command::new(&program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{}: {error}; build it: cargo test -p chassis", program.display()))
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What an example said that failed.
fn failed(output: Output) -> String {
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    String::from_utf8(output.stderr).unwrap()
}

const PASSED: &str = "\
to the upstream: :method: GET
to the upstream: :path: /
to the upstream: :authority: localhost
to the upstream: :scheme: http
to the upstream: x-by: chassis
to the client: :status: 204
to the client: x-by: chassis
";

#[test]
fn the_host_prints_what_passed_its_plugin_on_every_engine() {
    for engine in chassis::compiled_in() {
        assert_eq!(stdout(example("host", &[engine])), PASSED, "{engine}");
    }
}

#[test]
fn the_host_runs_on_the_default_engine_or_says_that_there_is_none() {
    let output = example("host", &[]);
    match chassis::default_engine() {
        Some(_) => assert_eq!(stdout(output), PASSED),
        None => assert_eq!(failed(output), "error: there is no engine\n"),
    }
}

#[test]
fn an_engine_that_is_not_there_is_said_in_plain_words() {
    for engine in chassis::ENGINES.iter().filter(|engine| !engine.is_available()) {
        let error = chassis::open(engine.name, chassis::Profile::Deadline).err().unwrap().to_string();
        let name = engine.name;
        assert_eq!(error, format!("engine `{name}` was not compiled in; build with `--features {name}`"));
        assert_eq!(failed(example("host", &[name])), format!("error: {error}\n"));
    }
    let known = chassis::ENGINES.map(|engine| engine.name).join(", ");
    assert_eq!(failed(example("host", &["v8"])), format!("error: there is no engine `v8`; known are {known}\n"));
}

#[test]
fn the_host_has_at_most_40_lines_of_code() {
    let text = include_str!("../../examples/host.rs");
    let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let count = code.count();
    assert!(count <= 40, "{count}");
}

#[test]
fn an_engine_of_ones_own_runs_a_plugin_and_ends_one_that_is_stuck() {
    let printed = stdout(example("own_engine", &[]));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "greeter runs on own 1.0.0");
    assert_eq!(lines[1], "Request: :method: GET");
    assert_eq!(lines[5], "Request: x-greeting: hello");
    assert_eq!(lines[6], "stuck runs on own 1.0.0");
    let rest = lines[7..].join("\n");
    assert!(rest.contains("stuck: ") && rest.contains("deadline"), "{printed}");
    assert!(rest.contains("Response: :status: 503") && !rest.contains("Request: "), "{printed}");
}

/// The engines are types too, for code that is generic over them.
#[test]
fn every_engine_can_be_made_with_settings_of_ones_own() {
    let names: &[&str] = &[
        #[cfg(feature = "wasmtime")]
        name_of(chassis::WasmtimeEngine::new(chassis::Profile::Fuel).unwrap()),
        #[cfg(feature = "wasmer")]
        name_of(chassis::WasmerEngine::new(chassis::Profile::Fuel).unwrap()),
        #[cfg(feature = "wasmedge")]
        name_of(chassis::WasmedgeEngine::new(chassis::Profile::Fuel).unwrap()),
        #[cfg(feature = "wasmi")]
        name_of(chassis::WasmiEngine::new(chassis::Profile::Fuel).unwrap()),
    ];
    assert_eq!(names, chassis::compiled_in());
}

#[allow(dead_code)]
fn name_of<E: chassis::engine_api::Engine>(engine: E) -> &'static str {
    let engine = chassis::proxy_wasm(engine);
    assert_eq!(engine.profile(), chassis::Profile::Fuel);
    engine.capabilities().name
}

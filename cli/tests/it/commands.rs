//! What holds for all commands: help, exit codes, colours, pipes, completions.

use std::process::{Command, Stdio};

use crate::{all_engines, available_engines, chassis, listed_engines, output, plugin};

const COMMANDS: [&str; 7] = ["serve", "run", "inspect", "engines", "conformance", "bench", "completions"];

#[test]
fn each_command_has_help_that_fits_into_a_terminal() {
    let help = output(["--help"]);
    assert!(help.stdout.contains("Examples:\n") && help.stdout.contains("Exit codes:\n"), "{}", help.stdout);
    for command in COMMANDS {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command} is not in the list:\n{}", help.stdout);
        for option in ["-h", "--help"] {
            let help = output([command, option]);
            assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
            assert!(help.stdout.contains(&format!("Usage: chassis {command} ")), "{}", help.stdout);
            assert!(help.stdout.lines().all(|line| line.chars().count() <= 100), "{}", help.stdout);
            assert_eq!(help.stdout.contains("\nExamples:\n"), option == "--help", "{}", help.stdout);
        }
    }
    // It talks to its parent process only.
    assert!(!help.stdout.contains("\n  compile"), "{}", help.stdout);
}

#[test]
fn a_command_line_that_is_wrong_is_2() {
    let hello = plugin("rust/hello.wasm");
    let hello = hello.to_str().unwrap();
    let wrong: [&[&str]; 9] = [
        &[],
        &["no-such"],
        &["--no-such"],
        &["inspect"],
        &["serve"],
        &["completions", "cmd"],
        &["inspect", hello, "--engine", "v9"],
        &["engines", "--engine", "wasmi"],
        &["run", hello, "--deadline", "0s"],
    ];
    for args in wrong {
        let ended = output(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty(), "{args:?}");
    }
}

#[test]
#[cfg_attr(engines = "none", ignore = "no engine was compiled in")]
fn a_plugin_that_fails_is_3_and_engines_that_agree_are_0() {
    let run = |name: &str| output(["run".as_ref(), plugin(name).as_os_str(), "--engine".as_ref(), "all".as_ref()]);
    assert_eq!(run("rust/hello.wasm").code, 0);
    assert_eq!(run("wat/trap.wat").code, 3);
    assert_eq!(run("wat/loop-initialize.wat").code, 3);
}

/// The features with which these tests were built are those of the binary.
#[test]
fn the_engines_are_those_of_the_features_and_the_first_is_the_default() {
    let features = [
        ("wasmtime", cfg!(feature = "wasmtime")),
        ("wasmer", cfg!(feature = "wasmer")),
        ("wasmedge", cfg!(feature = "wasmedge")),
        ("wasmi", cfg!(feature = "wasmi")),
    ];
    let chosen: Vec<&str> = features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
    assert_eq!(available_engines(), chosen);
    let defaults: Vec<_> = listed_engines().into_iter().filter(|engine| engine["default"] == true).collect();
    let defaults: Vec<&str> = defaults.iter().map(|engine| engine["name"].as_str().unwrap()).collect();
    assert_eq!(defaults, chosen.first().copied().into_iter().collect::<Vec<_>>());

    // The table has a column for each, and a line for each that is missing.
    let table = output(["engines"]);
    if chosen.is_empty() {
        let says = "error: no engine was compiled in; build with `--features wasmtime` or `--features wasmer` or \
                    `--features wasmedge` or `--features wasmi`\n";
        assert_eq!((table.code, table.stdout.as_str(), table.stderr.as_str()), (5, "", says));
        let json = output(["engines", "--json"]);
        assert_eq!((json.code, json.stderr.as_str()), (5, says));
        return;
    }
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    let missing = table.stdout.lines().filter(|line| line.contains("was not compiled in")).count();
    assert_eq!(missing, features.len() - chosen.len(), "{}", table.stdout);
    let header: Vec<&str> = table.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, chosen);
    let ran = output(["run".as_ref(), "--json".as_ref(), plugin("rust/hello.wasm").as_os_str()]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["runs"][0]["engine"]), (0, &serde_json::json!(chosen[0])));
}

#[test]
#[cfg_attr(
    all(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"),
    ignore = "every engine was compiled in"
)]
fn an_engine_that_was_not_compiled_in_is_5() {
    let available = available_engines();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let hello = plugin("rust/hello.wasm");
    let text = format!(
        "listen: [127.0.0.1:0]\nwasm: {{ plugins: [{{ name: a, file: \"{}\" }}] }}\nroutes:\n  - uri: /*\n    \
         upstream: {{ nodes: {{ \"builtin:echo\": 1 }} }}\n",
        hello.display()
    );
    std::fs::write(&file, &text).unwrap();
    let (hello, file) = (hello.to_str().unwrap(), file.to_str().unwrap());
    let commands: [&[&str]; 5] =
        [&["run", hello], &["inspect", hello], &["serve", file], &["conformance"], &["bench", "engines"]];
    let listed = output(["engines"]);
    assert_eq!(listed.code, if available.is_empty() { 5 } else { 0 });
    for missing in all_engines().iter().filter(|name| !available.contains(name)) {
        let says = format!("engine `{missing}` was not compiled in; build with `--features {missing}`");
        assert!(available.is_empty() || listed.stdout.contains(&says), "{}", listed.stdout);
        for command in commands {
            let ended = output([command, &["--engine", missing]].concat());
            assert_eq!((ended.code, ended.stderr), (5, format!("error: {says}\n")), "{command:?}");
        }
        let named = dir.path().join("named.yaml");
        std::fs::write(&named, text.replace("name: a,", &format!("name: a, engine: {missing},"))).unwrap();
        let ended = output(["serve", named.to_str().unwrap()]);
        assert_eq!(ended.code, 5, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("plugin `a`: ") && ended.stderr.ends_with(&format!("{says}\n")),
            "{}",
            ended.stderr
        );
    }
    if available.is_empty() {
        for command in commands {
            let ended = output(command);
            assert_eq!(ended.code, 5, "{}", ended.stderr);
            assert!(ended.stderr.contains("no engine was compiled in; build with `--features "), "{}", ended.stderr);
        }
    }
}

#[test]
#[cfg_attr(engines = "none", ignore = "no engine was compiled in")]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let trap = plugin("wat/trap.wat");
    let marker = plugin("wat/no-marker.wat");
    for command in [["inspect".as_ref(), marker.as_os_str()], ["run".as_ref(), trap.as_os_str()]] {
        let coloured = |when: &[&str]| {
            let ended = chassis(command).args(when).output().unwrap();
            [ended.stdout, ended.stderr].concat().contains(&b'\x1b')
        };
        assert!(!coloured(&[]) && !coloured(&["--color", "auto"]) && !coloured(&["--color", "never"]), "{command:?}");
        assert!(coloured(&["--color", "always"]) && coloured(&["--color=always"]), "{command:?}");
        assert!(!coloured(&["--color", "always", "--json"]) || command[0] == "inspect", "{command:?}");
    }
    let json = chassis(["--color=always", "inspect", "--json"]).arg(&trap).output().unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).is_ok());
}

#[test]
fn whoever_has_read_enough_may_go() {
    let hello = plugin("rust/hello.wasm");
    let hello = hello.to_str().unwrap();
    let commands: [&[&str]; 2] = [&["--help"], &["completions", "zsh"]];
    let need_an_engine: [&[&str]; 5] =
        [&["engines"], &["engines", "--json"], &["inspect", hello], &["inspect", hello, "--json"], &["run", hello]];
    let is_one_there = !available_engines().is_empty();
    for args in commands.into_iter().chain(need_an_engine.into_iter().filter(|_| is_one_there)) {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chassis"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command.args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs a device that is full")]
fn output_that_cannot_be_written_is_an_error() {
    let commands: [&[&str]; 3] = [&["completions", "bash"], &["engines", "--json"], &["engines"]];
    // Without an engine the list is empty, and its text with it.
    let printing = if available_engines().is_empty() { 2 } else { 3 };
    for args in &commands[..printing] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chassis"));
        let ended = command.args(*args).stdout(full).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: the output cannot be written: "), "{stderr}");
    }
}

#[test]
fn completions_know_commands_options_and_engines() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""));
        for command in COMMANDS {
            assert!(script.stdout.contains(command), "{shell}, {command}");
        }
        assert!(script.stdout.contains("log-format"), "{shell}");
        assert!(!script.stdout.contains("parent process") && !script.stdout.contains("worker'"), "{shell}");
        if matches!(shell, "bash" | "zsh" | "fish") {
            assert!(all_engines().iter().all(|engine| script.stdout.contains(engine)), "{shell}");
        }
    }
}

/// Whether there is such a program.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn shells_that_are_here_read_their_completions() {
    let dir = tempfile::tempdir().unwrap();
    let mut read = 0;
    for shell in ["bash", "zsh", "fish"].into_iter().filter(|shell| has(shell)) {
        let file = dir.path().join(shell);
        std::fs::write(&file, output(["completions", shell]).stdout).unwrap();
        let ended = Command::new(shell).arg("-n").arg(&file).output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && stderr.is_empty(), "{shell}: {stderr}");
        read += 1;
    }
    if !has("bash") {
        return assert_eq!(read, 0);
    }
    // What bash would offer after `chassis serve --engine wasm`.
    let words = "source \"$1\"; COMP_WORDS=(chassis serve --engine wasm); COMP_CWORD=3; \
                 _chassis chassis wasm --engine; echo \"${COMPREPLY[@]}\"";
    let ended = Command::new("bash").args(["-c", words, "bash"]).arg(dir.path().join("bash")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), all_engines().join(" "), "{ended:?}");
}

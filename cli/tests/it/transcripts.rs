//! Transcripts: what commands print, word for word. The files are documentation too.
//!
//! A file has commands, each after `$ `, run in the root of the repository; below each what it printed, first on the
//! standard output, then on the standard error, and its exit code if that is not 0. What differs from run to run stands
//! in brackets. `CHASSIS_BLESS=1 cargo test -p chassis-cli transcripts` writes them as they should be.
//!
//! They show Wasmtime, the default engine, and wasmi, whichever others there are. Those in `engines` list what was compiled
//! in: by default, and with all features.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::chassis;

#[test]
#[cfg_attr(not(all(feature = "wasmtime", feature = "wasmi")), ignore = "they show wasmtime and wasmi")]
fn commands_print_what_the_transcripts_say() {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    compare(entries.filter(|entry| entry.is_file()));
}

#[test]
#[cfg_attr(
    any(not(feature = "wasmtime"), feature = "wasmer", feature = "wasmedge", not(feature = "wasmi")),
    ignore = "it was written with the default engines"
)]
fn the_default_engines_are_listed_as_the_transcript_says() {
    compare([folder().join("engines/default.txt")]);
}

#[test]
#[cfg_attr(
    not(all(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi")),
    ignore = "it was written with all engines"
)]
fn all_engines_are_listed_as_the_transcript_says() {
    compare([folder().join("engines/all.txt")]);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

fn compare(files: impl IntoIterator<Item = PathBuf>) {
    let mut wrong = Vec::new();
    let mut commands = 0;
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let mut found = String::new();
        for line in expected.lines().filter_map(|line| line.strip_prefix("$ chassis ")) {
            let gap = if found.is_empty() { "" } else { "\n" };
            write!(found, "{gap}$ chassis {line}\n{}", transcript(line)).unwrap();
            commands += 1;
        }
        if found != expected {
            if std::env::var_os("CHASSIS_BLESS").is_some() {
                fs::write(&file, &found).unwrap();
            }
            wrong.push(format!("{}:\n{}", file.display(), difference(&expected, &found)));
        }
    }
    assert!(commands > 0, "there are no transcripts");
    assert!(wrong.is_empty(), "CHASSIS_BLESS=1 writes them anew\n{}", wrong.join("\n"));
}

fn transcript(line: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ended = chassis(words(line)).current_dir(root).output().unwrap();
    let mut text = String::from_utf8(ended.stdout).unwrap();
    text.push_str(std::str::from_utf8(&ended.stderr).unwrap());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if ended.status.code() != Some(0) {
        writeln!(text, "[exit code {}]", ended.status.code().unwrap()).unwrap();
    }
    // Trailing blanks would not survive editors.
    let lines = text.lines().map(|line| format!("{}\n", settled(line).trim_end()));
    lines.collect()
}

/// A command's words; what stands in single quotes is one.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

/// A line without what differs from run to run, and from build to build of a plugin.
fn settled(line: &str) -> String {
    let version = concat!("chassis ", env!("CARGO_PKG_VERSION"));
    let line = line.replace(version, "chassis [VERSION]");
    if let Some((before, _)) = line.split_once("(loaded in ") {
        return format!("{before}(loaded in [TIME])");
    }
    match line.trim_start().split_once(char::is_whitespace) {
        Some(("sha256", _)) => "  sha256      [DIGEST]".to_owned(),
        _ => settled_version(settled_time(&line)),
    }
}

/// Without the time at the end of a line of a timeline.
fn settled_time(line: &str) -> String {
    let (line, tail) = match line.strip_suffix(" in the guest") {
        Some(line) => (line, " in the guest"),
        None => (line, ""),
    };
    let number = line.strip_suffix(" µs").or_else(|| line.strip_suffix(" ms"));
    match number.and_then(|line| line.rsplit_once("  ")) {
        Some((before, number)) if number.parse::<f64>().is_ok() => format!("{before}  [TIME]{tail}"),
        _ => format!("{line}{tail}"),
    }
}

/// Without the version of an engine that a plugin runs on.
fn settled_version(line: String) -> String {
    for engine in chassis_engines::ENGINES.map(|engine| format!(" on {} ", engine.name)) {
        if let Some((before, version)) = line.split_once(&engine) {
            let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
            return format!("{before}{engine}[VERSION]{}", &version[end..]);
        }
    }
    line
}

#[test]
fn only_what_differs_from_run_to_run_is_left_out() {
    assert_eq!(settled("  proxy_on_log(context 2)  1.8 µs"), "  proxy_on_log(context 2)  [TIME]");
    assert_eq!(settled("result crash  101 µs in the guest"), "result crash  [TIME] in the guest");
    assert_eq!(settled("a.wat on wasmi 2.0.0, request 1 of 2"), "a.wat on wasmi [VERSION], request 1 of 2");
    assert_eq!(settled("    \"5 ms\""), "    \"5 ms\"");
    assert_eq!(words("run a.wat -H 'token: 7' --json"), ["run", "a.wat", "-H", "token: 7", "--json"]);
}

/// The first line that differs.
fn difference(expected: &str, found: &str) -> String {
    let (mut expected, mut found) = (expected.lines(), found.lines());
    for number in 1.. {
        match (expected.next(), found.next()) {
            (None, None) => break,
            (left, right) if left == right => {}
            (left, right) => {
                return format!("line {number}\n- {}\n+ {}", left.unwrap_or("[end]"), right.unwrap_or("[end]"));
            }
        }
    }
    "they differ in line ends".to_owned()
}

//! Files that are no plugin: one error that names the file, says what is wrong and, where it is known, what would help.

use std::fs;
use std::path::Path;

use crate::{Output, available_engines, output, plugin};

/// A file, and what is said of it.
struct Case {
    name: &'static str,
    content: Content,
    says: &'static [&'static str],
    /// Whether it is a module all the same, so that `inspect` shows what it is.
    is_module: bool,
}

enum Content {
    Bytes(Vec<u8>),
    /// So many zero bytes.
    Zeros(u64),
    Directory,
    Missing,
}

const fn no_module(name: &'static str, content: Content, says: &'static [&'static str]) -> Case {
    Case { name, content, says, is_module: false }
}

fn odd_module(name: &'static str, text: &str, says: &'static [&'static str]) -> Case {
    Case { name, content: Content::Bytes(text.into()), says, is_module: true }
}

fn cases() -> Vec<Case> {
    let bytes = |bytes: &[u8]| Content::Bytes(bytes.to_vec());
    let hello = fs::read(plugin("rust/hello.wasm")).unwrap();
    let mut gzip = hello.clone();
    gzip.splice(..4, *b"\x1f\x8b\x08\0");
    vec![
        no_module("empty.wasm", bytes(b""), &["the file is empty"]),
        no_module("random.wasm", Content::Bytes(random(4096)), &["not a WebAssembly module: it begins with bytes "]),
        no_module("packed.wasm", Content::Bytes(gzip), &["it begins with a gzip header"]),
        no_module("page.wasm", bytes(b"<!doctype html>"), &["not a WebAssembly module", "web page"]),
        no_module("cut-in-the-header.wasm", bytes(&hello[..6]), &["cut in the header"]),
        no_module(
            "cut.wasm",
            bytes(&hello[..hello.len() / 2]),
            &["not a valid module at offset 0x", "is the file whole?"],
        ),
        no_module("component.wasm", bytes(b"\0asm\x0d\0\x01\0"), &["a component, not a module: build it for wasm32-"]),
        no_module("component.wat", bytes(b"(component)"), &["a component, not a module: build it for wasm32-"]),
        no_module("version.wasm", bytes(b"\0asm\x02\0\0\0"), &["binary version 2 is not known, only version 1"]),
        no_module(
            "types.wat",
            bytes(b"(module (func (result i32)))"),
            &["not a valid module at offset 0x", "type mismatch"],
        ),
        no_module("memory64.wat", bytes(b"(module (memory i64 1))"), &["this host runs WebAssembly 2.0 with SIMD"]),
        no_module("empty.wat", bytes(b""), &["empty.wat:1:1: "]),
        no_module("syntax.wat", bytes(b"(module\n  (func (i32.cnst 1)))"), &["syntax.wat:2:10: unknown operator"]),
        no_module("open.wat", bytes(b"(module\n(func"), &["open.wat:2:6: expected `)`"]),
        no_module("binary.wat", bytes(b"(module\n ;; \xff\n)"), &["binary.wat:2:5: not UTF-8"]),
        no_module("huge.wasm", Content::Zeros(20 << 20), &["larger than the 16777216 bytes that a module may have"]),
        no_module("directory.wasm", Content::Directory, &["is a directory, not a module"]),
        no_module("missing.wasm", Content::Missing, &["No such file or directory"]),
        odd_module("nothing.wat", "(module)", &["no Proxy-Wasm ABI version", "; no memory: ", "; no allocator: "]),
        odd_module("no-marker.wat", &text("no-marker"), &["exports none of proxy_abi_version_0_1_0, ", "SDK"]),
        odd_module("no-memory.wat", &text("no-memory"), &["no memory: exports no memory named `memory`"]),
        odd_module(
            "no-allocator.wat",
            &text("no-allocator"),
            &["no allocator: exports neither proxy_on_memory_allocate nor malloc"],
        ),
        odd_module(
            "unknown-import.wat",
            &text("unknown-import"),
            &["missing import env.no_such: ", "link the library", "missing import elsewhere.not_here: "],
        ),
        odd_module(
            "wrong-type.wat",
            r#"(module (import "env" "proxy_log" (func (param i64))) (memory (export "memory") 1)
                 (func (export "proxy_abi_version_0_2_1")) (func (export "malloc") (param i32) (result i32) i32.const 8)
                 (func (export "proxy_on_request_headers") (result f32) f32.const 1))"#,
            &["missing import env.proxy_log", "proxy_on_request_headers"],
        ),
    ]
}

/// One of the repository's text modules.
fn text(name: &str) -> String {
    fs::read_to_string(plugin(&format!("wat/{name}.wat"))).unwrap()
}

/// Bytes of no meaning, the same each time.
fn random(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

impl Case {
    fn write(&self, dir: &Path) -> String {
        let file = dir.join(self.name);
        match &self.content {
            Content::Bytes(bytes) => fs::write(&file, bytes).unwrap(),
            Content::Zeros(count) => fs::File::create(&file).unwrap().set_len(*count).unwrap(),
            Content::Directory => fs::create_dir(&file).unwrap(),
            Content::Missing => {}
        }
        file.to_str().unwrap().to_owned()
    }

    /// One line on the standard error that begins so, names the file and says all that it should; exit code 4.
    fn judge(&self, ended: &Output, start: &str) {
        let name = self.name;
        assert_eq!(ended.code, 4, "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{name}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(start), "{name}: {}", ended.stderr);
        assert!(ended.stderr.len() < start.len() + 600, "{name}: {}", ended.stderr);
        for words in self.says {
            assert_eq!(ended.stderr.matches(words).count(), 1, "{name}, {words}: {}", ended.stderr);
        }
    }
}

#[test]
fn each_command_says_what_is_wrong_with_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.yaml");
    for case in cases() {
        let file = case.write(dir.path());
        let ended = output(["run", &file]);
        case.judge(&ended, &format!("error: {file}:"));
        assert_eq!(ended.stdout, "", "{}", case.name);

        let ended = output(["inspect", &file]);
        case.judge(&ended, &format!("error: {file}:"));
        assert_eq!(ended.stdout.starts_with(&file), case.is_module, "{}", ended.stdout);
        assert_eq!(ended.stdout.is_empty(), !case.is_module, "{}", ended.stdout);

        let text = format!(
            "listen: [127.0.0.1:0]\nwasm:\n  plugins: [{{ name: odd, file: {} }}]\nroutes:\n  - uri: /*\n    \
             upstream: {{ nodes: {{ \"builtin:echo\": 1 }} }}\n",
            case.name
        );
        fs::write(&config, text).unwrap();
        let ended = output(["serve", config.to_str().unwrap()]);
        case.judge(&ended, &format!("error: {}:3:13: plugin `odd`: {file}:", config.display()));
    }
}

#[test]
fn a_module_that_cannot_be_loaded_is_told_in_json_too() {
    let dir = tempfile::tempdir().unwrap();
    for case in cases() {
        let file = case.write(dir.path());
        let ended = output(["run", &file, "--json", "--engine", "all"]);
        case.judge(&ended, &format!("error: {file}:"));
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let runs = report["runs"].as_array().unwrap();
        assert_eq!(runs.len(), available_engines().len(), "{}", ended.stdout);
        for run in runs {
            assert_eq!((&run["outcome"], &run["error"]["kind"]), (&"load_error".into(), &"load".into()));
            assert!(run["error"]["message"].as_str().unwrap().starts_with(&file), "{run}");
        }
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret.wasm");
    fs::copy(plugin("rust/hello.wasm"), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let binary = dir.path().join("chassis");
    fs::copy(assert_cmd::cargo::cargo_bin!("chassis"), &binary).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for command in ["run", "inspect"] {
        let mut process = std::process::Command::new(&binary);
        process.arg(command).arg(&file);
        if fs::File::open(&file).is_ok() {
            // The super-user may read everything, so it has to be somebody else.
            process.uid(65534).gid(65534);
        }
        let ended = loop {
            match process.output() {
                // A process that another test is starting may still have the copy open for writing.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                ended => break ended.unwrap(),
            }
        };
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(4), "{stderr}");
        assert_eq!(stderr, format!("error: {}: Permission denied (os error 13)\n", file.display()));
    }
}

#[test]
fn a_device_without_end_is_not_read_to_its_end() {
    let ended = output(["inspect", "/dev/zero"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""));
    assert!(ended.stderr.starts_with("error: /dev/zero: larger than the "), "{}", ended.stderr);
}

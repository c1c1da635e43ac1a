//! Plugins that cannot be loaded or do not start: every one is told, with its place and the cause.

use std::fs;

use crate::{Gateway, config, place, settings};

cases! {
    each_engine: [
        all_that_cannot_be_loaded_is_told_at_once,
        all_that_does_not_start_is_told_at_once,
        all_examples_start,
    ]
}

fn all_that_cannot_be_loaded_is_told_at_once(engine: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let whole = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/rust/hello.wasm")).unwrap();
    let cases = [
        (file("empty.wasm", b""), "empty.wasm: "),
        (file("cut.wasm", &whole[..whole.len() / 2]), "cut.wasm: "),
        (file("random.wasm", b"\x93\x1f\x00random bytes"), "random.wasm: "),
        (file("text.wat", b"(module\n  (fnc))"), "text.wat:2:"),
        (file("component.wasm", b"\0asm\x0d\0\x01\0"), "component"),
        ("no/such.wasm".to_owned(), "no/such.wasm: "),
        (directory.path().display().to_string(), "is a directory"),
        ("wat/no-marker.wat".to_owned(), "wat/no-marker.wat: no Proxy-Wasm ABI version"),
        ("wat/no-memory.wat".to_owned(), "wat/no-memory.wat: no memory"),
        ("wat/no-allocator.wat".to_owned(), "no allocator: exports neither proxy_on_memory_allocate nor malloc"),
        ("wat/unknown-import.wat".to_owned(), "missing import env.no_such"),
    ];
    let mut plugins: String =
        cases.iter().enumerate().map(|(n, (path, _))| format!("  - {{ name: p{n}, file: '{path}' }}\n")).collect();
    plugins
        .push_str("  - { name: good, file: rust/hello.wasm }\n  - { name: v8, file: rust/hello.wasm, engine: v8 }\n");
    let error = settings(engine, &config(&format!("\n{plugins} "), "[]")).err().unwrap();
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), cases.len() + 1, "{text}");
    for (n, (path, cause)) in cases.iter().enumerate() {
        let begin = format!("test.yaml:{}:5: plugin `p{n}`: ", n + 5);
        let name = path.rsplit('/').next().unwrap();
        assert!(lines[n].starts_with(&begin) && lines[n].contains(name) && lines[n].contains(cause), "{}", lines[n]);
    }
    let last = lines[cases.len()];
    assert!(
        last.starts_with(&format!("test.yaml:{}:5: plugin `v8`: there is no engine `v8`", cases.len() + 6)),
        "{last}"
    );
}

fn all_that_does_not_start_is_told_at_once(engine: &str) {
    let plugins = "[{ name: one, file: rust/add-header.wasm }, { name: two, file: rust/add-header.wasm },
  { name: good, file: rust/add-header.wasm }, { name: start, file: wat/loop-start.wat }, { name: idle, file: wat/loop-start.wat }]";
    let to = "upstream: { nodes: { \"builtin:echo\": 1 } }";
    let routes = format!(
        "\n  - {{ uri: /a, {to}, plugins: {{ good: {{ conf: \"x: 1\" }},\n      one: {{ conf: no header }} }} }}
  - {{ uri: /b, {to}, plugins: {{ two: {{ conf: \"x: 1\" }} }} }}
  - {{ uri: /c, {to}, plugins: {{ two: {{ conf: no header }}, start: }} }}"
    );
    let text = config(plugins, &routes);
    let (settings, sink) = settings(engine, &text).unwrap();
    let error = Gateway::start(settings, sink.clone()).err().unwrap().to_string();
    let lines: Vec<_> = error.lines().collect();
    let refused = "add-header.wasm: proxy_on_configure refused its configuration";
    // Used once, the fault is where it is used; used several times, it is the plugin that is named.
    for (n, name, at, cause) in [
        (0, "one", "one: { conf", refused),
        (1, "two", "{ name: two", refused),
        (2, "start", "{ name: start", "wat/loop-start.wat: the start section: deadline exceeded"),
    ] {
        let begin = place(&text, at) + &format!("plugin `{name}`: ");
        assert!(lines[n].starts_with(&begin) && lines[n].ends_with(cause), "{}", lines[n]);
    }
    assert_eq!(lines.len(), 3, "a plugin that no route uses is not started: {error}");
    assert_eq!(sink.lines().iter().filter(|line| line.message.starts_with("invalid configuration")).count(), 2);
}

fn all_examples_start(engine: &str) {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        // On a free port; files are relative to `plugins/` in these tests, as they are to `examples/`.
        let text = fs::read_to_string(&path).unwrap().replace("127.0.0.1:9080]", "127.0.0.1:0]");
        let (settings, sink) = settings(engine, &text.replace("../plugins/", "")).unwrap();
        Gateway::start(settings, sink).unwrap();
        count += 1;
    }
    assert!(count >= 2);
}

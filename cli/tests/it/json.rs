//! What machines read: `--json` of `engines` and `inspect`.

use serde_json::Value;

use crate::{available_engines, chassis, output, plugin};

#[test]
fn engines_are_listed_with_what_they_can_do() {
    let report: Value = serde_json::from_str(&output(["engines", "--json"]).stdout).unwrap();
    assert_eq!(report["schema"], "chassis/engines/v1");
    let engines = report["engines"].as_array().unwrap();
    let names: Vec<&str> = engines.iter().map(|engine| engine["name"].as_str().unwrap()).collect();
    assert_eq!(names, chassis_engines::ENGINES.map(|engine| engine.name));
    for engine in engines {
        let available = engine["available"].as_bool().unwrap();
        assert_eq!(engine["version"].is_string(), available, "{engine}");
        assert_eq!(engine["reason"].is_null(), available, "{engine}");
        assert_eq!(engine["capabilities"].is_object(), available, "{engine}");
        if !available {
            continue;
        }
        for guarantee in ["deadline", "fuel", "memory_limit", "table_limit", "depth_limit", "backtrace", "aot"] {
            let met = &engine["capabilities"][guarantee];
            let support = met["support"].as_str().unwrap();
            assert!(matches!(support, "exact" | "coarse" | "none"), "{engine}");
            assert_eq!(met["reason"].is_string(), support != "exact", "{guarantee}: {engine}");
        }
    }
}

/// The files that are no plugins on purpose.
const BROKEN: [&str; 4] = ["no-marker.wat", "no-memory.wat", "no-allocator.wat", "unknown-import.wat"];

#[test]
#[cfg_attr(engines = "none", ignore = "no engine was compiled in")]
fn every_plugin_of_the_repository_is_described() {
    let mut seen = 0;
    for folder in ["assemblyscript", "c", "go", "rust", "wat"] {
        for file in std::fs::read_dir(plugin(folder)).unwrap() {
            let file = file.unwrap().path();
            if !matches!(file.extension().and_then(|extension| extension.to_str()), Some("wasm" | "wat")) {
                continue;
            }
            seen += 1;
            let ended = chassis(["inspect", "--json"]).arg(&file).output().unwrap();
            let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
            let broken = BROKEN.iter().any(|name| file.ends_with(name));
            assert_eq!(ended.status.code(), Some(if broken { 4 } else { 0 }), "{report}");
            assert_eq!(report["schema"], "chassis/inspect/v1");
            assert_eq!(report["file"], file.to_str().unwrap());
            assert_eq!(report["problems"].as_array().unwrap().is_empty(), !broken, "{report}");
            let module = &report["module"];
            let bytes = module["sections"].as_array().unwrap().iter().map(|section| section["bytes"].as_u64().unwrap());
            assert!(bytes.sum::<u64>() < module["bytes"].as_u64().unwrap(), "{report}");
            assert_eq!(module["sha256"].as_str().unwrap().len(), 64);
            if !broken {
                assert!(module["abi"].is_string() && module["allocator"].is_string(), "{report}");
                assert_eq!(module["memory"]["exported"], true);
                assert_eq!(module["unknown_imports"], Value::Array(Vec::new()));
            }
            let engines = report["engines"].as_array().unwrap();
            let names: Vec<&str> = engines.iter().map(|engine| engine["name"].as_str().unwrap()).collect();
            assert_eq!(names, available_engines());
            assert!(engines.iter().all(|engine| engine["loads"] == !broken), "{report}");
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
#[cfg_attr(engines = "none", ignore = "no engine was compiled in")]
fn unknown_imports_are_told_with_what_would_help() {
    let ended = chassis(["inspect", "--json"]).arg(plugin("wat/unknown-import.wat")).output().unwrap();
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let unknown = report["module"]["unknown_imports"].as_array().unwrap();
    let names = unknown.iter().map(|import| (import["module"].as_str().unwrap(), import["name"].as_str().unwrap()));
    assert_eq!(names.collect::<Vec<_>>(), [("env", "no_such"), ("elsewhere", "not_here")]);
    assert!(unknown.iter().all(|import| import["hint"].is_string()), "{report}");
    assert_eq!(report["module"]["imports"]["log"], serde_json::json!(["env.proxy_log"]));
}

//! The kept inputs, without libFuzzer: everything that a target ever found, and what reaches most of the code.

use std::path::Path;

use chassis_fuzz::TARGETS;

fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        (path.display().to_string(), std::fs::read(&path).unwrap())
    };
    files.map(read).collect()
}

#[test]
fn every_target_takes_what_it_kept() {
    for target in TARGETS {
        let inputs = kept(target.name);
        assert!(inputs.len() >= 5, "{}: {} inputs", target.name, inputs.len());
        for (name, input) in inputs {
            println!("{name}");
            (target.run)(&input);
        }
        (target.run)(b"");
    }
}

#[test]
fn there_is_no_corpus_without_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| *target.name == *name), "{}", name.display());
    }
}

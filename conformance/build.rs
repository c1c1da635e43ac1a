//! Puts the cases into the library, and links the tests with libwasmedge where a feature, maybe another package's,
//! has brought that engine in.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

include!("../backend-wasmedge/link.rs");

fn main() {
    for input in ["build.rs", "cases", "expected", "../backend-wasmedge/link.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    link_with_wasmedge();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder for output"));
    fs::write(out.join("embedded.rs"), table()).expect("the table of cases can be written");
}

/// Two tables of files with their texts: `CASES`, whose names are `area/case.yaml` and `area/guest.wat`, and `EXPECTED`.
fn table() -> String {
    let mut out = String::new();
    for (name, folder) in [("CASES", "cases"), ("EXPECTED", "expected")] {
        let mut files = Vec::new();
        collect(Path::new(folder), &mut files);
        files.sort();
        writeln!(out, "pub(super) const {name}: &[(&str, &str)] = &[").expect("writing to a string cannot fail");
        for file in files {
            let short = file.strip_prefix(folder).expect("it is below the folder").to_string_lossy().replace('\\', "/");
            let path = fs::canonicalize(&file).expect("the file was just listed");
            writeln!(out, "    ({short:?}, include_str!({path:?})),").expect("writing to a string cannot fail");
        }
        out.push_str("];\n");
    }
    out
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("the folder of cases can be read");
    for entry in entries {
        let path = entry.expect("the folder of cases can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "wat")
        {
            files.push(path);
        }
    }
}

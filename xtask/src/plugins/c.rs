//! Guests in C and C++, without an SDK: the raw ABI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::language::{Guest, Toolchain, complete, demand, in_path, output};

const COMPILER: &str = "clang-22";
const COMPILER_CPP: &str = "clang++-22";
const LINKER: &str = "/usr/bin/wasm-ld-22";
const LIBRARIES: [(&str, &str, &str); 4] = [
    ("wasi-libc", "/usr/lib/wasm32-wasi/libc.a", "wasi-libc"),
    (
        "compiler-rt for wasm32",
        "/usr/lib/llvm-22/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a",
        "libclang-rt-22-dev-wasm32",
    ),
    ("libc++ for wasm32", "/usr/lib/wasm32-wasi/libc++.a", "libc++-22-dev-wasm32"),
    ("libc++abi for wasm32", "/usr/lib/wasm32-wasi/libc++abi.a", "libc++abi-22-dev-wasm32"),
];

/// A guest is one file, `NAME.c` or `NAME.cpp`.
struct Program {
    name: &'static str,
    file: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program { name: "everything", file: "everything.c" },
    Program { name: "everything-cpp", file: "everything-cpp.cpp" },
    Program { name: "headers", file: "headers.c" },
    Program { name: "headers-cpp", file: "headers-cpp.cpp" },
];
const ABI: &str = "proxy_wasm.h";

pub(super) fn guests(_plugins: &Path) -> Result<Vec<Guest>> {
    let guest = |program: &Program| Guest {
        name: program.name.to_owned(),
        target: "wasm32-wasi",
        sources: vec![format!("c/{}", program.file), format!("c/{ABI}")],
        sdk: "none".to_owned(),
    };
    Ok(PROGRAMS.iter().map(guest).collect())
}

struct Clang {
    version: String,
}

pub(super) fn toolchain() -> Result<Box<dyn Toolchain>> {
    let mut parts = vec![
        (COMPILER, in_path(COMPILER) && in_path(COMPILER_CPP), "clang-22"),
        (LINKER, Path::new(LINKER).exists(), "lld-22"),
    ];
    parts.extend(LIBRARIES.map(|(what, file, package)| (what, Path::new(file).exists(), package)));
    demand(&parts)?;
    let version = output(Command::new(COMPILER).arg("--version"))?;
    let version = version.lines().next().unwrap_or_default().to_owned();
    Ok(Box::new(Clang { version }))
}

impl Toolchain for Clang {
    fn version(&self) -> String {
        self.version.clone()
    }

    fn directories(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn build(&self, folder: &Path, guests: &[Guest]) -> Result<Vec<Vec<u8>>> {
        let target = folder.join("target");
        fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
        PROGRAMS
            .iter()
            .filter(|program| guests.iter().any(|guest| guest.name == program.name))
            .map(|program| {
                let module = target.join(format!("{}.wasm", program.name));
                complete(compile(program).current_dir(folder).arg("-o").arg(&module))?;
                fs::read(&module).with_context(|| format!("cannot read {}", module.display()))
            })
            .collect()
    }
}

fn compile(program: &Program) -> Command {
    let mut command;
    if program.file.ends_with(".cpp") {
        command = Command::new(COMPILER_CPP);
        command.args(["-std=c++20", "-fno-exceptions", "-fno-rtti"]);
    } else {
        command = Command::new(COMPILER);
        command.arg("-std=c17");
    }
    // The target's newer name, which the compiler would like better, finds no C library on Debian 12.
    command.args(["--target=wasm32-wasi", "-Wno-deprecated", "-mexec-model=reactor", "-Oz", "-flto"]);
    command.args(["-Wall", "-Wextra", "-Werror", "-Wl,--strip-all"]);
    command.arg(format!("-fuse-ld={LINKER}")).arg(program.file);
    command
}

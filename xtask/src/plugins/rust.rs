//! Guests in Rust. The compiler that builds them is Debian's, which is the one that comes with the source of its
//! standard library, so that the library can be built for Wasm. Its variables are set for the child process alone.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::language::{Guest, Toolchain, complete, demand, in_path, output};
use super::sources;

/// A guest crate of the workspace `plugins/rust`.
struct Package {
    name: &'static str,
    target: Target,
    /// The crates of the workspace that it depends on.
    uses: &'static [&'static str],
}

const PACKAGES: [Package; 6] = [
    Package { name: "add-header", target: Target::Wasip1, uses: &[] },
    Package { name: "body-rewrite", target: Target::Wasip1, uses: &[] },
    Package { name: "every-trait", target: Target::Wasip1, uses: &[] },
    Package { name: "hello", target: Target::Wasip1, uses: &[] },
    Package { name: "prime-auth", target: Target::Wasip1, uses: &["primality"] },
    Package { name: "prime-auth-010", target: Target::Unknown, uses: &["primality"] },
];

const SDK: &str = "proxy-wasm";
const RUSTC: &str = "/usr/bin/rustc";
const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
const LINKER: &str = "wasm-ld-22";

pub(super) fn guests(plugins: &Path) -> Result<Vec<Guest>> {
    PACKAGES
        .iter()
        .map(|package| {
            Ok(Guest {
                name: package.name.to_owned(),
                target: package.target.name(),
                sources: files(plugins, package)?,
                sdk: sdk(plugins, package.name)?,
            })
        })
        .collect()
}

/// The guest's own crate, those that it uses, and what the workspace fixes for all.
fn files(plugins: &Path, package: &Package) -> Result<Vec<String>> {
    let mut files = vec!["rust/Cargo.lock".to_owned(), "rust/Cargo.toml".to_owned()];
    for name in [&package.name].into_iter().chain(package.uses) {
        files.push(format!("rust/{name}/Cargo.toml"));
        sources::collect(plugins, &format!("rust/{name}/src"), |file| file.ends_with(".rs"), &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// The SDK and its version: what the guest's own manifest asks for, or the workspace's. Both fix it by `=`.
fn sdk(plugins: &Path, guest: &str) -> Result<String> {
    for file in [format!("rust/{guest}/Cargo.toml"), "rust/Cargo.toml".to_owned()] {
        if let Some(version) = fixed_version(&sources::text(plugins, &file)?, SDK) {
            return Ok(format!("{SDK} {version}"));
        }
    }
    bail!("neither the Cargo.toml of {guest} nor the workspace's has a line `{SDK} = \"=VERSION\"`")
}

/// `VERSION` of a line `NAME = "=VERSION"`.
fn fixed_version<'a>(cargo_toml: &'a str, name: &str) -> Option<&'a str> {
    cargo_toml.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
        value.trim().strip_prefix("\"=")?.strip_suffix('"')
    })
}

/// What a guest is compiled for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// With WASI preview 1.
    Wasip1,
    /// With no system interface at all.
    Unknown,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Wasip1 => "wasm32-wasip1",
            Self::Unknown => "wasm32-unknown-unknown",
        }
    }

    /// Where cargo leaves the module of a package.
    fn artefact(self, workspace: &Path, package: &str) -> PathBuf {
        let file = format!("{}.wasm", package.replace('-', "_"));
        workspace.join("target").join(self.name()).join("release").join(file)
    }

    fn linker_variable(self) -> &'static str {
        match self {
            Self::Wasip1 => "CARGO_TARGET_WASM32_WASIP1_LINKER",
            Self::Unknown => "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
        }
    }

    fn flags(self) -> Vec<OsString> {
        let flags: &[&str] = match self {
            Self::Wasip1 => &["-L", "native=/usr/lib/wasm32-wasi"],
            // SDK 0.1.x does not say which module its imports come from, so that they look like mistakes.
            Self::Unknown => &["-C", "link-arg=--allow-undefined"],
        };
        flags.iter().map(Into::into).collect()
    }
}

struct Rust {
    version: String,
    cargo_home: PathBuf,
}

pub(super) fn toolchain() -> Result<Box<dyn Toolchain>> {
    demand(&[
        (RUSTC, Path::new(RUSTC).exists(), "rustc-web"),
        (STD_SOURCE, Path::new(STD_SOURCE).join("std/Cargo.toml").exists(), "rust-web-src"),
        (WASI_LIBC, Path::new(WASI_LIBC).join("libc.a").exists(), "wasi-libc"),
        (LINKER, in_path(LINKER), "lld-22"),
    ])?;
    let version = output(Command::new(RUSTC).arg("-V"))?;
    Ok(Box::new(Rust { version, cargo_home: cargo_home()? }))
}

impl Toolchain for Rust {
    fn version(&self) -> String {
        self.version.clone()
    }

    fn directories(&self) -> Vec<PathBuf> {
        vec![self.cargo_home.clone()]
    }

    fn build(&self, folder: &Path, guests: &[Guest]) -> Result<Vec<Vec<u8>>> {
        for target in [Target::Wasip1, Target::Unknown] {
            let packages: Vec<_> =
                PACKAGES.iter().filter(|package| package.target == target).map(|package| package.name).collect();
            self.build_for(folder, target, &packages)?;
        }
        guests
            .iter()
            .zip(&PACKAGES)
            .map(|(guest, package)| {
                let artefact = package.target.artefact(folder, &guest.name);
                fs::read(&artefact).with_context(|| format!("cannot read {}", artefact.display()))
            })
            .collect()
    }
}

impl Rust {
    /// Builds the packages, and the standard library below them.
    fn build_for(&self, workspace: &Path, target: Target, packages: &[&str]) -> Result<()> {
        // The sources must lie there before their paths can be known.
        complete(self.cargo(workspace).args(["fetch", "--locked"]))?;
        let mut build = self.cargo(workspace);
        build.args(["build", "--release", "--locked", "-Zbuild-std=std,panic_abort", "--target", target.name()]);
        build.args(packages.iter().flat_map(|package| ["-p", package]));
        build.arg("--target-dir").arg(workspace.join("target"));
        build.env(target.linker_variable(), LINKER);
        build.env("CARGO_ENCODED_RUSTFLAGS", self.flags(target)?);
        complete(&mut build)
    }

    fn cargo(&self, workspace: &Path) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace).env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
        for variable in
            ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
        {
            cargo.env_remove(variable);
        }
        cargo
    }

    /// The target's flags, and short names in place of this machine's directories, which panic messages would
    /// show otherwise.
    fn flags(&self, target: Target) -> Result<OsString> {
        let mut flags = target.flags();
        let mut rename = |from: &Path, to: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        };
        rename(Path::new(STD_SOURCE), "rust");
        let registry = self.cargo_home.join("registry/src");
        for directory in fs::read_dir(&registry).with_context(|| format!("cannot list {}", registry.display()))? {
            rename(&directory?.path(), "crates");
        }
        Ok(flags.join(&OsString::from("\x1f")))
    }
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(env::home_dir().context("neither CARGO_HOME nor a home directory is known")?.join(".cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fixed_version_counts() {
        assert_eq!(fixed_version("[dependencies]\nproxy-wasm = \"=0.1.0\"\n", SDK), Some("0.1.0"));
        assert_eq!(fixed_version("proxy-wasm.workspace = true", SDK), None);
        assert_eq!(fixed_version("proxy-wasm = \"0.2\"", SDK), None);
        assert_eq!(fixed_version("proxy-wasm-types = \"=0.2.0\"", SDK), None);
    }

    #[test]
    fn a_guest_s_hash_follows_its_sources() {
        let plugins = env::temp_dir().join(format!("chassis-xtask-sources-{}", std::process::id()));
        let write = |file: &str, content: &str| {
            let path = plugins.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for file in ["Cargo.lock", "Cargo.toml", "a/Cargo.toml", "a/src/lib.rs", "b/Cargo.toml", "b/src/lib.rs"] {
            write(&format!("rust/{file}"), file);
        }
        write("rust/a/src/deep/part.rs", "part");
        write("rust/a/src/lib.rs.orig", "left behind by an editor");
        let package = |uses: &'static [&'static str]| Package { name: "a", target: Target::Wasip1, uses };
        let hash = || sources::hash(&plugins, &files(&plugins, &package(&[])).unwrap()).unwrap();
        let before = hash();
        assert_eq!(
            files(&plugins, &package(&["b"])).unwrap().join(" "),
            "rust/Cargo.lock rust/Cargo.toml rust/a/Cargo.toml rust/a/src/deep/part.rs rust/a/src/lib.rs \
             rust/b/Cargo.toml rust/b/src/lib.rs"
        );
        write("rust/b/src/lib.rs", "of no matter to a");
        write("rust/a/src/lib.rs.orig", "nor this");
        assert_eq!(hash(), before);
        write("rust/a/src/deep/part.rs", "changed");
        assert_ne!(hash(), before);
        fs::remove_dir_all(plugins).unwrap();
    }
}

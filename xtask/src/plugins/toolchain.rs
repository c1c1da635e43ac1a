//! The compiler that builds the guests: Debian's, which is the one that comes with the source of its standard
//! library, so that the library can be built for Wasm. Its variables are set for the child process alone.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const RUSTC: &str = "/usr/bin/rustc";
const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
const LINKER: &str = "wasm-ld-22";

/// What a guest is compiled for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// With WASI preview 1.
    Wasip1,
    /// With no system interface at all.
    Unknown,
}

impl Target {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wasip1 => "wasm32-wasip1",
            Self::Unknown => "wasm32-unknown-unknown",
        }
    }

    /// Where cargo leaves the module of a package.
    pub(super) fn artefact(self, workspace: &Path, package: &str) -> PathBuf {
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

/// A toolchain that is there and complete.
pub(super) struct Toolchain {
    version: String,
    cargo_home: PathBuf,
}

impl Toolchain {
    /// # Errors
    ///
    /// Names every missing part, and the packages that bring them.
    pub(super) fn find() -> Result<Self> {
        let parts = [
            (RUSTC, Path::new(RUSTC).exists(), "rustc-web"),
            (STD_SOURCE, Path::new(STD_SOURCE).join("std/Cargo.toml").exists(), "rust-web-src"),
            (WASI_LIBC, Path::new(WASI_LIBC).join("libc.a").exists(), "wasi-libc"),
            (LINKER, in_path(LINKER), "lld-22"),
        ];
        let missing: Vec<_> = parts.iter().filter(|(_, there, _)| !there).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|(part, ..)| *part).collect();
            let packages: Vec<_> = missing.iter().map(|(.., package)| *package).collect();
            bail!(
                "the toolchain for the guests lacks {}; on Debian 12: apt-get install --no-install-recommends {}",
                names.join(", "),
                packages.join(" ")
            );
        }
        let output = Command::new(RUSTC).arg("-V").output().context("cannot run the compiler of the guests")?;
        ensure!(output.status.success(), "{RUSTC} -V failed");
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { version, cargo_home: cargo_home()? })
    }

    /// What `rustc -V` says.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn cargo_home(&self) -> &PathBuf {
        &self.cargo_home
    }

    /// Builds the packages, and the standard library below them.
    pub(super) fn build(&self, workspace: &Path, target: Target, packages: &[&str]) -> Result<()> {
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

fn complete(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo failed: {status}");
    Ok(())
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(env::home_dir().context("neither CARGO_HOME nor a home directory is known")?.join(".cargo"))
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).exists()))
}

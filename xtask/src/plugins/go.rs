//! Guests in Go: each a reactor for WASI preview 1, built by the ordinary compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::language::{Guest, Toolchain, complete, in_path, output};
use super::sources;

const NAMES: [&str; 6] = ["everything", "fault-injection", "log", "response-headers", "response-rewrite", "tcp"];
/// The first `1.x` that builds reactors.
const OLDEST: u32 = 24;
const SDK: &str = "github.com/proxy-wasm/proxy-wasm-go-sdk";

pub(super) fn guests(plugins: &Path) -> Result<Vec<Guest>> {
    let go_mod = sources::text(plugins, "go/go.mod")?;
    let version =
        required_version(&go_mod, SDK).with_context(|| format!("plugins/go/go.mod does not require {SDK}"))?;
    NAMES
        .iter()
        .map(|name| {
            let mut files = vec!["go/go.mod".to_owned(), "go/go.sum".to_owned()];
            for directory in ["internal", name] {
                sources::collect(plugins, &format!("go/{directory}"), is_source, &mut files)?;
            }
            files.sort();
            let sdk = format!("proxy-wasm-go-sdk {version}");
            Ok(Guest { name: (*name).to_owned(), target: "wasip1", sources: files, sdk })
        })
        .collect()
}

fn is_source(file: &str) -> bool {
    file.ends_with(".go") && !file.ends_with("_test.go")
}

/// `VERSION` of a line `require MODULE VERSION`, alone or in a block.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("require ").unwrap_or(line);
        let version = line.strip_prefix(module)?.strip_prefix(' ')?;
        version.split_whitespace().next()
    })
}

struct Go {
    version: String,
    module_cache: PathBuf,
    root: PathBuf,
}

pub(super) fn toolchain() -> Result<Box<dyn Toolchain>> {
    let variable = |name: &str| output(go().args(["env", name]));
    let version = if in_path("go") { variable("GOVERSION")? } else { "none".to_owned() };
    ensure!(minor(&version) >= Some(OLDEST), "Go 1.{OLDEST} or later is needed, there is {version}");
    Ok(Box::new(Go { version, module_cache: variable("GOMODCACHE")?.into(), root: variable("GOROOT")?.into() }))
}

/// `26` of `go1.26.8`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Toolchain for Go {
    fn version(&self) -> String {
        self.version.clone()
    }

    fn directories(&self) -> Vec<PathBuf> {
        vec![self.module_cache.clone(), self.root.clone()]
    }

    fn build(&self, folder: &Path, guests: &[Guest]) -> Result<Vec<Vec<u8>>> {
        let target = folder.join("target");
        fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
        guests
            .iter()
            .map(|guest| {
                let module = target.join(format!("{}.wasm", guest.name));
                complete(reactor(folder, &module).arg(format!("./{}", guest.name)))?;
                fs::read(&module).with_context(|| format!("cannot read {}", module.display()))
            })
            .collect()
    }
}

/// Builds the firewall of `go/waf`, a module of Go's own, below `target` of the repository. Returns where it lies.
pub(super) fn build_waf(plugins: &Path, target: &Path) -> Result<PathBuf> {
    toolchain()?;
    fs::create_dir_all(target).with_context(|| format!("cannot create {}", target.display()))?;
    let module = target.join("waf.wasm");
    let mut build = reactor(&plugins.join("go/waf"), &module);
    // Coraza's own names for builds without files, and for those in Wasm: they leave out what opens connections. With
    // that, a module is larger than the 16 MiB that hosts take.
    complete(build.args(["-tags", "no_fs_access,tinygo", "."]))?;
    Ok(module)
}

/// `go build` of a reactor; the package is still to be named.
fn reactor(folder: &Path, module: &Path) -> Command {
    let mut build = go();
    build.current_dir(folder).env("GOOS", "wasip1").env("GOARCH", "wasm");
    build.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-buildmode=c-shared"]);
    // Without symbols and build id.
    build.args(["-ldflags", "-s -w -buildid=", "-o"]).arg(module);
    build
}

/// The compiler that is installed, whatever newer one the sources may ask for.
fn go() -> Command {
    let mut go = Command::new("go");
    go.env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("CGO_ENABLED", "0");
    go.env_remove("GOFLAGS").env_remove("GOEXPERIMENT").env_remove("GOWASM");
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_s_version_is_found_alone_and_in_a_block() {
        assert_eq!(required_version("module m\n\nrequire a/b v1.2.3\n", "a/b"), Some("v1.2.3"));
        assert_eq!(required_version("require (\n\tx/y v9\n\ta/b v1.2.3 // indirect\n)\n", "a/b"), Some("v1.2.3"));
        assert_eq!(required_version("require a/bc v1.2.3\nmodule a/b\n", "a/b"), None);
    }

    #[test]
    fn the_compiler_s_age_is_seen() {
        let minors = ["go1.26.8", "go1.24", "go1.25rc1", "go1.19.8", "none", "devel go1.27-0123"].map(minor);
        assert_eq!(minors, [Some(26), Some(24), Some(25), Some(19), None, None]);
        assert!(minor("none") < Some(OLDEST));
    }

    #[test]
    fn tests_are_no_sources() {
        assert!(is_source("main.go") && !is_source("main_test.go") && !is_source("README.md"));
    }
}

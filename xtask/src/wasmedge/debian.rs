//! libwasmedge from Debian's packages, unpacked without installing anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Library, VERSION, entries, name};

/// The suite that has this version.
const SUITE: &str = "sid";
const PACKAGE: &str = "libwasmedge-dev";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks the library into `folder`, or finds it there.
pub(super) fn unpack(folder: &Path) -> Result<Library> {
    let root = folder.join("root");
    if !folder.join("complete").exists() {
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        download(folder, &root)?;
        arrange(folder, &root)?;
        fs::write(folder.join("complete"), "")?;
    }
    library(folder, &root)
}

fn library(folder: &Path, root: &Path) -> Result<Library> {
    let run = libraries(root)?;
    let loader = entries(&run).into_iter().find(|path| name(path).starts_with("ld-linux"));
    let loader = loader.context("the unpacked libc has no loader")?;
    let include = root.join("usr/include");
    let found = Library::at(&include, &folder.join("link"));
    let Some(unpacked) = found else { bail!("Debian {SUITE} has another version than {VERSION}x of libwasmedge") };
    Ok(Library { run: Some(run), loader: Some(loader), ..unpacked })
}

/// Downloads the package with everything that it depends on, as if nothing were installed, and unpacks it.
fn download(folder: &Path, root: &Path) -> Result<()> {
    eprintln!("libwasmedge: unpacking Debian's packages into {}", folder.display());
    let state = folder.join("apt");
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(state.join("cache/archives/partial"))?;
    fs::create_dir_all(root)?;
    fs::write(state.join("status"), "")?;
    let list = state.join("sources.list");
    fs::write(&list, format!("deb [signed-by={KEYRING}] {} {SUITE} main\n", mirror()?))?;
    apt(&state, &list, &["update"])?;
    apt(&state, &list, &["--yes", "--download-only", "install", PACKAGE])?;
    let archives = entries(&state.join("cache/archives")).into_iter().filter(|path| name(path).ends_with(".deb"));
    for archive in archives {
        succeed(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(root))?;
    }
    fs::remove_dir_all(state)?;
    Ok(())
}

/// Debian's mirror as this machine's apt has it.
fn mirror() -> Result<String> {
    let listed = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .output()
        .context("there is no apt on this machine")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mirror = listed.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    mirror.map(str::to_owned).context("apt on this machine knows no mirror of Debian")
}

/// Runs apt-get with folders of its own, so that neither the system's packages nor its lists are touched.
fn apt(state: &Path, list: &Path, arguments: &[&str]) -> Result<()> {
    let path = |name: &str, path: PathBuf| format!("{name}={}", path.display());
    let options = [
        path("Dir::Etc::sourcelist", list.to_owned()),
        path("Dir::Etc::sourceparts", "/dev/null".into()),
        path("Dir::Etc::preferences", "/dev/null".into()),
        path("Dir::Etc::preferencesparts", "/dev/null".into()),
        path("Dir::State", state.to_owned()),
        path("Dir::State::Lists", state.join("lists")),
        path("Dir::State::status", state.join("status")),
        path("Dir::Cache", state.join("cache")),
        "APT::Install-Recommends=false".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ];
    let mut command = Command::new("apt-get");
    command.arg("--quiet");
    for option in options {
        command.arg("--option").arg(option);
    }
    succeed(command.args(arguments))
}

/// Runs a command; its output is shown only if it fails.
fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Makes the folder for the linker, which must hold nothing else: wasmedge-sys has rustc look for libraries there too,
/// and a foreign libc would end it.
#[cfg(unix)]
fn arrange(folder: &Path, root: &Path) -> Result<()> {
    use std::os::unix::fs::symlink;

    let libraries = libraries(root)?;
    let link = folder.join("link");
    if link.exists() {
        fs::remove_dir_all(&link)?;
    }
    fs::create_dir_all(&link)?;
    symlink(libraries.join("libwasmedge.so.0"), link.join("libwasmedge.so"))?;
    // One of the libraries looks for others in `../lib` only.
    symlink(name(&libraries), root.join("usr/lib/lib"))?;
    Ok(())
}

#[cfg(not(unix))]
fn arrange(_folder: &Path, _root: &Path) -> Result<()> {
    bail!("Debian's packages are of no use on this system")
}

/// The folder of the shared libraries, whatever the machine.
fn libraries(root: &Path) -> Result<PathBuf> {
    let folders = entries(&root.join("usr/lib"));
    let found = folders.into_iter().find(|path| name(path) != "lib" && path.join("libwasmedge.so.0").exists());
    found.context("libwasmedge.so.0 is not in Debian's package")
}

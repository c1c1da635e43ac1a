//! `cargo xtask plugins`: builds the guests of `plugins`, and checks that what is committed belongs together.
//! Installs nothing but what a lock file of the guests names, and compares no bytes of what it builds: two compilers
//! never agree on those.

mod assemblyscript;
mod behaviour;
mod c;
mod go;
mod higress;
mod inventory;
mod language;
mod manifest;
mod rust;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::behaviour::Chassis;
pub(crate) use self::higress::run as higress;
use self::inventory::Inventory;
use self::language::{Guest, LANGUAGES, Language, Toolchain};
use self::manifest::{BuiltWith, Entry, Manifest};

const REMEDY: &str = "`cargo xtask plugins` builds the modules and the manifest anew";

/// Builds the guests of the named languages, of all if none is named, and rewrites their modules and their part of
/// the manifest. Languages whose toolchain is not there are told and keep what they have.
///
/// # Errors
///
/// If a language is not known, a named one has no toolchain, or nothing could be built.
pub(crate) fn rebuild(names: &[&str]) -> Result<()> {
    let plugins = Plugins::find()?;
    let mut manifest = Manifest::read(&plugins.directory)?;
    let mut built = 0;
    for language in chosen(names)? {
        match (language.toolchain)() {
            Ok(toolchain) => built += plugins.rebuild(language, toolchain.as_ref(), &mut manifest)?,
            Err(missing) if names.is_empty() => say(&format!("{} not built: {missing:#}", language.name)),
            Err(missing) => bail!("{}: {missing:#}", language.name),
        }
    }
    ensure!(built > 0, "nothing was built");
    manifest.write(&plugins.directory)
}

/// Compares the manifest with the committed sources and modules, which needs no Wasm toolchain, and with a fresh
/// build of the named languages, of all if none is named, where the toolchain is installed: the same imports and
/// exports, and the same behaviour.
///
/// # Errors
///
/// All that does not fit, in one error.
pub(crate) fn check(names: &[&str]) -> Result<()> {
    let plugins = Plugins::find()?;
    let manifest = Manifest::read(&plugins.directory)?;
    let mut wrong = plugins.check_committed(&manifest)?;
    let chassis = Chassis::build(&plugins.root)?;
    for language in chosen(names)? {
        match (language.toolchain)() {
            Ok(toolchain) => wrong.extend(plugins.check_build(language, toolchain.as_ref(), &manifest, &chassis)?),
            Err(missing) if names.is_empty() => say(&format!("{} not built again: {missing:#}", language.name)),
            Err(missing) => wrong.push(format!("{}: {missing:#}", language.name)),
        }
    }
    ensure!(wrong.is_empty(), "{}\n{REMEDY}", wrong.join("\n"));
    say(&format!("{} guests: sources, modules and manifest belong together", manifest.guests.len()));
    Ok(())
}

/// Compares the manifest with the committed sources and modules, building nothing. Returns how many guests there are.
///
/// # Errors
///
/// All that does not fit, in one error.
pub(crate) fn check_committed() -> Result<usize> {
    let plugins = Plugins::find()?;
    let manifest = Manifest::read(&plugins.directory)?;
    let wrong = plugins.check_committed(&manifest)?;
    ensure!(wrong.is_empty(), "{}\n{REMEDY}", wrong.join("\n"));
    Ok(manifest.guests.len())
}

/// Builds the guest that is too large to be committed, and prints where it lies.
///
/// # Errors
///
/// If Go is missing, or the build fails.
pub(crate) fn build_waf() -> Result<()> {
    let plugins = Plugins::find()?;
    let start = Instant::now();
    let module = go::build_waf(&plugins.directory, &on_demand(&plugins.root))?;
    let size = fs::metadata(&module).with_context(|| format!("cannot read {}", module.display()))?.len();
    say(&format!("waf: {size} bytes, built in {:.1} s", start.elapsed().as_secs_f64()));
    tell(&module);
    Ok(())
}

/// Where modules lie that are not committed.
fn on_demand(root: &Path) -> PathBuf {
    target(root).join("guests")
}

/// Cargo's.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn chosen(names: &[&str]) -> Result<Vec<&'static Language>> {
    if names.is_empty() {
        return Ok(LANGUAGES.iter().collect());
    }
    let known = || LANGUAGES.iter().map(|language| language.name).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| {
            LANGUAGES
                .iter()
                .find(|language| language.name == *name)
                .with_context(|| format!("there are guests in {}, not in `{name}`", known()))
        })
        .collect()
}

struct Plugins {
    root: PathBuf,
    directory: PathBuf,
}

impl Plugins {
    fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
        Ok(Plugins { root: root.to_owned(), directory: root.join("plugins") })
    }

    /// Rewrites a language's modules and entries. Returns how many there are.
    fn rebuild(&self, language: &Language, toolchain: &dyn Toolchain, manifest: &mut Manifest) -> Result<usize> {
        let guests = (language.guests)(&self.directory)?;
        let built = self.build(language, toolchain, &guests)?;
        manifest.guests.retain(|entry| !is_in(language, &entry.file));
        for (guest, module) in guests.iter().zip(&built) {
            let entry = self.describe(language, guest, module, &toolchain.version())?;
            fs::write(self.directory.join(&entry.file), module)
                .with_context(|| format!("cannot write {}", entry.file))?;
            say(&format!("{}: {} bytes, {}", entry.file, entry.size, entry.inventory.abi));
            manifest.guests.push(entry);
        }
        manifest.guests.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(guests.len())
    }

    /// What needs no toolchain: sources and modules as they lie there, against the manifest.
    fn check_committed(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut known = BTreeSet::new();
        for language in &LANGUAGES {
            for guest in (language.guests)(&self.directory)? {
                wrong.extend(self.check_guest(language, &guest, manifest));
                known.insert(file_of(language, &guest));
            }
        }
        let strays = self.found(manifest)?.into_iter().filter(|file| !known.contains(file));
        wrong.extend(strays.map(|file| format!("{file}: no guest of this name is known")));
        Ok(wrong)
    }

    fn check_guest(&self, language: &Language, guest: &Guest, manifest: &Manifest) -> Vec<String> {
        let file = file_of(language, guest);
        let Some(entry) = manifest.entry(&file) else { return vec![format!("{file}: not in the manifest")] };
        let Ok(module) = fs::read(self.directory.join(&file)) else { return vec![format!("{file}: cannot be read")] };
        match self.describe(language, guest, &module, &entry.toolchain.compiler) {
            Ok(now) => entry.differences(&now),
            Err(error) => vec![format!("{file}: {error:#}")],
        }
    }

    /// A fresh build, which is left among what is not committed, against the manifest and against what the committed
    /// module does. Size is no matter, and what the standard library imports from WASI counts only if the compiler is
    /// the same.
    fn check_build(
        &self,
        language: &Language,
        toolchain: &dyn Toolchain,
        manifest: &Manifest,
        chassis: &Chassis,
    ) -> Result<Vec<String>> {
        let guests = (language.guests)(&self.directory)?;
        let built = self.build(language, toolchain, &guests)?;
        let fresh = self.directory.join(language.name).join("target/fresh");
        fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
        let mut wrong = Vec::new();
        for (guest, module) in guests.iter().zip(&built) {
            let Some(entry) = manifest.entry(&file_of(language, guest)) else { continue };
            let with_wasi = entry.toolchain.compiler == toolchain.version();
            let mut differences = entry.inventory.differences(&Inventory::of(module)?, with_wasi);
            let fresh = fresh.join(format!("{}.wasm", guest.name));
            fs::write(&fresh, module).with_context(|| format!("cannot write {}", fresh.display()))?;
            differences.extend(chassis.differences(&self.directory.join(&entry.file), &fresh)?);
            wrong.extend(differences.into_iter().map(|difference| format!("{}, built now: {difference}", entry.file)));
        }
        Ok(wrong)
    }

    fn build(&self, language: &Language, toolchain: &dyn Toolchain, guests: &[Guest]) -> Result<Vec<Vec<u8>>> {
        let names: Vec<_> = guests.iter().map(|guest| guest.name.as_str()).collect();
        say(&format!("building {} with {}: {}", language.name, toolchain.version(), names.join(", ")));
        let built = toolchain
            .build(&self.directory.join(language.name), guests)
            .with_context(|| format!("the guests in {}", language.name))?;
        ensure!(built.len() == guests.len(), "{}: not every guest was built", language.name);
        for (guest, module) in guests.iter().zip(&built) {
            self.refuse_machine_paths(&file_of(language, guest), toolchain, module)?;
        }
        Ok(built)
    }

    /// Panic messages hold file names: those of this machine must not get into a module that is shipped.
    fn refuse_machine_paths(&self, file: &str, toolchain: &dyn Toolchain, module: &[u8]) -> Result<()> {
        let mut directories = toolchain.directories();
        directories.push(self.root.clone());
        for path in &directories {
            let path = path.to_string_lossy();
            if !path.is_empty() && module.windows(path.len()).any(|window| window == path.as_bytes()) {
                bail!("{file} holds the path {path} of this machine");
            }
        }
        Ok(())
    }

    fn describe(&self, language: &Language, guest: &Guest, module: &[u8], compiler: &str) -> Result<Entry> {
        Ok(Entry {
            file: file_of(language, guest),
            source_sha256: sources::hash(&self.directory, &guest.sources)?,
            sources: guest.sources.clone(),
            toolchain: BuiltWith { compiler: compiler.to_owned(), sdk: guest.sdk.clone() },
            target: guest.target.to_owned(),
            size: module.len(),
            inventory: Inventory::of(module)?,
        })
    }

    /// Every module that lies in a language's folder or has an entry.
    fn found(&self, manifest: &Manifest) -> Result<BTreeSet<String>> {
        let mut found: BTreeSet<_> = manifest.guests.iter().map(|entry| entry.file.clone()).collect();
        for language in &LANGUAGES {
            let folder = self.directory.join(language.name);
            for file in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let name = file?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".wasm") {
                    found.insert(format!("{}/{name}", language.name));
                }
            }
        }
        Ok(found)
    }
}

/// The module's path below `plugins`.
fn file_of(language: &Language, guest: &Guest) -> String {
    format!("{}/{}.wasm", language.name, guest.name)
}

fn is_in(language: &Language, file: &str) -> bool {
    file.split_once('/').is_some_and(|(folder, _)| folder == language.name)
}

/// The task's result, which other programs read.
#[allow(clippy::print_stdout, reason = "the path is the task's result")]
fn tell(path: &Path) {
    println!("{}", path.display());
}

#[allow(clippy::print_stderr, reason = "a development task tells a person what it does")]
fn say(line: &str) {
    eprintln!("{line}");
}

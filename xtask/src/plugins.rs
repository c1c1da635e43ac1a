//! `cargo xtask plugins`: builds the guests of `plugins/rust`, and checks that what is committed belongs together.
//! Installs nothing and compares no bytes of what it builds: two compilers never agree on those.

mod inventory;
mod manifest;
mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use self::inventory::Inventory;
use self::manifest::{Entry, Manifest, Sources};
use self::toolchain::{Target, Toolchain};

/// A guest crate of the workspace `plugins/rust`; its module is `plugins/rust/NAME.wasm`.
struct Guest {
    name: &'static str,
    target: Target,
    /// The crates of the workspace that it depends on.
    uses: &'static [&'static str],
}

const GUESTS: [Guest; 5] = [
    Guest { name: "add-header", target: Target::Wasip1, uses: &[] },
    Guest { name: "body-rewrite", target: Target::Wasip1, uses: &[] },
    Guest { name: "hello", target: Target::Wasip1, uses: &[] },
    Guest { name: "prime-auth", target: Target::Wasip1, uses: &["primality"] },
    Guest { name: "prime-auth-010", target: Target::Unknown, uses: &["primality"] },
];

/// With `check`, compares the manifest with the committed sources and modules, which needs no Wasm toolchain, and
/// with a fresh build where the toolchain is installed. Without, builds all guests anew and rewrites modules and
/// manifest.
///
/// # Errors
///
/// All that does not fit, in one error; or the toolchain's parts that are missing, and how to get them.
pub(crate) fn run(check: bool) -> Result<()> {
    let plugins = Plugins::find()?;
    if check { plugins.check() } else { plugins.rebuild() }
}

/// Compares the manifest with the committed sources and modules, building nothing.
///
/// # Errors
///
/// All that does not fit, in one error.
pub(crate) fn check_committed() -> Result<usize> {
    let plugins = Plugins::find()?;
    let manifest = Manifest::read(&plugins.directory)?;
    let wrong = plugins.check_committed(&manifest)?;
    ensure!(wrong.is_empty(), "{}\n`cargo xtask plugins` builds all modules and the manifest anew", wrong.join("\n"));
    Ok(GUESTS.len())
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

    fn rebuild(&self) -> Result<()> {
        let toolchain = Toolchain::find()?;
        let built = self.build(&toolchain)?;
        let mut manifest = Manifest::default();
        for (guest, module) in GUESTS.iter().zip(&built) {
            let entry = self.describe(guest, module, toolchain.version())?;
            fs::write(self.directory.join(&entry.file), module)
                .with_context(|| format!("cannot write {}", entry.file))?;
            say(&format!("{}: {} bytes, {}", entry.file, entry.size, entry.inventory.abi));
            manifest.guests.push(entry);
        }
        manifest.write(&self.directory)
    }

    fn check(&self) -> Result<()> {
        let manifest = Manifest::read(&self.directory)?;
        let mut wrong = self.check_committed(&manifest)?;
        match Toolchain::find() {
            Ok(toolchain) => wrong.extend(self.check_build(&manifest, &toolchain)?),
            Err(missing) => say(&format!("not built again: {missing:#}")),
        }
        ensure!(
            wrong.is_empty(),
            "{}\n`cargo xtask plugins` builds all modules and the manifest anew",
            wrong.join("\n")
        );
        say(&format!("{} guests: sources, modules and manifest belong together", GUESTS.len()));
        Ok(())
    }

    /// What needs no toolchain: sources and modules as they lie there, against the manifest.
    fn check_committed(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let mut wrong = self.strays(manifest)?;
        for guest in &GUESTS {
            let file = file_of(guest);
            let Some(entry) = manifest.entry(&file) else {
                wrong.push(format!("{file}: not in the manifest"));
                continue;
            };
            let Ok(module) = fs::read(self.directory.join(&file)) else {
                wrong.push(format!("{file}: cannot be read"));
                continue;
            };
            match self.describe(guest, &module, &entry.toolchain.rustc) {
                Ok(now) => wrong.extend(entry.differences(&now)),
                Err(error) => wrong.push(format!("{file}: {error:#}")),
            }
        }
        Ok(wrong)
    }

    /// A fresh build, left in the workspace's target directory, against the manifest. Size is no matter, and what
    /// the standard library imports from WASI counts only if the compiler is the same.
    fn check_build(&self, manifest: &Manifest, toolchain: &Toolchain) -> Result<Vec<String>> {
        let built = self.build(toolchain)?;
        let mut wrong = Vec::new();
        for (guest, module) in GUESTS.iter().zip(&built) {
            let Some(entry) = manifest.entry(&file_of(guest)) else { continue };
            let with_wasi = entry.toolchain.rustc == toolchain.version();
            let now = Inventory::of(module)?;
            let differences = entry.inventory.differences(&now, with_wasi);
            wrong.extend(differences.into_iter().map(|difference| format!("{}, built now: {difference}", entry.file)));
        }
        Ok(wrong)
    }

    /// The modules of all guests, in the order of the table.
    fn build(&self, toolchain: &Toolchain) -> Result<Vec<Vec<u8>>> {
        let workspace = self.directory.join("rust");
        for target in [Target::Wasip1, Target::Unknown] {
            let packages: Vec<_> =
                GUESTS.iter().filter(|guest| guest.target == target).map(|guest| guest.name).collect();
            say(&format!("building for {}: {}", target.name(), packages.join(", ")));
            toolchain.build(&workspace, target, &packages)?;
        }
        GUESTS
            .iter()
            .map(|guest| {
                let artefact = guest.target.artefact(&workspace, guest.name);
                let module = fs::read(&artefact).with_context(|| format!("cannot read {}", artefact.display()))?;
                self.refuse_machine_paths(guest, toolchain, &module)?;
                Ok(module)
            })
            .collect()
    }

    /// Panic messages hold file names: those of this machine must not get into a module that is shipped.
    fn refuse_machine_paths(&self, guest: &Guest, toolchain: &Toolchain, module: &[u8]) -> Result<()> {
        for path in [&self.root, toolchain.cargo_home()] {
            let path = path.to_string_lossy();
            if module.windows(path.len()).any(|window| window == path.as_bytes()) {
                bail!("{} holds the path {path} of this machine", file_of(guest));
            }
        }
        Ok(())
    }

    fn describe(&self, guest: &Guest, module: &[u8], rustc: &str) -> Result<Entry> {
        let sources = Sources::of(&self.directory, guest.name, guest.uses)?;
        let sdk = manifest::sdk(&self.directory, guest.name)?;
        let inventory = Inventory::of(module)?;
        Ok(Entry {
            file: file_of(guest),
            source_sha256: sources.sha256,
            sources: sources.files,
            toolchain: manifest::BuiltWith { rustc: rustc.to_owned(), sdk },
            target: guest.target.name().to_owned(),
            size: module.len(),
            inventory,
        })
    }

    /// Modules without an entry, and entries without a guest.
    fn strays(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let known: BTreeSet<_> = GUESTS.iter().map(file_of).collect();
        let mut found: BTreeSet<_> = manifest.guests.iter().map(|entry| entry.file.clone()).collect();
        for file in fs::read_dir(self.directory.join("rust")).context("cannot list plugins/rust")? {
            let name = file?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".wasm") {
                found.insert(format!("rust/{name}"));
            }
        }
        Ok(found.difference(&known).map(|file| format!("{file}: no guest of this name is known")).collect())
    }
}

/// The module's path below `plugins`.
fn file_of(guest: &Guest) -> String {
    format!("rust/{}.wasm", guest.name)
}

#[allow(clippy::print_stderr, reason = "a development task tells a person what it does")]
fn say(line: &str) {
    eprintln!("{line}");
}

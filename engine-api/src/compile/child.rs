//! The parent's side.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::artefact::{Artefact, SealKey};
use crate::capabilities::Profile;
use crate::compile::CompileError;
use crate::compile::process::{self, Ended, Stopped};
use crate::compile::protocol::{Answer, EXIT_REFUSED, Request};
use crate::module::CheckedModule;

/// Compiles each module in a new process, which runs [`worker`](crate::compile::worker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCompiler {
    /// The program, usually this one.
    pub program: PathBuf,
    /// Its first arguments; `--engine NAME --profile PROFILE` follow them.
    pub args: Vec<OsString>,
    /// How long it may take on the wall clock, its start included.
    pub wall: Duration,
    /// How much CPU time it may take, in whole seconds, rounded up; all of its threads together.
    pub cpu: Duration,
    /// How many bytes of writable memory it may have.
    pub memory_bytes: u64,
}

/// Compiled code is held in memory as it comes, so there is a bound; for a module of 16 MiB it is 16 times its size.
const MOST_CODE: u64 = 256 << 20;

impl ChildCompiler {
    /// A compiler with 30 s on the wall clock, 20 s of CPU time and 1 GiB of memory.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        ChildCompiler {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(20),
            memory_bytes: 1 << 30,
        }
    }

    /// Compiles a module for the engine of this name and profile. Waits for the child; it is gone afterwards.
    ///
    /// # Errors
    /// See [`CompileError`]; which limit was hit, or what the child said.
    pub fn compile(&self, engine: &str, profile: Profile, module: &CheckedModule) -> Result<Artefact, CompileError> {
        let key = SealKey::generate().map_err(CompileError::Key)?;
        let request = Request {
            key: key.clone(),
            cpu: self.cpu,
            memory_bytes: self.memory_bytes,
            module_bytes: module.bytes().len() as u64,
        };
        let sent = module.clone();
        let feed = move |stdin: &mut dyn std::io::Write| {
            let mut stdin = stdin;
            request.write(&mut stdin)?;
            stdin.write_all(sent.bytes())
        };
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(["--engine", engine, "--profile", profile.as_str()]);
        let ended = process::run(&mut command, feed, self.wall, MOST_CODE).map_err(|stopped| self.stopped(&stopped))?;
        self.judge(ended, &key)
    }

    fn stopped(&self, stopped: &Stopped) -> CompileError {
        match stopped {
            Stopped::Start(error) => CompileError::Start { program: self.program.clone(), message: error.to_string() },
            Stopped::Time => CompileError::WallTime(self.wall),
            Stopped::Output => CompileError::TooLarge(MOST_CODE),
        }
    }

    fn judge(&self, ended: Ended, key: &SealKey) -> Result<Artefact, CompileError> {
        let Ended { status, stdout, stderr } = ended;
        let code = status.code();
        if code != Some(0) && code != Some(i32::from(EXIT_REFUSED)) {
            return Err(self.died(status, &stderr));
        }
        match (code, Answer::parse(stdout)) {
            (Some(0), Some(Answer::Compiled(sealed))) => {
                Artefact::open(&sealed, key).map_err(|error| CompileError::Answer(error.to_string()))
            }
            (Some(_), Some(Answer::Refused(message))) => Err(CompileError::Refused(shown(&message))),
            _ => Err(CompileError::Answer(with("it is not in the form that was expected", &stderr))),
        }
    }

    fn died(&self, status: ExitStatus, stderr: &str) -> CompileError {
        if cpu_limit(status) {
            return CompileError::CpuTime(self.cpu);
        }
        // How Rust programs end when they get no memory.
        if status.code().is_none() && stderr.contains("memory allocation of") {
            return CompileError::Memory(self.memory_bytes);
        }
        CompileError::Died(with(&status.to_string(), stderr))
    }
}

/// Whether the signal for the limit on CPU time ended the process.
#[cfg(unix)]
fn cpu_limit(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn cpu_limit(_status: ExitStatus) -> bool {
    false
}

fn with(what: &str, stderr: &str) -> String {
    if stderr.is_empty() { what.to_owned() } else { format!("{what}: {}", shown(stderr)) }
}

/// The beginning of a message, without control characters: parts of it may be the module's own words.
fn shown(message: &str) -> String {
    message.chars().take(2_000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

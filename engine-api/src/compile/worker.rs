//! The child's side.

use std::io::{self, Read, Write};

use crate::artefact::{Artefact, SealKey};
use crate::check::FrontLimits;
use crate::compile::protocol::{Answer, EXIT_REFUSED, Request};
use crate::engine::EngineError;
use crate::module::CheckedModule;

/// Compiles one module for the parent process: takes the request from `stdin`, holds this process to the limits in it,
/// checks the module, has it compiled, and writes the sealed answer to `stdout`, to which nothing else may be written.
///
/// Returns the exit code: 0 with code in the answer, 4 with a reason for refusal in it, 2 if there was no proper
/// request, or the answer could not be written.
///
/// The limits hold for this process from then on: it should do nothing else, and end.
pub fn worker(
    stdin: impl Read,
    stdout: impl Write,
    compile: impl FnOnce(&CheckedModule) -> Result<Option<Artefact>, EngineError>,
) -> u8 {
    answer(stdin, stdout, limit_this_process, compile)
}

fn answer(
    mut stdin: impl Read,
    mut stdout: impl Write,
    limit: impl FnOnce(&Request) -> io::Result<()>,
    compile: impl FnOnce(&CheckedModule) -> Result<Option<Artefact>, EngineError>,
) -> u8 {
    let Ok(request) = Request::read(&mut stdin) else { return 2 };
    let answer = match limit(&request) {
        Err(error) => Answer::Refused(format!("the compiler's limits could not be set: {error}")),
        Ok(()) => match request.read_module(&mut stdin) {
            Ok(module) => compiled(module, &request.key, compile),
            Err(_) => return 2,
        },
    };
    let code = if matches!(answer, Answer::Compiled(_)) { 0 } else { EXIT_REFUSED };
    if answer.write(&mut stdout).is_ok() { code } else { 2 }
}

fn compiled(
    module: Vec<u8>,
    key: &SealKey,
    compile: impl FnOnce(&CheckedModule) -> Result<Option<Artefact>, EngineError>,
) -> Answer {
    // The parent has held the module to its own limits; here they would only be guessed again.
    let module = match CheckedModule::new(module, &NO_LIMITS) {
        Ok(module) => module,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    match compile(&module) {
        Ok(Some(artefact)) => Answer::Compiled(artefact.seal(key)),
        Ok(None) => Answer::Refused("this engine has no compiled code to hand over".to_owned()),
        Err(error) => Answer::Refused(error.to_string()),
    }
}

const NO_LIMITS: FrontLimits = FrontLimits {
    module_bytes: u64::MAX,
    functions: u64::MAX,
    body_bytes: u64::MAX,
    locals: u64::MAX,
    locals_times_branches: u64::MAX,
    params: u64::MAX,
    results: u64::MAX,
    section_entries: u64::MAX,
    elements: u64::MAX,
    tables: u64::MAX,
    memories: u64::MAX,
};

/// CPU time, writable private memory (not address space, of which engines reserve much more than they use), no core
/// dump with the module's and the key's bytes in it.
#[cfg(unix)]
fn limit_this_process(request: &Request) -> io::Result<()> {
    use rustix::process::Resource;

    // Without its parent nobody would bound its time on the wall clock.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let seconds = request.cpu.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX - 1);
    // At the soft limit the signal tells the parent why; at the hard one it cannot be ignored.
    lower(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    lower(Resource::Data, request.memory_bytes, request.memory_bytes)?;
    lower(Resource::Core, 0, 0)
}

#[cfg(unix)]
fn lower(resource: rustix::process::Resource, soft: u64, hard: u64) -> io::Result<()> {
    let inherited = rustix::process::getrlimit(resource);
    let within = |limit: u64, inherited: Option<u64>| Some(inherited.map_or(limit, |inherited| inherited.min(limit)));
    let maximum = within(hard, inherited.maximum);
    let current = within(soft, inherited.current);
    Ok(rustix::process::setrlimit(resource, rustix::process::Rlimit { current, maximum })?)
}

#[cfg(not(unix))]
fn limit_this_process(_request: &Request) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(module: &[u8]) -> (SealKey, Vec<u8>) {
        let key = SealKey::from_bytes([5; 32]);
        let request = Request {
            key: key.clone(),
            cpu: Duration::from_secs(1),
            memory_bytes: 1 << 30,
            module_bytes: module.len() as u64,
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes).unwrap();
        bytes.extend_from_slice(module);
        (key, bytes)
    }

    #[allow(unsafe_code)]
    fn save(module: &CheckedModule) -> Result<Option<Artefact>, EngineError> {
        // SAFETY: no engine loads it.
        Ok(Some(unsafe { Artefact::from_engine("engine", *module.digest(), module.bytes().to_vec()) }))
    }

    fn run(
        stdin: &[u8],
        compile: impl FnOnce(&CheckedModule) -> Result<Option<Artefact>, EngineError>,
    ) -> (u8, Option<Answer>) {
        let mut stdout = Vec::new();
        let code = answer(stdin, &mut stdout, |_| Ok(()), compile);
        (code, Answer::parse(stdout))
    }

    #[test]
    fn the_answer_is_sealed_with_the_requests_key() {
        let module = wat::parse_str("(module)").unwrap();
        let (key, stdin) = request(&module);
        let (code, Some(Answer::Compiled(sealed))) = run(&stdin, save) else { panic!() };
        assert_eq!(code, 0);
        assert_eq!(Artefact::open(&sealed, &key).unwrap().bytes(), module);
    }

    #[test]
    fn refusals_carry_their_reason_and_exit_code() {
        let refused = |answer: (u8, Option<Answer>)| match answer {
            (EXIT_REFUSED, Some(Answer::Refused(message))) => message,
            other => panic!("{other:?}"),
        };
        let (_, bad) = request(b"\0asm\x01\0\0\0\x01");
        assert!(refused(run(&bad, save)).starts_with("not a valid module"));
        let (_, good) = request(&wat::parse_str("(module)").unwrap());
        assert!(refused(run(&good, |_| Ok(None))).contains("no compiled code"));
        let error = || EngineError::Compile { engine: "fake", message: "too odd".to_owned() };
        assert_eq!(refused(run(&good, |_| Err(error()))), "fake could not compile the module: too odd");
        let mut stdout = Vec::new();
        let code = answer(&good[..], &mut stdout, |_| Err(io::Error::other("not allowed")), save);
        assert!(refused((code, Answer::parse(stdout))).contains("limits could not be set: not allowed"));
    }

    #[test]
    fn without_a_proper_request_nothing_is_answered() {
        let (_, whole) = request(&wat::parse_str("(module)").unwrap());
        for cut in 0..whole.len() {
            assert_eq!(run(&whole[..cut], save), (2, None));
        }
    }

    #[test]
    fn an_answer_that_nobody_takes_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (_, stdin) = request(&wat::parse_str("(module)").unwrap());
        assert_eq!(answer(&stdin[..], Closed, |_| Ok(()), save), 2);
    }
}

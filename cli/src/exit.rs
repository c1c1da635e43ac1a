//! Exit codes, which are a contract.

use std::io;
use std::process::ExitCode;

use chassis_engines::OpenError;
use chassis_host::StartError;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// The check ran and the answer is no.
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The plugin failed.
    PluginFailed = 3,
    /// A module or a configuration cannot be read, or is not valid.
    Invalid = 4,
    /// The engine was not compiled in.
    NoEngine = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A plugin that does not start has failed; one that refuses its configuration says that the configuration is wrong.
impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::ConfigurationRefused => Exit::Invalid,
            _ => Exit::PluginFailed,
        }
    }
}

/// How a command ended.
pub(crate) type Ended = Result<Exit, Failure>;

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    /// What is wrong besides; printed after it.
    pub(crate) others: Vec<anyhow::Error>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { exit, error: error.into(), others: Vec::new() }
    }

    /// Several errors, in this order, each with the code that it would end with alone: the lowest counts, as a mistake
    /// in a file is to be mended before anything that is missing here. `None` without an error.
    pub(crate) fn several(errors: impl IntoIterator<Item = (Exit, anyhow::Error)>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let (exit, error) = errors.next()?;
        let mut failure = Failure::new(exit, error);
        for (exit, error) in errors {
            failure.exit = failure.exit.min(exit);
            failure.others.push(error);
        }
        Some(failure)
    }

    /// All errors, in their order.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &anyhow::Error> {
        std::iter::once(&self.error).chain(&self.others)
    }

    /// Whether it is only that nobody reads the output any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Unknown { .. } => Exit::Usage,
            _ => Exit::NoEngine,
        };
        Failure::new(exit, error)
    }
}

/// Output that could not be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::new(Exit::Usage, anyhow::Error::new(error).context("the output cannot be written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_engine_that_is_not_here_has_its_own_code() {
        assert_eq!(Failure::from(OpenError::NotCompiledIn { name: "wasmi" }).exit, Exit::NoEngine);
        assert_eq!(Failure::from(OpenError::Unknown { name: "v9".to_owned() }).exit, Exit::Usage);
    }

    #[test]
    fn of_several_errors_each_is_kept_and_the_lowest_code_counts() {
        let errors = [(Exit::NoEngine, "a"), (Exit::Invalid, "b")].map(|(exit, text)| (exit, anyhow::anyhow!(text)));
        let failure = Failure::several(errors).unwrap();
        assert_eq!(failure.exit, Exit::Invalid);
        assert_eq!(failure.errors().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
        assert!(Failure::several([]).is_none());
    }
}

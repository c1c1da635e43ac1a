//! Log lines of the gateway and of its plugins, where the command line and the configuration want them.

use std::io;
use std::time::Duration;

use chassis_abi::LogLevel;
use chassis_gateway::config::{ErrorLogForm, LogConfig, LogLevel as Named};
use chassis_gateway::logs::{LogTarget, LogWriter, NginxLines};
use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As nginx's error log.
    Nginx,
    /// An object per line.
    Json,
    /// For people: with colours, and all that is known.
    Human,
}

/// The lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// All.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What went wrong.
    Error,
}

/// Levels of the gateway's lines, and of plugins' ones.
fn levels(level: Level) -> (LevelFilter, LogLevel) {
    match level {
        Level::Trace => (LevelFilter::TRACE, LogLevel::Trace),
        Level::Debug => (LevelFilter::DEBUG, LogLevel::Debug),
        Level::Info => (LevelFilter::INFO, LogLevel::Info),
        Level::Warn => (LevelFilter::WARN, LogLevel::Warn),
        Level::Error => (LevelFilter::ERROR, LogLevel::Error),
    }
}

fn levels_by_name(level: Named) -> (LevelFilter, LogLevel) {
    match level {
        Named::Debug => levels(Level::Debug),
        Named::Info => levels(Level::Info),
        Named::Notice | Named::Warn => levels(Level::Warn),
        Named::Error => levels(Level::Error),
        Named::Crit | Named::Alert | Named::Emerg => (LevelFilter::ERROR, LogLevel::Critical),
    }
}

/// A log that cannot be written to.
#[derive(Debug)]
pub(super) struct Unwritable {
    target: LogTarget,
    error: io::Error,
}

impl std::fmt::Display for Unwritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to the log {}: {}", self.target, self.error)
    }
}

fn open(target: &LogTarget) -> Result<LogWriter, Unwritable> {
    LogWriter::open(target.clone()).map_err(|error| Unwritable { target: target.clone(), error })
}

/// Opens the access log, if there is to be one.
pub(super) fn access(config: &LogConfig) -> Result<Option<LogWriter>, Unwritable> {
    config.access.as_ref().map(|access| open(&access.target)).transpose()
}

/// The error log.
pub(super) struct ErrorLog {
    pub(super) writer: LogWriter,
    pub(super) level_of_plugins: LogLevel,
}

/// How long is waited for the last lines at the end.
const PATIENCE: Duration = Duration::from_secs(1);

impl ErrorLog {
    /// Writes what is not written yet.
    pub(super) fn close(&self) {
        self.writer.close(PATIENCE);
    }
}

/// Lets what should not happen go to the standard error, for people, in a command that serves nothing.
pub(crate) fn start_plain() {
    let colours = anstream::stderr().current_choice() != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::WARN)
        // A line that cannot be written is no reason to panic, which it is by default.
        .log_internal_errors(false)
        .with_target(false)
        .without_time()
        .with_ansi(colours);
    // Only the first of a process counts, and there is only this one.
    let _ = tracing::subscriber::set_global_default(lines.finish());
}

/// Lets log lines go where they are to go from now on.
pub(super) fn start(config: &LogConfig, format: Option<Format>, level: Option<Level>) -> Result<ErrorLog, Unwritable> {
    let target = config.error_log.clone().unwrap_or(LogTarget::Stderr);
    let named = config.error_log_level.map(levels_by_name);
    let (level, level_of_plugins) = level.map(levels).or(named).unwrap_or(levels(Level::Info));
    let format = format.unwrap_or(match config.error_log_form {
        Some(ErrorLogForm::Json) => Format::Json,
        Some(ErrorLogForm::Human) => Format::Human,
        Some(ErrorLogForm::Nginx) | None => Format::Nginx,
    });
    let colours = target == LogTarget::Stderr && anstream::stderr().current_choice() != anstream::ColorChoice::Never;
    let writer = open(&target)?;
    let lines = {
        let writer = writer.clone();
        // A line that cannot be written is no reason to panic, which it is by default.
        tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(level)
            .log_internal_errors(false)
            .with_target(false)
            .with_ansi(colours && format == Format::Human)
    };
    // Only the first of a process counts, and there is only this one.
    let _ = match format {
        Format::Nginx => tracing::subscriber::set_global_default(lines.event_format(NginxLines).finish()),
        Format::Human => tracing::subscriber::set_global_default(lines.finish()),
        Format::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
    Ok(ErrorLog { writer, level_of_plugins })
}

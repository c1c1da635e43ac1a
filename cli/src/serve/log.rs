//! Log lines of the gateway and of its plugins, on the standard error.

use std::io;

use chassis_abi::LogLevel;
use chassis_host::{LogLine, LogSink, Reason};
use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// An object per line.
    Json,
}

/// The lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
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

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        }
    }
}

/// Lets log lines go to the standard error from now on.
pub(super) fn start(format: Format, level: Level) {
    let colours = anstream::stderr().current_choice() != anstream::ColorChoice::Never;
    // Nobody may be there to read them, and that must not end anything: by default, a line that cannot be written is
    // a reason to panic.
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::from(level))
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(colours);
    // Only the first of a process counts, and there is only this one.
    let _ = match format {
        Format::Text => tracing::subscriber::set_global_default(lines.finish()),
        Format::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
}

/// Logs a line at a level, which has to be known when this is compiled. A level is all that differs.
macro_rules! emit {
    ($level:ident, $line:expr) => {{
        let line = $line;
        let (plugin, context, callback) = (line.plugin, line.context, line.callback);
        tracing::event!(tracing::Level::$level, plugin, context, callback, by = by(line), "{}", line.message)
    }};
}

/// Plugins' lines among the others, with the plugin's name.
pub(super) struct TracingSink;

impl LogSink for TracingSink {
    fn log(&self, line: &LogLine<'_>) {
        match line.level {
            LogLevel::Trace => emit!(TRACE, line),
            LogLevel::Debug => emit!(DEBUG, line),
            LogLevel::Info => emit!(INFO, line),
            LogLevel::Warn => emit!(WARN, line),
            // Tracing has nothing above this.
            LogLevel::Error | LogLevel::Critical => emit!(ERROR, line),
        }
    }
}

fn by(line: &LogLine<'_>) -> &'static str {
    match line.reason {
        Reason::Guest => "guest",
        Reason::Crash => "host",
    }
}

//! Standard output and error, line by line.

use super::log;
use crate::state::VmState;
use crate::types::LogLevel;

/// What a guest has written of lines that have not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Output {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Output {
    /// Whether no line waits for its end.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.err.is_empty()
    }

    fn of(&mut self, level: LogLevel) -> &mut Vec<u8> {
        if level == LogLevel::Error { &mut self.err } else { &mut self.out }
    }
}

/// Logs the lines that end in `text`, and keeps what follows them. A line too long for the log goes on in another one.
pub(super) fn write(state: &mut VmState, level: LogLevel, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let line = state.output.of(level);
        let room = log::MAX_LINE - line.len();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(rest.len()).min(room);
        line.extend_from_slice(&rest[..taken]);
        let newline = end == Some(taken);
        let is_full = line.len() == log::MAX_LINE;
        rest = &rest[taken + usize::from(newline)..];
        if newline || is_full {
            end_line(state, level);
        }
    }
}

/// Logs what waits for the end of its line: the callback has ended.
#[cold]
pub(crate) fn flush(state: &mut VmState) {
    end_line(state, LogLevel::Info);
    end_line(state, LogLevel::Error);
}

fn end_line(state: &mut VmState, level: LogLevel) {
    let mut line = std::mem::take(state.output.of(level));
    if line.is_empty() {
        return;
    }
    log::emit(state, level, &line);
    line.clear();
    line.shrink_to(KEPT);
    *state.output.of(level) = line;
}

/// For how many bytes of a line there is room without asking for memory.
const KEPT: usize = 4096;

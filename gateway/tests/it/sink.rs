//! Where the plugins' log lines go.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use chassis_host::{LogLine, LogSink, Reason};

#[derive(Debug, Default)]
pub(crate) struct Sink {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) plugin: String,
    pub(crate) context: u32,
    /// Without `proxy_on_`.
    pub(crate) callback: &'static str,
}

impl LogSink for Sink {
    fn log(&self, line: &LogLine<'_>) {
        self.lines.lock().unwrap().push(Line {
            reason: line.reason,
            message: line.message.clone().into_owned(),
            plugin: line.plugin.to_owned(),
            context: line.context,
            callback: line.callback.strip_prefix("proxy_on_").unwrap_or(line.callback),
        });
        self.more.notify_all();
    }
}

impl Sink {
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.lines.lock().unwrap().clear();
    }

    /// What was logged since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap()).into_iter().map(|line| line.message).collect()
    }

    /// Waits until a line of this callback was logged so many times, and gives all lines.
    pub(crate) fn wait_for(&self, callback: &str, count: usize) -> Vec<Line> {
        let came = |lines: &mut Vec<Line>| lines.iter().filter(|line| line.callback == callback).count() < count;
        let lines = self.lines.lock().unwrap();
        let (lines, waited) = self.more.wait_timeout_while(lines, Duration::from_secs(5), came).unwrap();
        assert!(!waited.timed_out(), "no {callback}: {lines:?}");
        lines.clone()
    }

    /// What the stream of a context was shown: `callback=message`, once it was deleted.
    pub(crate) fn story(&self) -> Vec<String> {
        let lines = self.wait_for("delete", 1);
        lines.iter().map(|line| format!("{}={}", line.callback, line.message)).collect()
    }

    pub(crate) fn crashes(&self) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.reason == Reason::Crash).collect()
    }
}

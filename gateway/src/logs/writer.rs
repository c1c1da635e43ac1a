//! A file that lines are written to by a thread of its own.
//!
//! Each thread that logs has a buffer of its own, whose lock nobody holds for longer than it takes to write one line into
//! it or to exchange it for an empty one. The thread that writes is woken once for all lines of a moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard error.
    Stderr,
    /// The standard output.
    Stdout,
    /// The end of a file, which is made if it is not there.
    File(PathBuf),
}

impl LogTarget {
    /// A target as nginx's configuration names it: `stderr`, or a path; `/dev/stdout` and `/dev/stderr` are the streams
    /// themselves, so that they may be sockets.
    pub fn new(path: &Path) -> Self {
        match path.to_str() {
            Some("stderr" | "/dev/stderr") => LogTarget::Stderr,
            Some("/dev/stdout") => LogTarget::Stdout,
            _ => LogTarget::File(path.to_owned()),
        }
    }

    fn open(&self) -> io::Result<Output> {
        match self {
            LogTarget::Stderr => Ok(Output::Stderr),
            LogTarget::Stdout => Ok(Output::Stdout),
            LogTarget::File(path) => OpenOptions::new().append(true).create(true).open(path).map(Output::File),
        }
    }
}

/// A way to write lines: one buffer of a [`LogTarget`]. The last one that is dropped waits a second for what it wrote.
#[derive(Debug, Clone)]
pub struct LogWriter {
    buffer: Arc<Mutex<Buffer>>,
    owner: Arc<Owner>,
}

/// The bytes that one buffer holds before further lines are dropped.
const BUFFER: usize = 1 << 20;
/// How long further lines are waited for before all are written.
const GATHER: Duration = Duration::from_millis(20);
/// How long nothing is said again of lines that were dropped.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// How long the last owner waits.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    target: LogTarget,
    buffers: Mutex<Vec<Arc<Mutex<Buffer>>>>,
    thread: OnceLock<Thread>,
    woken: AtomicBool,
    reopen: AtomicBool,
    closing: AtomicBool,
    dropped: AtomicU64,
    /// Whether all has been written after it was closed.
    closed: (Mutex<bool>, Condvar),
}

#[derive(Debug)]
struct Owner(Arc<Shared>);

enum Output {
    Stderr,
    Stdout,
    File(File),
}

impl LogWriter {
    /// Opens a target and starts its thread.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is no thread.
    pub fn open(target: LogTarget) -> io::Result<Self> {
        let output = target.open()?;
        let shared = Arc::new(Shared {
            target,
            buffers: Mutex::default(),
            thread: OnceLock::new(),
            woken: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            closed: (Mutex::new(false), Condvar::new()),
        });
        let body = Arc::clone(&shared);
        let spawned =
            thread::Builder::new().name("chassis-log".to_owned()).spawn(move || Task::new(body, output).run())?;
        // Nobody else sets it.
        let _ = shared.thread.set(spawned.thread().clone());
        Ok(LogWriter::of(Arc::new(Owner(shared))))
    }

    fn of(owner: Arc<Owner>) -> Self {
        let buffer = Arc::<Mutex<Buffer>>::default();
        lock(&owner.0.buffers).push(Arc::clone(&buffer));
        LogWriter { buffer, owner }
    }

    /// A writer to the same target with a buffer of its own, for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        LogWriter::of(Arc::clone(&self.owner))
    }

    /// Writes a line into the buffer; `line` appends it, its end included. Without room it is dropped, and counted.
    pub fn write(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = lock(&self.buffer);
        if buffer.bytes.len() >= BUFFER {
            drop(buffer);
            self.owner.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = buffer.bytes.is_empty();
        line(&mut buffer.bytes);
        drop(buffer);
        if first {
            self.owner.0.wake();
        }
    }

    /// Opens the file anew, as when it was moved away. If it cannot be opened, the old one is written on.
    pub fn reopen(&self) {
        let shared = &self.owner.0;
        shared.reopen.store(true, Ordering::Release);
        shared.woken.store(true, Ordering::Release);
        shared.unpark();
    }

    /// How many lines were dropped, because there was no room for them or they could not be written.
    pub fn dropped(&self) -> u64 {
        self.owner.0.dropped.load(Ordering::Relaxed)
    }

    /// Writes what there is, and waits for that at most for `patience`. What is written afterwards is lost.
    pub fn close(&self, patience: Duration) {
        self.owner.0.close(patience);
    }
}

/// Each write is a line.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LogWriter::write(self, |buffer| buffer.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Has the thread look at the buffers soon.
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn close(&self, patience: Duration) {
        self.closing.store(true, Ordering::Release);
        self.unpark();
        let (closed, told) = &self.closed;
        let wait = told.wait_timeout_while(lock(closed), patience, |closed| !*closed);
        drop(wait);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(LAST_PATIENCE);
    }
}

/// What a thread that panicked left is as good as any other line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread does.
struct Task {
    shared: Arc<Shared>,
    output: Output,
    /// What is exchanged for a buffer.
    spare: Vec<u8>,
    /// Whether the last line that was written is not whole.
    torn: bool,
    failure: Option<io::Error>,
    told: u64,
    told_at: Option<Instant>,
}

impl Task {
    fn new(shared: Arc<Shared>, output: Output) -> Self {
        Task { shared, output, spare: Vec::new(), torn: false, failure: None, told: 0, told_at: None }
    }

    fn run(mut self) {
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            if !closing && !self.shared.woken.load(Ordering::Acquire) {
                if self.shared.dropped.load(Ordering::Relaxed) > self.told {
                    thread::park_timeout(TELL_AGAIN);
                    self.tell();
                } else {
                    thread::park();
                }
                continue;
            }
            if !closing {
                thread::park_timeout(GATHER);
            }
            self.shared.woken.store(false, Ordering::Release);
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let buffers = lock(&self.shared.buffers).clone();
            for buffer in buffers {
                std::mem::swap(&mut lock(&buffer).bytes, &mut self.spare);
                let lines = std::mem::take(&mut self.spare);
                self.put(&lines);
                self.spare = lines;
                self.spare.clear();
            }
            self.forget_unused();
            if closing {
                break;
            }
            self.tell();
        }
        let (closed, told) = &self.shared.closed;
        *lock(closed) = true;
        told.notify_all();
    }

    /// Buffers whose writers are gone.
    fn forget_unused(&self) {
        let mut buffers = lock(&self.shared.buffers);
        buffers.retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).bytes.is_empty());
    }

    fn reopen(&mut self) {
        match self.shared.target.open() {
            Ok(output) => {
                self.output = output;
                self.torn = false;
            }
            Err(error) => tracing::error!("the log {} cannot be reopened: {error}", self.shared.target),
        }
    }

    fn put(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let mut rest = lines;
        if self.torn {
            match self.output.write(b"\n") {
                Ok(1) => self.torn = false,
                Ok(_) => return self.lose(rest, io::ErrorKind::WriteZero.into()),
                Err(error) => return self.lose(rest, error),
            }
        }
        let mut waited = 0;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return self.lose(rest, io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody made the standard error so that it does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && waited < 100 => {
                    waited += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return self.lose(rest, error),
            }
        }
    }

    fn lose(&mut self, rest: &[u8], error: io::Error) {
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        self.shared.dropped.fetch_add(lines as u64, Ordering::Relaxed);
        self.failure = Some(error);
    }

    /// Says how many lines were dropped, if any were and it was not said a moment ago.
    fn tell(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped == self.told || self.told_at.is_some_and(|told| told.elapsed() < TELL_AGAIN) {
            return;
        }
        let (lines, target) = (dropped - self.told, &self.shared.target);
        match self.failure.take() {
            Some(error) => tracing::error!("{lines} lines of the log {target} were dropped: {error}"),
            None => {
                tracing::warn!("{lines} lines of the log {target} were dropped: they come faster than they are written")
            }
        }
        self.told = dropped;
        self.told_at = Some(Instant::now());
    }
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stderr => io::stderr().write(bytes),
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush().map(|()| bytes.len())
            }
            Output::File(file) => file.write(bytes),
        }
    }
}

impl std::fmt::Display for LogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogTarget::Stderr => f.write_str("stderr"),
            LogTarget::Stdout => f.write_str("/dev/stdout"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "it does not come");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn line(writer: &LogWriter, text: &str) {
        writer.write(|buffer| buffer.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn lines_of_all_buffers_are_written_whole_and_the_file_is_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let writer = LogWriter::open(LogTarget::File(path.clone())).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let writer = writer.another();
                thread::spawn(move || (0..500).for_each(|_| line(&writer, &format!("line of {number}\n"))))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        wait_for(|| std::fs::read_to_string(&path).unwrap().len() == 2000 * 10);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|line| line.starts_with("line of ") && line.len() == 9));
        std::fs::rename(&path, &moved).unwrap();
        line(&writer, "before\n");
        wait_for(|| std::fs::read_to_string(&moved).unwrap().ends_with("before\n"));
        writer.reopen();
        wait_for(|| path.exists());
        line(&writer, "after\n");
        writer.close(Duration::from_secs(5));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(writer.dropped(), 0);
    }

    /// A file system that is full, as Linux has one for tests.
    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let writer = LogWriter::open(LogTarget::File("/dev/full".into())).unwrap();
        (0..10).for_each(|_| line(&writer, "lost\n"));
        wait_for(|| writer.dropped() == 10);
    }

    /// A pipe that nobody reads.
    #[cfg(unix)]
    #[test]
    fn a_file_that_takes_nothing_blocks_nobody_and_bounds_what_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Opened for both, it has a reader that does not read.
        let _reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let writer = LogWriter::open(LogTarget::File(path)).unwrap();
        let text = "x".repeat(999) + "\n";
        let (mut slowest, mut all) = (Duration::ZERO, 0u64);
        while writer.dropped() < 1000 {
            let begin = Instant::now();
            line(&writer, &text);
            slowest = slowest.max(begin.elapsed());
            all += 1;
            assert!(all < 100_000, "nothing is dropped");
        }
        // 10 ms is promised.
        assert!(slowest < Duration::from_millis(50), "{slowest:?}");
        assert!(lock(&writer.buffer).bytes.len() <= BUFFER + text.len());
    }
}

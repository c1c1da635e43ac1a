//! A child process that is always stopped and reaped, and whose pipes never block its parent.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a child left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// The end of what it wrote there.
    pub(crate) stderr: String,
}

/// Why a child was not left to end by itself.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It could not be started.
    Start(io::Error),
    /// Its time was over.
    Time,
    /// It wrote more than it may.
    Output,
}

/// Runs a command with something to read on its standard input, until it ended, `wall` is over, or it wrote more than
/// `most` bytes; then it exists no more, and neither does what it started in its process group.
pub(crate) fn run(
    command: &mut Command,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    wall: Duration,
    most: u64,
) -> Result<Ended, Stopped> {
    let deadline = Instant::now().checked_add(wall);
    let mut child = Reaped::spawn(command).map_err(Stopped::Start)?;
    let pipes = (child.child.stdin.take(), child.child.stdout.take(), child.child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Stopped::Start(io::Error::other("it has no pipes")));
    };
    // These threads end with the child, whose death closes its ends of the pipes; nobody waits for them.
    spawn(move || {
        // A child that does not read all says why by its answer or its exit code.
        let _ = feed(&mut stdin);
    })
    .map_err(Stopped::Start)?;
    let stdout = in_background(move || all(stdout, most)).map_err(Stopped::Start)?;
    let stderr = in_background(move || end_of(stderr)).map_err(Stopped::Start)?;

    let written = match receive(&stdout, deadline) {
        Some(Ok(written)) => written,
        Some(Err(TooMuch)) => return Err(Stopped::Output),
        None => return Err(Stopped::Time),
    };
    let status = child.wait(deadline).map_err(Stopped::Start)?.ok_or(Stopped::Time)?;
    // Nobody has the other end any more; a little patience covers the thread's own pace.
    let stderr = stderr.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok(Ended { status, stdout: written, stderr })
}

/// How much of its standard error is kept.
const STDERR: usize = 2_000;

/// A process that is stopped, with all of its process group, and reaped: when it ended, or else when this is dropped.
struct Reaped {
    child: Child,
    gone: bool,
}

impl Reaped {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        Ok(Reaped { child: command.spawn()?, gone: false })
    }

    /// Waits until it ended; `None` if that takes too long.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_micros(200);
        while !self.ended() {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        self.stop().map(Some)
    }

    /// Whether it ended. It is not reaped by asking, so that its process group's number stays its own.
    #[cfg(unix)]
    fn ended(&mut self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let Some(pid) = self.pid() else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    #[cfg(not(unix))]
    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    #[cfg(unix)]
    fn pid(&self) -> Option<rustix::process::Pid> {
        i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
    }

    fn stop(&mut self) -> io::Result<ExitStatus> {
        self.gone = true;
        // That it, or the rest of its group, has ended already is no error.
        #[cfg(unix)]
        if let Some(pid) = self.pid() {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        #[cfg(not(unix))]
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if !self.gone {
            let _ = self.stop();
        }
    }
}

struct TooMuch;

fn all(mut from: impl Read, most: u64) -> Result<Vec<u8>, TooMuch> {
    let mut bytes = Vec::new();
    // A pipe that breaks has given all that there is.
    let _ = from.by_ref().take(most.saturating_add(1)).read_to_end(&mut bytes);
    if bytes.len() as u64 > most { Err(TooMuch) } else { Ok(bytes) }
}

/// The end of what can be read, without the control characters.
fn end_of(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        kept.extend_from_slice(&piece[..count]);
        kept.drain(..kept.len().saturating_sub(STDERR));
    }
    let text = String::from_utf8_lossy(&kept);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).collect()
}

fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Receiver<T>> {
    let (sender, receiver) = sync_channel(1);
    spawn(move || {
        // Nobody listens any more if the time was over.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("chassis-compile".to_owned()).spawn(work).map(drop)
}

/// `None` if nothing came in time.
fn receive<T>(from: &Receiver<T>, deadline: Option<Instant>) -> Option<T> {
    match deadline {
        Some(deadline) => from.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
        None => from.recv().ok(),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sh(script: &str, input: Vec<u8>, wall: Duration, most: u64) -> (Result<Ended, Stopped>, Duration) {
        let begin = Instant::now();
        let feed = move |stdin: &mut dyn Write| stdin.write_all(&input);
        let result = run(Command::new("sh").args(["-c", script]), feed, wall, most);
        (result, begin.elapsed())
    }

    #[test]
    fn input_output_errors_and_exit_code_arrive() {
        let input = vec![b'x'; 1 << 20];
        let (ended, _) = sh("cat; printf 'oh\nno' >&2; exit 3", input.clone(), 20 * SECOND, 1 << 20);
        let ended = ended.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.stdout == input);
        assert_eq!(ended.stderr, "oh no");
    }

    #[test]
    fn a_child_that_does_not_read_or_end_is_stopped_in_time() {
        // It reads nothing, closes its output, ignores what can be ignored, or leaves the work to a child of its own.
        for script in [
            "sleep 100",
            "exec >&- 2>&-; sleep 100",
            "trap '' TERM HUP INT; sleep 100; sleep 100",
            "sleep 100 & wait",
            "yes >&2",
        ] {
            let (stopped, took) = sh(script, vec![0; 1 << 20], SECOND / 5, 10);
            assert!(matches!(stopped, Err(Stopped::Time)), "{script}: {stopped:?}");
            assert!(took >= SECOND / 5 && took < 5 * SECOND, "{script}: {took:?}");
        }
    }

    #[test]
    fn what_a_child_leaves_running_is_stopped_with_it() {
        let (ended, took) = sh("sleep 100 >/dev/null 2>&1 & echo $!", Vec::new(), 20 * SECOND, 100);
        let pid: i32 = String::from_utf8(ended.unwrap().stdout).unwrap().trim().parse().unwrap();
        assert!(took < 10 * SECOND);
        let gone = || {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // Whoever adopts it may take a moment to reap it.
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            rustix::process::test_kill_process(pid).is_err() || state.contains(") Z ")
        };
        let end = Instant::now() + 10 * SECOND;
        while !gone() {
            assert!(Instant::now() < end, "process {pid} still runs");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn too_much_output_ends_it_at_once() {
        let (stopped, took) = sh("yes", Vec::new(), 60 * SECOND, 100_000);
        assert!(matches!(stopped, Err(Stopped::Output)), "{stopped:?}");
        assert!(took < 30 * SECOND, "{took:?}");
        let (exact, _) = sh("printf 12345", Vec::new(), 60 * SECOND, 5);
        assert_eq!(exact.unwrap().stdout, b"12345");
        let (over, _) = sh("printf 123456", Vec::new(), 60 * SECOND, 5);
        assert!(matches!(over, Err(Stopped::Output)));
    }

    #[test]
    fn of_a_long_complaint_the_end_is_kept() {
        let (ended, _) = sh("seq 1 5000 >&2", Vec::new(), 60 * SECOND, 5);
        let stderr = ended.unwrap().stderr;
        assert!(stderr.len() <= STDERR && stderr.ends_with("4999 5000"), "{stderr}");
    }

    #[test]
    fn what_does_not_exist_does_not_start() {
        let stopped = run(&mut Command::new("./no-such-program"), |_| Ok(()), SECOND, 1).unwrap_err();
        assert!(matches!(stopped, Stopped::Start(_)), "{stopped:?}");
    }
}

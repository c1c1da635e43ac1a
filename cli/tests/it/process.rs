//! A gateway in a process of its own, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `chassis serve`; killed when it is dropped.
pub(crate) struct Serving {
    child: Child,
    log: Arc<Mutex<String>>,
    closed: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
    pub(crate) address: SocketAddr,
}

impl Serving {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(file: &str, args: &[&str]) -> Self {
        Self::spawn(serve(), file, args).listening()
    }

    /// Starts it with so few descriptors, and waits until it listens.
    #[cfg(unix)]
    pub(crate) fn start_with_descriptors(count: u32, file: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {count} && exec \"$0\" serve \"$@\"")]);
        command.arg(assert_cmd::cargo::cargo_bin!("chassis"));
        Self::spawn(command, file, args).listening()
    }

    fn listening(self) -> Self {
        let mut serving = self;
        let log = serving.wait_for("listening on http://");
        let (_, address) = log.split_once("listening on http://").unwrap();
        let end = address.find(|c: char| c == '"' || c.is_whitespace()).unwrap_or(address.len());
        serving.address = address[..end].parse().unwrap();
        serving
    }

    /// Starts it where it does not say where it listens: the file is changed to name a port.
    pub(crate) fn start_quiet(file: &str, args: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = std::fs::read_to_string(file).unwrap().replace("127.0.0.1:0", &free.to_string());
        std::fs::write(file, text).unwrap();
        let mut serving = Self::spawn(serve(), file, args);
        serving.address = free;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(free).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        serving
    }

    fn spawn(mut command: Command, file: &str, args: &[&str]) -> Self {
        command.arg(file).args(args).env_remove("CLICOLOR_FORCE");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn({
            let (log, closed) = (Arc::clone(&log), Arc::clone(&closed));
            move || {
                for line in stderr.lines() {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line.unwrap());
                    log.push('\n');
                    if closed.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        Serving { child, log, closed, reader: Some(reader), address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged this, and answers all that it has logged.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if log.contains(words) {
                return log;
            }
            assert!(Instant::now() < deadline, "no `{words}` in its log:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Reads one more line of its log, and then closes the pipe.
    pub(crate) fn close_log(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        refused(self.address);
        self.reader.take().unwrap().join().unwrap();
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chassis"));
    command.arg("serve");
    command
}

/// An example that listens where there is room instead of on the port that people use.
pub(crate) fn example(name: &str) -> (tempfile::TempDir, String) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(repository.join("examples").join(name)).unwrap();
    assert!(text.contains("listen: [127.0.0.1:9080]") && text.contains("file: ../plugins/"), "{text}");
    let plugins = format!("file: {}/plugins/", repository.display());
    let text = text.replace("127.0.0.1:9080]", "127.0.0.1:0]").replace("file: ../plugins/", &plugins);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

/// Sends a request that is refused, which is logged.
pub(crate) fn refused(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // It may be reset after its answer.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}

/// A response whose body ended with the connection.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request (`METHOD PATH`) on a connection of its own.
pub(crate) fn http(address: SocketAddr, request: &str, fields: &[(&str, &str)]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("no response");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Response { status, headers, body: bytes[end + 4..].to_vec() }
}

//! Upstreams that do what a test tells them, one thread per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Listens until the process ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Method and URI.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// A connection to the upstream.
pub(crate) struct Connection {
    pub(crate) stream: BufReader<TcpStream>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Upstream {
    pub(crate) fn start(behave: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let upstream = Upstream { address, connections: connections.clone(), requests: requests.clone() };
        let behave = Arc::new(behave);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let connection = Connection { stream: BufReader::new(stream), requests: requests.clone() };
                let behave = behave.clone();
                thread::spawn(move || behave(connection));
            }
        });
        upstream
    }

    /// Answers every request with these bytes, on connections that stay open.
    pub(crate) fn answering(bytes: &'static str) -> Self {
        Self::start(move |mut connection| {
            while connection.request().is_some() {
                connection.send(bytes);
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Connection {
    /// The next request with its body; `None` when the connection ends.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        let chunked = request.header("transfer-encoding") == Some("chunked");
        let length = request.header("content-length").map(|length| length.parse::<u64>().unwrap());
        assert!(!(chunked && length.is_some()), "{request:?}");
        if let Some(length) = length {
            (&mut self.stream).take(length).read_to_end(&mut request.body).ok()?;
            if (request.body.len() as u64) < length {
                return None;
            }
        }
        if chunked {
            loop {
                let size = u64::from_str_radix(&self.line()?, 16).unwrap();
                if size == 0 {
                    break;
                }
                (&mut self.stream).take(size).read_to_end(&mut request.body).ok()?;
                assert_eq!(self.line()?, "");
            }
            request.trailers = self.fields()?;
        }
        self.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// The head of the next request.
    pub(crate) fn head(&mut self) -> Option<Request> {
        let line = self.line()?;
        let line = line.strip_suffix(" HTTP/1.1").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Some(Request { line, headers: self.fields()?, body: Vec::new(), trailers: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may be gone, which is then what is tested.
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Closes the connection so that the other side gets a reset.
    pub(crate) fn reset(self) {
        let stream = self.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether the other side closes the connection within this time.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(limit)).unwrap();
        match self.stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(1..) => line.strip_suffix("\r\n").map(str::to_owned),
            _ => None,
        }
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
}

//! A client that sends bytes and reads responses.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body ended as its framing says.
    pub(crate) complete: bool,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends a request without body and reads the response.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response("GET")
    }

    /// Sends a GET on a connection that may be closed already; `None` if it is.
    pub(crate) fn try_request(&mut self, request: &str) -> Option<Response> {
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        self.try_response("GET")
    }

    pub(crate) fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("the connection was closed instead of a response")
    }

    /// The next final response; `None` if the connection ends before its first byte.
    pub(crate) fn try_response(&mut self, method: &str) -> Option<Response> {
        loop {
            let line = self.line()?;
            let status: u16 = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
            let headers = self.fields();
            if status == 100 {
                continue;
            }
            let mut response = Response { status, headers, body: Vec::new(), trailers: Vec::new(), complete: true };
            if method != "HEAD" && status != 204 && status != 304 {
                self.body(&mut response);
            }
            return Some(response);
        }
    }

    /// Whether the other side has closed the connection, and sends nothing any more.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?}")).to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            fields.push((name.to_owned(), value.to_owned()));
        }
        fields
    }

    fn body(&mut self, response: &mut Response) {
        let chunked = response.header("transfer-encoding") == Some("chunked");
        let length: Option<u64> = response.header("content-length").map(|length| length.parse().unwrap());
        assert!(!(chunked && length.is_some()), "{response:?}");
        if !chunked {
            let count = (&mut self.stream).take(length.unwrap_or(u64::MAX)).read_to_end(&mut response.body);
            response.complete = length.is_none_or(|length| count.is_ok_and(|count| count as u64 == length));
            return;
        }
        loop {
            let Some(size) = self.line() else {
                response.complete = false;
                return;
            };
            let size = u64::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                response.trailers = self.fields();
                return;
            }
            let count = (&mut self.stream).take(size).read_to_end(&mut response.body).unwrap();
            if count as u64 != size || self.line().is_none() {
                response.complete = false;
                return;
            }
        }
    }
}

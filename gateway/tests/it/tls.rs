//! TLS with clients: curl, and one that sends bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_gateway::Settings;
use chassis_gateway::config::Config;
use libtest_mimic::Trial;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::upstream::Upstream;
use crate::{Gateway, trial, trial_with};

pub(crate) fn trials() -> Vec<Trial> {
    let curl = |name, run| trial_with("curl", module_path!(), name, run);
    let plain = |name, run| trial(module_path!(), name, None, run);
    vec![
        curl("curl_speaks_http1_and_http2_over_tls", curl_speaks_http1_and_http2_over_tls as fn()),
        curl("curl_speaks_http2_without_tls", curl_speaks_http2_without_tls),
        trial_with("h2load", module_path!(), "h2load_loses_nothing_with_and_without_tls", || {
            h2load_loses_nothing_with_and_without_tls();
        }),
        curl("names_have_their_certificates", names_have_their_certificates),
        curl("clients_show_certificates_where_they_are_asked", clients_show_certificates_where_they_are_asked),
        plain("heads_are_judged_inside_of_tls", heads_are_judged_inside_of_tls as fn()),
        plain("a_client_that_does_not_begin_is_not_waited_for", a_client_that_does_not_begin_is_not_waited_for),
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Who signs certificates, and where they are as files.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { directory, issuer }
    }

    /// Writes `NAME.pem` and `NAME.key` for these hosts.
    pub(crate) fn sign(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// A gateway to this node, and its address with TLS. `ssls` are the entries of certificates.
    pub(crate) fn gateway(
        &self,
        ssl: &str,
        ssls: &str,
        node: SocketAddr,
        change: impl FnOnce(&mut Settings),
    ) -> (Gateway, SocketAddr) {
        let text = format!(
            "listen: [127.0.0.1:0]\nworkers: 1\nssl: {{ listen: [\"127.0.0.2:0\"]{ssl} }}\nssls: [{ssls}]\n\
             routes: [{{ uri: /*, upstream: {{ nodes: {{ \"{node}\": 1 }} }} }}]\n"
        );
        let config = Config::parse(&text, &self.directory.path().join("chassis.yaml")).unwrap();
        let mut settings = Settings::new(config, None);
        change(&mut settings);
        let gateway = Gateway::start(settings, Arc::default()).unwrap();
        let address = gateway.server.as_ref().unwrap().addresses()[1];
        (gateway, address)
    }

    /// Has curl ask for `/` of a host: version of HTTP, status and body; or its exit code.
    fn curl(&self, host: &str, address: SocketAddr, more: &[&str]) -> Result<String, i32> {
        let output: Output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert", &self.file("ca.pem"), "--noproxy", "*"])
            .args(["--resolve", &format!("{host}:{}:{}", address.port(), address.ip())])
            .args(["--write-out", " %{http_version} %{http_code}"])
            .args(more)
            .arg(format!("https://{host}:{}/", address.port()))
            .output()
            .unwrap();
        match output.status.code().unwrap() {
            0 => Ok(String::from_utf8(output.stdout).unwrap()),
            code => Err(code),
        }
    }
}

fn curl_speaks_http1_and_http2_over_tls() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    let (_gateway, address) =
        authority.gateway("", "{ cert: a.pem, key: a.key, snis: [a.example] }", upstream.address, |_| {});
    assert_eq!(authority.curl("a.example", address, &["--http1.1"]).as_deref(), Ok("ok 1.1 200"));
    assert_eq!(authority.curl("a.example", address, &["--http2"]).as_deref(), Ok("ok 2 200"));
    let post = authority.curl("a.example", address, &["--http2", "--data", "hello"]);
    assert_eq!(post.as_deref(), Ok("ok 2 200"));
    assert_eq!(upstream.requests()[2].body, b"hello");
    for tls in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        assert_eq!(authority.curl("a.example", address, tls).as_deref(), Ok("ok 2 200"), "{tls:?}");
    }
}

fn curl_speaks_http2_without_tls() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--noproxy", "*", "--http2-prior-knowledge", "--data", "hello"])
        .args(["--write-out", " %{http_version} %{http_code}"])
        .arg(format!("http://{}/", gateway.address))
        .output()
        .unwrap();
    assert_eq!(str::from_utf8(&output.stdout).unwrap(), "ok 2 200");
    assert_eq!(upstream.requests()[0].body, b"hello");
}

fn h2load_loses_nothing_with_and_without_tls() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    let ssl = ", fallback_sni: a.example";
    let (gateway, address) =
        authority.gateway(ssl, "{ cert: a.pem, key: a.key, snis: [a.example] }", upstream.address, |_| {});
    for url in [format!("http://{}/", gateway.address), format!("https://{address}/")] {
        let output = Command::new("h2load").args(["-n", "2000", "-c", "5", "-m", "20", &url]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{url}: {told}");
        assert!(told.contains("status codes: 2000 2xx"), "{url}: {told}");
    }
}

fn names_have_their_certificates() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    authority.sign("wild", &["*.wild.example"]);
    let entries =
        "{ cert: a.pem, key: a.key, snis: [a.example] }, { cert: wild.pem, key: wild.key, snis: ['*.wild.example'] }";
    let (_gateway, address) = authority.gateway("", entries, upstream.address, |_| {});
    for host in ["a.example", "A.EXAMPLE", "b.wild.example"] {
        assert!(authority.curl(host, address, &[]).is_ok(), "{host}");
    }
    for host in ["b.example", "wild.example", "c.b.wild.example"] {
        assert!(authority.curl(host, address, &["--insecure"]).is_err(), "{host}");
    }
    let (_gateway, address) = authority.gateway(", fallback_sni: a.example", entries, upstream.address, |_| {});
    assert!(authority.curl("b.example", address, &["--insecure"]).is_ok());
    assert!(authority.curl("b.example", address, &[]).is_err());
    assert!(authority.curl("b.wild.example", address, &[]).is_ok());
}

fn clients_show_certificates_where_they_are_asked() {
    let upstream = Upstream::answering(OK);
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("open", &["open.example"]);
    authority.sign("closed", &["closed.example", "*.closed.example"]);
    authority.sign("client", &["client"]);
    stranger.sign("client", &["client"]);
    let entries = "{ cert: open.pem, key: open.key, snis: [open.example] }, \
         { cert: closed.pem, key: closed.key, snis: [closed.example, '*.closed.example'], client: { ca: ca.pem } }";
    let (_gateway, address) = authority.gateway("", entries, upstream.address, |_| {});
    let shown = |authority: &Authority| [authority.file("client.pem"), authority.file("client.key")];
    let [cert, key] = shown(&authority);
    for http in ["--http1.1", "--http2"] {
        let with = authority.curl("closed.example", address, &[http, "--cert", &cert, "--key", &key]);
        assert!(with.is_ok_and(|answer| answer.ends_with(" 200")));
        assert!(authority.curl("closed.example", address, &[http]).is_err());
        let [cert, key] = shown(&stranger);
        assert!(authority.curl("closed.example", address, &[http, "--cert", &cert, "--key", &key]).is_err());
        // The way around: one name for TLS, another one for HTTP.
        for host in ["closed.example", "a.closed.example", "A.B.Closed.Example."] {
            let host = format!("Host: {host}:{}", address.port());
            let around = authority.curl("open.example", address, &[http, "--header", &host]).unwrap();
            assert!(around.ends_with(" 421"), "{host} {around}");
        }
        assert!(authority.curl("open.example", address, &[http]).unwrap().ends_with(" 200"));
    }
    assert_eq!(upstream.requests().len(), 4);
}

fn heads_are_judged_inside_of_tls() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    let (_gateway, address) =
        authority.gateway("", "{ cert: a.pem, key: a.key, snis: [a.example] }", upstream.address, |_| {});
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.issuer.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    for (sent, expected) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 "),
        ("GET / HTTP/1.1\nHost: a.example\n\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 400 "),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 "),
    ] {
        let name = ServerName::try_from("a.example").unwrap();
        let client = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(client, socket);
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with(expected), "{sent:?}: {answer:?}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

fn a_client_that_does_not_begin_is_not_waited_for() {
    let upstream = Upstream::answering(OK);
    let authority = Authority::new();
    authority.sign("a", &["a.example"]);
    let entries = "{ cert: a.pem, key: a.key, snis: [a.example] }";
    let (_gateway, address) = authority.gateway("", entries, upstream.address, |settings| {
        settings.client.head = Duration::from_millis(300);
    });
    for begin in [&b""[..], b"\x16\x03\x01\x00\xc8\x01", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"] {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(begin).unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(upstream.requests(), []);
}

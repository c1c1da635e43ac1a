//! A host: one plugin, one request, on the engine that the command line names or on the default one.
//!
//! What a host brings is its own: where requests come from, where they go, and where plugins log to.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::sync::Arc;

use chassis::abi::{Direction, HeaderList, Identity, LogLevel};
use chassis::host::{HostServices, Link, LogLine, LogSink, Plugin, PluginSpec, Preparer, ServicesFactory, Worker};

struct Stdout;

impl LogSink for Stdout {
    fn log(&self, line: &LogLine<'_>) {
        println!("{} logs: {}", line.plugin, line.message);
    }
}

fn main() -> std::process::ExitCode {
    // An error is told in plain words, and ends it with code 1.
    u8::from(host().inspect_err(|error| eprintln!("error: {error}")).is_err()).into()
}

fn host() -> Result<(), Box<dyn std::error::Error>> {
    // A plugin, compiled for an engine.
    let name = std::env::args().nth(1).or(chassis::default_engine().map(str::to_owned)).ok_or("there is no engine")?;
    let engine = chassis::open(&name, chassis::Profile::Deadline)?;
    let spec = PluginSpec {
        identity: Identity { name: "add-header".into(), ..Identity::default() },
        file: concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/rust/add-header.wasm").into(),
        limits: Default::default(),
        fail_policy: Default::default(),
    };
    let plugin = Plugin::load(spec, &*engine, &chassis::CompilePolicy::InProcess)?;

    // A worker, which belongs to this thread, with the plugin's VM. A spare VM is prepared on another thread.
    // Several workers would be given the same `Stores`, so that their plugins share data.
    let services: ServicesFactory = Arc::new(|| Box::new(HostServices::new(Arc::new(Stdout), LogLevel::Info)));
    let mut worker = Worker::new(services(), Arc::new(Stdout), Preparer::new(services)?);
    let plugin = worker.add_plugin(plugin, vec!["x-by: chassis"])?;

    // A request goes in, and what passed the plugin comes out. Then the same for the response.
    let request = [(":method", "GET"), (":path", "/"), (":authority", "localhost"), (":scheme", "http")];
    let stream = worker.open(Arc::from([Link { plugin, configuration: 0 }]), request.into_iter().collect(), []);
    worker.request_headers(stream, true);
    print("to the upstream", &worker.take_headers(stream, Direction::Request));
    worker.response_headers(stream, [(":status", "204")].into_iter().collect(), true);
    print("to the client", &worker.take_headers(stream, Direction::Response));
    worker.close(stream);
    Ok(())
}

fn print(whereto: &str, headers: &HeaderList) {
    for (name, value) in headers.iter() {
        println!("{whereto}: {}: {}", name.escape_ascii(), value.escape_ascii());
    }
}

//! A plugin on an engine of one's own: to the host it is an engine like any other.
#![allow(clippy::print_stdout)]

mod engine;

use std::sync::Arc;

use chassis::abi::{Direction, Identity, LogLevel};
use chassis::engine_api::Stop;
use chassis::host::{
    HostServices, Link, LogLine, LogSink, Plugin, PluginSpec, Preparer, ServicesFactory, Stores, Worker,
};

use crate::engine::{OwnEngine, World};

/// What a plugin in Wasm would do, in Rust: the export `proxy_on_request_headers` adds a header.
fn greeter(export: &str, slots: &mut [u64], world: &mut dyn World) -> Result<(), Stop> {
    match export {
        "proxy_on_request_headers" => {
            world.memory()[..15].copy_from_slice(b"x-greetinghello");
            world.import("proxy_add_header_map_value", &mut [0, 0, 10, 10, 5])?;
            slots[0] = 0; // Continue.
        }
        "proxy_on_memory_allocate" => slots[0] = 1024,
        _ => {}
    }
    Ok(())
}

/// A plugin that is stuck: it adds the header again and again.
fn stuck(export: &str, slots: &mut [u64], world: &mut dyn World) -> Result<(), Stop> {
    loop {
        greeter(export, slots, world)?;
    }
}

struct Stdout;

impl LogSink for Stdout {
    fn log(&self, line: &LogLine<'_>) {
        println!("{}: {}", line.plugin, line.message);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stores = Stores::new();
    let services: ServicesFactory = Arc::new(move || {
        Box::new(HostServices::new(Arc::new(Stdout), LogLevel::Info).with_stores(Arc::clone(&stores)))
    });
    let mut worker = Worker::new(services(), Arc::new(Stdout), Preparer::new(services)?);
    for (name, guest) in [("greeter", greeter as engine::Guest), ("stuck", stuck)] {
        let engine = chassis::proxy_wasm(OwnEngine::new(guest));
        let spec = PluginSpec {
            identity: Identity { name: name.into(), ..Identity::default() },
            file: concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/own_engine/greeter.wat").into(),
            limits: Default::default(),
            fail_policy: Default::default(),
        };
        let plugin = Plugin::load(spec, &*engine, &chassis::CompilePolicy::InProcess)?;
        println!("{name} runs on {} {}", engine.capabilities().name, engine.capabilities().version);

        let plugin = worker.add_plugin(plugin, vec![""])?;
        let request = [(":method", "GET"), (":path", "/"), (":authority", "localhost"), (":scheme", "http")];
        let stream = worker.open(Arc::from([Link { plugin, configuration: 0 }]), request.into_iter().collect(), []);
        worker.request_headers(stream, true);
        let answered = worker.progress(stream).is_some_and(|progress| progress.answered);
        let passed = if answered { Direction::Response } else { Direction::Request };
        for (name, value) in worker.take_headers(stream, passed).iter() {
            println!("{passed:?}: {}: {}", name.escape_ascii(), value.escape_ascii());
        }
        worker.close(stream);
    }
    Ok(())
}

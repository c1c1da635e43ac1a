//! The plugin context.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::{BufferType, ContextType, MapType, Status};

use super::calls::{self, answer};
use super::http::Http;
use super::show::{Show, told};
use super::stream::Stream;
use crate::wishes::Wishes;

#[derive(Default)]
pub(super) struct Root {
    wishes: Rc<Wishes>,
    ended: Cell<bool>,
}

context!(Root);

impl Root {
    fn go_on(&self) {}

    /// Whether it is, or wants its next tick to say so.
    fn is_done(&self) -> bool {
        self.ended.set(true);
        !self.wishes.has("done_later")
    }
}

impl RootContext for Root {
    logged! {
        fn get_vm_configuration() -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::VmConfiguration, 0, usize::MAX));
        fn get_plugin_configuration() -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX));
        fn set_tick_period(period: Duration) = answer(hostcalls::set_tick_period(period));
    }

    fn on_vm_start(&mut self, size: usize) -> bool {
        log::info!("on_vm_start({size})");
        self.get_vm_configuration();
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        log::info!("on_configure({size})");
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        self.wishes = Rc::new(Wishes::parse(&String::from_utf8_lossy(&configuration)));
        self.get_current_time();
        told("log level", &hostcalls::get_log_level().map(|level| level as u32));
        self.get_property(vec!["plugin_root_id"]);
        if let Some(period) = self.wishes.number("tick") {
            self.set_tick_period(Duration::from_millis(period.into()));
        }
        if self.wishes.has("queue") {
            calls::make_queue(self);
        }
        if let Some(name) = self.wishes.value("foreign") {
            let _ = self.call_foreign_function(name, Some(b"argument"));
        }
        true
    }

    fn on_tick(&mut self) {
        log::info!("on_tick()");
        self.set_tick_period(Duration::ZERO);
        if self.ended.get() {
            self.done();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        log::info!("on_queue_ready({queue})");
        let _ = self.dequeue_shared_queue(queue);
        let _ = self.dequeue_shared_queue(queue);
    }

    fn on_log(&mut self) {
        log::info!("on_log()");
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        log::info!("create_http_context({context})");
        Some(Box::new(Http::new(self.wishes.clone())))
    }

    fn create_stream_context(&self, context: u32) -> Option<Box<dyn StreamContext>> {
        log::info!("create_stream_context({context})");
        Some(Box::new(Stream::new(self.wishes.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        let tcp = self.wishes.has("tcp");
        Some(if tcp { ContextType::StreamContext } else { ContextType::HttpContext })
    }
}

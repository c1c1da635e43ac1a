//! Adds the headers of its configuration to each request and to each response. Never replaces or removes one.
//!
//! The configuration has a line `name: value` for each header; the same name may come several times. Blank lines
//! count for nothing, and so do blanks around name and value. An empty configuration adds nothing; a line that
//! is no header makes the whole configuration invalid.

mod header;

#[cfg(not(test))]
mod guest {
    use crate::header::{self, Header};
    use proxy_wasm::hostcalls;
    use proxy_wasm::traits::{Context, HttpContext, RootContext};
    use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};
    use std::rc::Rc;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Plugin::default()) });
    }}

    #[derive(Default)]
    struct Plugin {
        headers: Rc<[Header]>,
    }

    impl Context for Plugin {}

    impl RootContext for Plugin {
        fn on_configure(&mut self, _size: usize) -> bool {
            match header::parse(&self.get_plugin_configuration().unwrap_or_default()) {
                Ok(headers) => {
                    self.headers = headers.into();
                    true
                }
                Err(error) => {
                    log::error!("invalid configuration: {error}");
                    false
                }
            }
        }

        fn get_type(&self) -> Option<ContextType> {
            Some(ContextType::HttpContext)
        }

        fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
            Some(Box::new(Stream { headers: Rc::clone(&self.headers) }))
        }
    }

    struct Stream {
        headers: Rc<[Header]>,
    }

    impl Context for Stream {}

    impl HttpContext for Stream {
        fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
            self.add_to(MapType::HttpRequestHeaders)
        }

        fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
            self.add_to(MapType::HttpResponseHeaders)
        }
    }

    impl Stream {
        fn add_to(&self, map: MapType) -> Action {
            for header in self.headers.iter() {
                if let Err(status) = hostcalls::add_map_value_bytes(map, &header.name, &header.value) {
                    log::error!("cannot add {}: {status:?}", header.name);
                }
            }
            Action::Continue
        }
    }
}

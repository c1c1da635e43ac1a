//! Replaces bytes in the bodies of requests and responses, as the lines `old=>new` of its configuration say.
//! Waits for the whole body, since what is to be replaced may lie across two pieces of it. Takes
//! `content-length` away where a body follows, because it may become wrong. Never looks at headers or trailers,
//! and never unpacks a compressed body.
//!
//! An empty configuration lets everything pass untouched; a line that is no rule makes the whole configuration
//! invalid.

mod rule;

#[cfg(not(test))]
mod guest {
    use crate::rule::Rules;
    use proxy_wasm::hostcalls;
    use proxy_wasm::traits::{Context, HttpContext, RootContext};
    use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, Status};
    use std::rc::Rc;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Plugin::default()) });
    }}

    #[derive(Default)]
    struct Plugin {
        rules: Rc<Rules>,
    }

    impl Context for Plugin {}

    impl RootContext for Plugin {
        fn on_configure(&mut self, _size: usize) -> bool {
            match Rules::parse(&self.get_plugin_configuration().unwrap_or_default()) {
                Ok(rules) => {
                    self.rules = Rc::new(rules);
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
            Some(Box::new(Stream { rules: Rc::clone(&self.rules) }))
        }
    }

    struct Stream {
        rules: Rc<Rules>,
    }

    impl Context for Stream {}

    impl HttpContext for Stream {
        fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
            if !end_of_stream && !self.rules.is_empty() {
                self.remove_http_request_header("content-length");
            }
            Action::Continue
        }

        fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
            self.on_body(BufferType::HttpRequestBody, end_of_stream)
        }

        /// With trailers, no piece of the body is the last one: all that waited is complete now.
        fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
            self.on_body(BufferType::HttpRequestBody, true)
        }

        fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
            if !end_of_stream && !self.rules.is_empty() {
                self.remove_http_response_header("content-length");
            }
            Action::Continue
        }

        fn on_http_response_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
            self.on_body(BufferType::HttpResponseBody, end_of_stream)
        }

        fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
            self.on_body(BufferType::HttpResponseBody, true)
        }
    }

    impl Stream {
        fn on_body(&self, buffer: BufferType, complete: bool) -> Action {
            if self.rules.is_empty() {
                return Action::Continue;
            }
            if !complete {
                return Action::Pause;
            }
            if let Err(status) = self.rewrite(buffer) {
                log::error!("cannot rewrite the body: {status:?}");
            }
            Action::Continue
        }

        fn rewrite(&self, buffer: BufferType) -> Result<(), Status> {
            let Some(body) = hostcalls::get_buffer(buffer, 0, usize::MAX)? else { return Ok(()) };
            let Some(rewritten) = self.rules.apply(&body) else { return Ok(()) };
            hostcalls::set_buffer(buffer, 0, body.len(), &rewritten)
        }
    }
}

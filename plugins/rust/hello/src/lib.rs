//! Logs `on_http_request_headers` at level warn for each request. Never changes one.

#[cfg(not(test))]
mod guest {
    use proxy_wasm::traits::{Context, HttpContext};
    use proxy_wasm::types::{Action, LogLevel};

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Trace);
        proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(Hello) });
    }}

    struct Hello;

    impl Context for Hello {}

    impl HttpContext for Hello {
        fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
            log::warn!("on_http_request_headers");
            Action::Continue
        }
    }
}

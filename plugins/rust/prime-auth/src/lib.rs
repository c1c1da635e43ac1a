//! Lets a request pass if its header `token` is a prime number of at most 64 bits; answers every other request
//! with 403. Of several `token` headers, the one that the host hands over decides: the first. No token makes it
//! crash.

#[cfg(not(test))]
mod guest {
    use primality::is_prime_token;
    use proxy_wasm::traits::{Context, HttpContext};
    use proxy_wasm::types::{Action, LogLevel};

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(PrimeAuthorizer) });
    }}

    struct PrimeAuthorizer;

    impl Context for PrimeAuthorizer {}

    impl HttpContext for PrimeAuthorizer {
        fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
            // As bytes: the SDK panics where it has to make a `String` of what is not UTF-8.
            let token = self.get_http_request_header_bytes("token");
            if token.is_some_and(|token| is_prime_token(&token)) {
                return Action::Continue;
            }
            self.send_http_response(403, vec![("powered-by", "proxy-wasm")], Some(b"Access forbidden.\n"));
            Action::Pause
        }
    }
}

//! The prime authoriser, built with the first SDK that was published, for ABI 0.1.0: behaves as `prime-auth`
//! does, exports `malloc` and `_start`, and imports nothing of WASI.

#[cfg(not(test))]
mod guest {
    use primality::is_prime_token;
    use proxy_wasm::traits::{Context, HttpContext};
    use proxy_wasm::types::{Action, LogLevel};

    #[unsafe(no_mangle)]
    extern "C" fn _start() {
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(PrimeAuthorizer) });
    }

    struct PrimeAuthorizer;

    impl Context for PrimeAuthorizer {}

    impl HttpContext for PrimeAuthorizer {
        fn on_http_request_headers(&mut self, _headers: usize) -> Action {
            if token().is_some_and(|token| is_prime_token(&token)) {
                return Action::Continue;
            }
            self.send_http_response(403, vec![("powered-by", "proxy-wasm")], Some(b"Access forbidden.\n"));
            Action::Pause
        }
    }

    const HTTP_REQUEST_HEADERS: u32 = 0;

    unsafe extern "C" {
        fn proxy_get_header_map_value(
            map: u32,
            key: *const u8,
            key_size: usize,
            value: *mut *mut u8,
            value_size: *mut usize,
        ) -> u32;
    }

    /// The header `token`. This SDK's own function panics if the value is not UTF-8, and if the host says that
    /// there is none.
    fn token() -> Option<Vec<u8>> {
        const KEY: &str = "token";
        let mut value = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: the key is valid for its length, and both slots are valid for writing during the call.
        let status =
            unsafe { proxy_get_header_map_value(HTTP_REQUEST_HEADERS, KEY.as_ptr(), KEY.len(), &mut value, &mut size) };
        if status != 0 || value.is_null() {
            return None;
        }
        // SAFETY: with status 0 the host has written `size` bytes to memory that it got from this module's
        // `malloc`, a boxed slice of that length; it is ours now.
        Some(unsafe { Vec::from_raw_parts(value, size, size) })
    }
}

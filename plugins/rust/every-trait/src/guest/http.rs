//! A request and its response.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, GrpcStatusCode, MapType, Status};

use super::calls::{self, answer};
use super::show::{Show, told};
use crate::wishes::Wishes;

pub(super) struct Http {
    wishes: Rc<Wishes>,
}

context!(Http);

impl Http {
    pub(super) fn new(wishes: Rc<Wishes>) -> Self {
        Http { wishes }
    }

    fn go_on(&self) {
        self.resume_http_request();
    }

    fn is_done(&self) -> bool {
        true
    }

    /// Answers the request, if it is wished. Returns whether it did.
    fn reply(&self) -> bool {
        if let Some(status) = self.wishes.number("reply") {
            self.send_http_response(status, vec![("x-every-reply", "1")], Some(b"reply"));
        } else if let Some(status) = self.wishes.number("grpc_reply") {
            let status = if status == 7 { GrpcStatusCode::PermissionDenied } else { GrpcStatusCode::Unknown };
            self.send_grpc_response(status, Some("reply"), vec![("x-every-reply", b"1")]);
        } else {
            return false;
        }
        true
    }
}

/// Looks at a map and changes it by each of its methods; the first two replace it as a whole.
macro_rules! every_map {
    ($http:ident, $set_map:ident, $set_map_bytes:ident, $map:ident, $map_bytes:ident, $get:ident, $get_bytes:ident,
     $set:ident, $set_bytes:ident, $add:ident, $add_bytes:ident, $remove:ident $(,)?) => {{
        let pairs = $http.$map();
        if $http.wishes.has("set_maps") {
            let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            pairs.push(("x-every-map", "0"));
            $http.$set_map(pairs);
            let pairs = $http.$map_bytes();
            let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            pairs.push(("x-every-map-bytes", b"0"));
            $http.$set_map_bytes(pairs);
        }
        $http.$set("x-every-set", Some("1"));
        $http.$set_bytes("x-every-set-bytes", Some(b"2"));
        $http.$add("x-every-add", "3");
        $http.$add_bytes("x-every-add", b"4");
        $http.$set("x-every-gone", Some("5"));
        $http.$remove("x-every-gone");
        $http.$get("x-every-set");
        $http.$get_bytes("x-every-add");
        $http.$get("x-every-gone");
        $http.$map_bytes();
    }};
}

impl HttpContext for Http {
    logged! {
        fn get_http_request_headers() -> Vec<(String, String)> =
            answer(hostcalls::get_map(MapType::HttpRequestHeaders));
        fn get_http_request_headers_bytes() -> Vec<(String, Vec<u8>)> =
            answer(hostcalls::get_map_bytes(MapType::HttpRequestHeaders));
        fn set_http_request_headers(headers: Vec<(&str, &str)>) =
            answer(hostcalls::set_map(MapType::HttpRequestHeaders, headers));
        fn set_http_request_headers_bytes(headers: Vec<(&str, &[u8])>) =
            answer(hostcalls::set_map_bytes(MapType::HttpRequestHeaders, headers));
        fn get_http_request_header(name: &str) -> Option<String> =
            answer(hostcalls::get_map_value(MapType::HttpRequestHeaders, name));
        fn get_http_request_header_bytes(name: &str) -> Option<Vec<u8>> =
            answer(hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name));
        fn set_http_request_header(name: &str, value: Option<&str>) =
            answer(hostcalls::set_map_value(MapType::HttpRequestHeaders, name, value));
        fn set_http_request_header_bytes(name: &str, value: Option<&[u8]>) =
            answer(hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, value));
        fn add_http_request_header(name: &str, value: &str) =
            answer(hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value));
        fn add_http_request_header_bytes(name: &str, value: &[u8]) =
            answer(hostcalls::add_map_value_bytes(MapType::HttpRequestHeaders, name, value));
        fn remove_http_request_header(name: &str) =
            answer(hostcalls::remove_map_value(MapType::HttpRequestHeaders, name));
        fn get_http_request_body(start: usize, max_size: usize) -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::HttpRequestBody, start, max_size));
        fn set_http_request_body(start: usize, size: usize, value: &[u8]) =
            answer(hostcalls::set_buffer(BufferType::HttpRequestBody, start, size, value));
        fn get_http_request_trailers() -> Vec<(String, String)> =
            answer(hostcalls::get_map(MapType::HttpRequestTrailers));
        fn get_http_request_trailers_bytes() -> Vec<(String, Vec<u8>)> =
            answer(hostcalls::get_map_bytes(MapType::HttpRequestTrailers));
        fn set_http_request_trailers(trailers: Vec<(&str, &str)>) =
            answer(hostcalls::set_map(MapType::HttpRequestTrailers, trailers));
        fn set_http_request_trailers_bytes(trailers: Vec<(&str, &[u8])>) =
            answer(hostcalls::set_map_bytes(MapType::HttpRequestTrailers, trailers));
        fn get_http_request_trailer(name: &str) -> Option<String> =
            answer(hostcalls::get_map_value(MapType::HttpRequestTrailers, name));
        fn get_http_request_trailer_bytes(name: &str) -> Option<Vec<u8>> =
            answer(hostcalls::get_map_value_bytes(MapType::HttpRequestTrailers, name));
        fn set_http_request_trailer(name: &str, value: Option<&str>) =
            answer(hostcalls::set_map_value(MapType::HttpRequestTrailers, name, value));
        fn set_http_request_trailer_bytes(name: &str, value: Option<&[u8]>) =
            answer(hostcalls::set_map_value_bytes(MapType::HttpRequestTrailers, name, value));
        fn add_http_request_trailer(name: &str, value: &str) =
            answer(hostcalls::add_map_value(MapType::HttpRequestTrailers, name, value));
        fn add_http_request_trailer_bytes(name: &str, value: &[u8]) =
            answer(hostcalls::add_map_value_bytes(MapType::HttpRequestTrailers, name, value));
        fn remove_http_request_trailer(name: &str) =
            answer(hostcalls::remove_map_value(MapType::HttpRequestTrailers, name));
        fn resume_http_request() = answer(hostcalls::resume_http_request());
        fn reset_http_request() = answer(hostcalls::reset_http_request());
        fn get_http_response_headers() -> Vec<(String, String)> =
            answer(hostcalls::get_map(MapType::HttpResponseHeaders));
        fn get_http_response_headers_bytes() -> Vec<(String, Vec<u8>)> =
            answer(hostcalls::get_map_bytes(MapType::HttpResponseHeaders));
        fn set_http_response_headers(headers: Vec<(&str, &str)>) =
            answer(hostcalls::set_map(MapType::HttpResponseHeaders, headers));
        fn set_http_response_headers_bytes(headers: Vec<(&str, &[u8])>) =
            answer(hostcalls::set_map_bytes(MapType::HttpResponseHeaders, headers));
        fn get_http_response_header(name: &str) -> Option<String> =
            answer(hostcalls::get_map_value(MapType::HttpResponseHeaders, name));
        fn get_http_response_header_bytes(name: &str) -> Option<Vec<u8>> =
            answer(hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name));
        fn set_http_response_header(name: &str, value: Option<&str>) =
            answer(hostcalls::set_map_value(MapType::HttpResponseHeaders, name, value));
        fn set_http_response_header_bytes(name: &str, value: Option<&[u8]>) =
            answer(hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, value));
        fn add_http_response_header(name: &str, value: &str) =
            answer(hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value));
        fn add_http_response_header_bytes(name: &str, value: &[u8]) =
            answer(hostcalls::add_map_value_bytes(MapType::HttpResponseHeaders, name, value));
        fn remove_http_response_header(name: &str) =
            answer(hostcalls::remove_map_value(MapType::HttpResponseHeaders, name));
        fn get_http_response_body(start: usize, max_size: usize) -> Option<Vec<u8>> =
            answer(hostcalls::get_buffer(BufferType::HttpResponseBody, start, max_size));
        fn set_http_response_body(start: usize, size: usize, value: &[u8]) =
            answer(hostcalls::set_buffer(BufferType::HttpResponseBody, start, size, value));
        fn get_http_response_trailers() -> Vec<(String, String)> =
            answer(hostcalls::get_map(MapType::HttpResponseTrailers));
        fn get_http_response_trailers_bytes() -> Vec<(String, Vec<u8>)> =
            answer(hostcalls::get_map_bytes(MapType::HttpResponseTrailers));
        fn set_http_response_trailers(trailers: Vec<(&str, &str)>) =
            answer(hostcalls::set_map(MapType::HttpResponseTrailers, trailers));
        fn set_http_response_trailers_bytes(trailers: Vec<(&str, &[u8])>) =
            answer(hostcalls::set_map_bytes(MapType::HttpResponseTrailers, trailers));
        fn get_http_response_trailer(name: &str) -> Option<String> =
            answer(hostcalls::get_map_value(MapType::HttpResponseTrailers, name));
        fn get_http_response_trailer_bytes(name: &str) -> Option<Vec<u8>> =
            answer(hostcalls::get_map_value_bytes(MapType::HttpResponseTrailers, name));
        fn set_http_response_trailer(name: &str, value: Option<&str>) =
            answer(hostcalls::set_map_value(MapType::HttpResponseTrailers, name, value));
        fn set_http_response_trailer_bytes(name: &str, value: Option<&[u8]>) =
            answer(hostcalls::set_map_value_bytes(MapType::HttpResponseTrailers, name, value));
        fn add_http_response_trailer(name: &str, value: &str) =
            answer(hostcalls::add_map_value(MapType::HttpResponseTrailers, name, value));
        fn add_http_response_trailer_bytes(name: &str, value: &[u8]) =
            answer(hostcalls::add_map_value_bytes(MapType::HttpResponseTrailers, name, value));
        fn remove_http_response_trailer(name: &str) =
            answer(hostcalls::remove_map_value(MapType::HttpResponseTrailers, name));
        fn resume_http_response() = answer(hostcalls::resume_http_response());
        fn reset_http_response() = answer(hostcalls::reset_http_response());
        fn send_http_response(status_code: u32, headers: Vec<(&str, &str)>, body: Option<&[u8]>) =
            answer(hostcalls::send_http_response(status_code, headers, body));
        fn send_grpc_response(
            grpc_status: GrpcStatusCode,
            grpc_status_message: Option<&str>,
            custom_metadata: Vec<(&str, &[u8])>,
        ) =
            answer(hostcalls::send_grpc_response(grpc_status, grpc_status_message, custom_metadata));
    }

    fn on_http_request_headers(&mut self, count: usize, end: bool) -> Action {
        log::info!("on_http_request_headers({count}, {end})");
        self.get_property(vec!["request", "path"]);
        self.set_property(vec!["every"], Some(b"property"));
        self.get_property(vec!["every"]);
        every_map!(
            self,
            set_http_request_headers,
            set_http_request_headers_bytes,
            get_http_request_headers,
            get_http_request_headers_bytes,
            get_http_request_header,
            get_http_request_header_bytes,
            set_http_request_header,
            set_http_request_header_bytes,
            add_http_request_header,
            add_http_request_header_bytes,
            remove_http_request_header,
        );
        calls::stores(self, &self.wishes);
        if self.wishes.has("reset_request") {
            self.reset_http_request();
        }
        if self.reply() {
            return Action::Pause;
        }
        calls::begin(self, &self.wishes)
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        log::info!("on_http_request_body({size}, {end})");
        self.get_http_request_body(0, size);
        if self.wishes.has("set_body") {
            self.set_http_request_body(0, size, b"request");
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        log::info!("on_http_request_trailers({count})");
        every_map!(
            self,
            set_http_request_trailers,
            set_http_request_trailers_bytes,
            get_http_request_trailers,
            get_http_request_trailers_bytes,
            get_http_request_trailer,
            get_http_request_trailer_bytes,
            set_http_request_trailer,
            set_http_request_trailer_bytes,
            add_http_request_trailer,
            add_http_request_trailer_bytes,
            remove_http_request_trailer,
        );
        Action::Continue
    }

    fn on_http_response_headers(&mut self, count: usize, end: bool) -> Action {
        log::info!("on_http_response_headers({count}, {end})");
        self.get_property(vec!["response", "code"]);
        every_map!(
            self,
            set_http_response_headers,
            set_http_response_headers_bytes,
            get_http_response_headers,
            get_http_response_headers_bytes,
            get_http_response_header,
            get_http_response_header_bytes,
            set_http_response_header,
            set_http_response_header_bytes,
            add_http_response_header,
            add_http_response_header_bytes,
            remove_http_response_header,
        );
        if self.wishes.has("reset_response") {
            self.reset_http_response();
        }
        if let Some(status) = self.wishes.number("late_reply") {
            self.send_http_response(status, vec![("x-every-reply", "2")], None);
            return Action::Pause;
        }
        self.resume_http_response();
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        log::info!("on_http_response_body({size}, {end})");
        self.get_http_response_body(0, size);
        if self.wishes.has("set_body") {
            self.set_http_response_body(0, size, b"response");
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, count: usize) -> Action {
        log::info!("on_http_response_trailers({count})");
        every_map!(
            self,
            set_http_response_trailers,
            set_http_response_trailers_bytes,
            get_http_response_trailers,
            get_http_response_trailers_bytes,
            get_http_response_trailer,
            get_http_response_trailer_bytes,
            set_http_response_trailer,
            set_http_response_trailer_bytes,
            add_http_response_trailer,
            add_http_response_trailer_bytes,
            remove_http_response_trailer,
        );
        Action::Continue
    }

    fn on_log(&mut self) {
        log::info!("on_log()");
    }
}

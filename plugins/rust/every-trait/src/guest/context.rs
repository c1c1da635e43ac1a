//! What all kinds of contexts have: `Context` is implemented for each of them once.

/// `Context` for a type that has `wishes` and says by `go_on` what waits for an answer.
macro_rules! context {
    ($context:ty) => {
        impl proxy_wasm::traits::Context for $context {
            logged! {
                fn get_current_time() -> SystemTime = answer(hostcalls::get_current_time());
                fn get_property(path: Vec<&str>) -> Option<Vec<u8>> = answer(hostcalls::get_property(path));
                fn set_property(path: Vec<&str>, value: Option<&[u8]>) = answer(hostcalls::set_property(path, value));
                fn get_shared_data(key: &str) -> (Option<Vec<u8>>, Option<u32>) =
                    answer(hostcalls::get_shared_data(key));
                fn set_shared_data(key: &str, value: Option<&[u8]>, cas: Option<u32>) -> Result<(), Status> =
                    hostcalls::set_shared_data(key, value, cas);
                fn remove_shared_data(key: &str, cas: Option<u32>) -> Result<(), Status> =
                    hostcalls::set_shared_data(key, None, cas);
                fn register_shared_queue(name: &str) -> u32 = answer(hostcalls::register_shared_queue(name));
                fn resolve_shared_queue(vm_id: &str, name: &str) -> Option<u32> =
                    answer(hostcalls::resolve_shared_queue(vm_id, name));
                fn dequeue_shared_queue(queue_id: u32) -> Result<Option<Vec<u8>>, Status> =
                    hostcalls::dequeue_shared_queue(queue_id);
                fn enqueue_shared_queue(queue_id: u32, value: Option<&[u8]>) -> Result<(), Status> =
                    hostcalls::enqueue_shared_queue(queue_id, value);
                fn dispatch_http_call(
                    upstream: &str,
                    headers: Vec<(&str, &str)>,
                    body: Option<&[u8]>,
                    trailers: Vec<(&str, &str)>,
                    timeout: Duration,
                ) -> Result<u32, Status> =
                    hostcalls::dispatch_http_call(upstream, headers, body, trailers, timeout);
                fn get_http_call_response_headers() -> Vec<(String, String)> =
                    answer(hostcalls::get_map(MapType::HttpCallResponseHeaders));
                fn get_http_call_response_headers_bytes() -> Vec<(String, Vec<u8>)> =
                    answer(hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders));
                fn get_http_call_response_header(name: &str) -> Option<String> =
                    answer(hostcalls::get_map_value(MapType::HttpCallResponseHeaders, name));
                fn get_http_call_response_header_bytes(name: &str) -> Option<Vec<u8>> =
                    answer(hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name));
                fn get_http_call_response_body(start: usize, max_size: usize) -> Option<Vec<u8>> =
                    answer(hostcalls::get_buffer(BufferType::HttpCallResponseBody, start, max_size));
                fn get_http_call_response_trailers() -> Vec<(String, String)> =
                    answer(hostcalls::get_map(MapType::HttpCallResponseTrailers));
                fn get_http_call_response_trailers_bytes() -> Vec<(String, Vec<u8>)> =
                    answer(hostcalls::get_map_bytes(MapType::HttpCallResponseTrailers));
                fn get_http_call_response_trailer(name: &str) -> Option<String> =
                    answer(hostcalls::get_map_value(MapType::HttpCallResponseTrailers, name));
                fn get_http_call_response_trailer_bytes(name: &str) -> Option<Vec<u8>> =
                    answer(hostcalls::get_map_value_bytes(MapType::HttpCallResponseTrailers, name));
                fn dispatch_grpc_call(
                    upstream_name: &str,
                    service_name: &str,
                    method_name: &str,
                    initial_metadata: Vec<(&str, &[u8])>,
                    message: Option<&[u8]>,
                    timeout: Duration,
                ) -> Result<u32, Status> =
                    hostcalls::dispatch_grpc_call(
                        upstream_name, service_name, method_name, initial_metadata, message, timeout
                    );
                fn get_grpc_call_response_body(start: usize, max_size: usize) -> Option<Vec<u8>> =
                    answer(hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, start, max_size));
                fn cancel_grpc_call(token_id: u32) = answer(hostcalls::cancel_grpc_call(token_id));
                fn open_grpc_stream(
                    cluster_name: &str,
                    service_name: &str,
                    method_name: &str,
                    initial_metadata: Vec<(&str, &[u8])>,
                ) -> Result<u32, Status> =
                    hostcalls::open_grpc_stream(cluster_name, service_name, method_name, initial_metadata);
                fn get_grpc_stream_initial_metadata() -> Vec<(String, Vec<u8>)> =
                    answer(hostcalls::get_map_bytes(MapType::GrpcReceiveInitialMetadata));
                fn get_grpc_stream_initial_metadata_value(name: &str) -> Option<Vec<u8>> =
                    answer(hostcalls::get_map_value_bytes(MapType::GrpcReceiveInitialMetadata, name));
                fn send_grpc_stream_message(token_id: u32, message: Option<&[u8]>, end_stream: bool) =
                    answer(hostcalls::send_grpc_stream_message(token_id, message, end_stream));
                fn get_grpc_stream_trailing_metadata() -> Vec<(String, Vec<u8>)> =
                    answer(hostcalls::get_map_bytes(MapType::GrpcReceiveTrailingMetadata));
                fn get_grpc_stream_trailing_metadata_value(name: &str) -> Option<Vec<u8>> =
                    answer(hostcalls::get_map_value_bytes(MapType::GrpcReceiveTrailingMetadata, name));
                fn cancel_grpc_stream(token_id: u32) = answer(hostcalls::cancel_grpc_stream(token_id));
                fn close_grpc_stream(token_id: u32) = answer(hostcalls::close_grpc_stream(token_id));
                fn get_grpc_status() -> (u32, Option<String>) = answer(hostcalls::get_grpc_status());
                fn call_foreign_function(
                    function_name: &str,
                    arguments: Option<&[u8]>,
                ) -> Result<Option<Vec<u8>>, Status> =
                    hostcalls::call_foreign_function(function_name, arguments);
                fn done() = answer(hostcalls::done());
            }

            // Of all that wraps a host function it alone wants more than to look.
            fn get_grpc_stream_message(&mut self, start: usize, max_size: usize) -> Option<Vec<u8>> {
                let message = answer(hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, start, max_size));
                log::debug!("get_grpc_stream_message({start}, {max_size}) = {}", message.show());
                message
            }

            fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
                log::info!("on_http_call_response({token}, {headers}, {body}, {trailers})");
                calls::read_http(self, headers, body, trailers);
                self.go_on();
            }

            fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
                log::info!("on_grpc_call_response({token}, {status}, {size})");
                if status == 0 {
                    self.get_grpc_call_response_body(0, size);
                } else {
                    self.get_grpc_status();
                }
                self.go_on();
            }

            fn on_grpc_stream_initial_metadata(&mut self, token: u32, count: u32) {
                log::info!("on_grpc_stream_initial_metadata({token}, {count})");
                self.get_grpc_stream_initial_metadata();
                self.get_grpc_stream_initial_metadata_value("x-initial");
            }

            fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
                log::info!("on_grpc_stream_message({token}, {size})");
                self.get_grpc_stream_message(0, size);
            }

            fn on_grpc_stream_trailing_metadata(&mut self, token: u32, count: u32) {
                log::info!("on_grpc_stream_trailing_metadata({token}, {count})");
                self.get_grpc_stream_trailing_metadata();
                self.get_grpc_stream_trailing_metadata_value("x-trailing");
            }

            fn on_grpc_stream_close(&mut self, token: u32, status: u32) {
                log::info!("on_grpc_stream_close({token}, {status})");
                self.get_grpc_status();
                self.go_on();
            }

            fn on_foreign_function(&mut self, function: u32, size: usize) {
                log::info!("on_foreign_function({function}, {size})");
                let arguments = hostcalls::get_buffer(BufferType::CallData, 0, size);
                told("arguments", &arguments);
            }

            fn on_done(&mut self) -> bool {
                log::info!("on_done()");
                self.is_done()
            }
        }
    };
}

/* The part of Proxy-Wasm 0.2.1 that the guests here use, as the specification has it: C and C++, no SDK. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define GUEST extern "C"
#else
#define GUEST
#endif
/* The definition that follows is what the host calls NAME. */
#define EXPORT(NAME) GUEST __attribute__((export_name(#NAME)))
#define IMPORT(NAME) GUEST __attribute__((import_module("env"), import_name(#NAME)))

enum { STATUS_OK = 0 };
enum { ACTION_CONTINUE = 0, ACTION_PAUSE = 1 };
enum { LOG_INFO = 2, LOG_ERROR = 4 };
enum {
  MAP_REQUEST_HEADERS = 0,
  MAP_REQUEST_TRAILERS = 1,
  MAP_RESPONSE_HEADERS = 2,
  MAP_RESPONSE_TRAILERS = 3,
  MAP_GRPC_INITIAL_METADATA = 4,
  MAP_GRPC_TRAILING_METADATA = 5,
  MAP_CALL_HEADERS = 6,
  MAP_CALL_TRAILERS = 7
};
enum {
  BUFFER_REQUEST_BODY = 0,
  BUFFER_RESPONSE_BODY = 1,
  BUFFER_DOWNSTREAM_DATA = 2,
  BUFFER_UPSTREAM_DATA = 3,
  BUFFER_CALL_BODY = 4,
  BUFFER_GRPC_MESSAGE = 5,
  BUFFER_VM_CONFIGURATION = 6,
  BUFFER_PLUGIN_CONFIGURATION = 7,
  BUFFER_FOREIGN_ARGUMENTS = 8
};
enum { STREAM_REQUEST = 0, STREAM_RESPONSE = 1, STREAM_DOWNSTREAM = 2, STREAM_UPSTREAM = 3 };
enum { METRIC_COUNTER = 0, METRIC_GAUGE = 1, METRIC_HISTOGRAM = 2 };

IMPORT(proxy_log) int32_t proxy_log(int32_t level, const char *text, size_t size);
/* What is given was allocated with the guest's allocator and belongs to the guest. */
IMPORT(proxy_get_buffer_bytes)
int32_t proxy_get_buffer_bytes(int32_t buffer, size_t start, size_t size, char **given, size_t *given_size);
IMPORT(proxy_add_header_map_value)
int32_t proxy_add_header_map_value(int32_t map, const char *name, size_t name_size, const char *value,
                                   size_t value_size);
IMPORT(proxy_replace_header_map_value)
int32_t proxy_replace_header_map_value(int32_t map, const char *name, size_t name_size, const char *value,
                                       size_t value_size);
IMPORT(proxy_remove_header_map_value)
int32_t proxy_remove_header_map_value(int32_t map, const char *name, size_t name_size);
IMPORT(proxy_get_header_map_size) int32_t proxy_get_header_map_size(int32_t map, size_t *bytes);
IMPORT(proxy_get_header_map_pairs) int32_t proxy_get_header_map_pairs(int32_t map, char **given, size_t *given_size);
IMPORT(proxy_get_header_map_value)
int32_t proxy_get_header_map_value(int32_t map, const char *name, size_t name_size, char **given, size_t *given_size);
IMPORT(proxy_set_header_map_pairs)
int32_t proxy_set_header_map_pairs(int32_t map, const char *pairs, size_t size);
IMPORT(proxy_get_buffer_status) int32_t proxy_get_buffer_status(int32_t buffer, size_t *size, uint32_t *flags);
IMPORT(proxy_set_buffer_bytes)
int32_t proxy_set_buffer_bytes(int32_t buffer, size_t start, size_t size, const char *value, size_t value_size);
IMPORT(proxy_get_log_level) int32_t proxy_get_log_level(uint32_t *level);
IMPORT(proxy_get_current_time_nanoseconds) int32_t proxy_get_current_time_nanoseconds(uint64_t *time);
IMPORT(proxy_set_tick_period_milliseconds) int32_t proxy_set_tick_period_milliseconds(uint32_t period);
IMPORT(proxy_set_effective_context) int32_t proxy_set_effective_context(uint32_t id);
IMPORT(proxy_done) int32_t proxy_done(void);
IMPORT(proxy_get_status) int32_t proxy_get_status(uint32_t *code, char **given, size_t *given_size);
IMPORT(proxy_get_property)
int32_t proxy_get_property(const char *path, size_t size, char **given, size_t *given_size);
IMPORT(proxy_set_property)
int32_t proxy_set_property(const char *path, size_t size, const char *value, size_t value_size);
IMPORT(proxy_continue_stream) int32_t proxy_continue_stream(int32_t stream);
IMPORT(proxy_close_stream) int32_t proxy_close_stream(int32_t stream);
IMPORT(proxy_send_local_response)
int32_t proxy_send_local_response(uint32_t status, const char *details, size_t details_size, const char *body,
                                  size_t body_size, const char *headers, size_t headers_size, int32_t grpc_status);
IMPORT(proxy_http_call)
int32_t proxy_http_call(const char *upstream, size_t upstream_size, const char *headers, size_t headers_size,
                        const char *body, size_t body_size, const char *trailers, size_t trailers_size,
                        uint32_t timeout, uint32_t *id);
IMPORT(proxy_grpc_call)
int32_t proxy_grpc_call(const char *upstream, size_t upstream_size, const char *service, size_t service_size,
                        const char *method, size_t method_size, const char *metadata, size_t metadata_size,
                        const char *message, size_t message_size, uint32_t timeout, uint32_t *id);
IMPORT(proxy_grpc_stream)
int32_t proxy_grpc_stream(const char *upstream, size_t upstream_size, const char *service, size_t service_size,
                          const char *method, size_t method_size, const char *metadata, size_t metadata_size,
                          uint32_t *id);
IMPORT(proxy_grpc_send)
int32_t proxy_grpc_send(uint32_t id, const char *message, size_t message_size, int32_t end_of_stream);
IMPORT(proxy_grpc_cancel) int32_t proxy_grpc_cancel(uint32_t id);
IMPORT(proxy_grpc_close) int32_t proxy_grpc_close(uint32_t id);
IMPORT(proxy_get_shared_data)
int32_t proxy_get_shared_data(const char *key, size_t key_size, char **given, size_t *given_size, uint32_t *cas);
IMPORT(proxy_set_shared_data)
int32_t proxy_set_shared_data(const char *key, size_t key_size, const char *value, size_t value_size, uint32_t cas);
IMPORT(proxy_register_shared_queue)
int32_t proxy_register_shared_queue(const char *name, size_t name_size, uint32_t *id);
IMPORT(proxy_resolve_shared_queue)
int32_t proxy_resolve_shared_queue(const char *vm_id, size_t vm_id_size, const char *name, size_t name_size,
                                   uint32_t *id);
IMPORT(proxy_enqueue_shared_queue)
int32_t proxy_enqueue_shared_queue(uint32_t id, const char *value, size_t value_size);
IMPORT(proxy_dequeue_shared_queue)
int32_t proxy_dequeue_shared_queue(uint32_t id, char **given, size_t *given_size);
IMPORT(proxy_define_metric) int32_t proxy_define_metric(int32_t type, const char *name, size_t name_size, uint32_t *id);
IMPORT(proxy_increment_metric) int32_t proxy_increment_metric(uint32_t id, int64_t offset);
IMPORT(proxy_record_metric) int32_t proxy_record_metric(uint32_t id, uint64_t value);
IMPORT(proxy_get_metric) int32_t proxy_get_metric(uint32_t id, uint64_t *value);
IMPORT(proxy_call_foreign_function)
int32_t proxy_call_foreign_function(const char *name, size_t name_size, const char *arguments, size_t arguments_size,
                                    char **given, size_t *given_size);

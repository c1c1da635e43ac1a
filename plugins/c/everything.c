/*
 * Calls every host function of the specification and exports every callback, and logs what comes back: a host that has
 * not all of them cannot load it. Changes requests and responses by headers whose names begin with `x-every`, and else
 * only as its configuration wishes.
 *
 * Configuration: words, each with or without `=VALUE`, of the same names as those of the guest `every-trait` in Rust:
 * `tick=MS`, `shared`, `queue`, `metrics`, `foreign=NAME`, `http_call=UPSTREAM`, `grpc_call=UPSTREAM`,
 * `grpc_stream=UPSTREAM`, `grpc_cancel=UPSTREAM`, `reply=STATUS`, `reset_request`, `set_body`, `set_data`, `set_maps`,
 * `close_downstream`, `close_upstream`, `done_later`.
 */
#include "proxy_wasm.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(CONSTANT) CONSTANT, sizeof(CONSTANT) - 1

static char *configuration;
static bool ended;
/* The stream that waits for an answer. */
static uint32_t waiting;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (size < 0) return;
  proxy_log(LOG_INFO, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

/* Logs a status and what was given with it, which is then freed. */
static void told(const char *what, int32_t status, char *given, size_t size) {
  if (status != STATUS_OK) {
    say("%s: status %d", what, (int)status);
    return;
  }
  say("%s: \"%.*s\"", what, (int)size, size ? given : "");
  free(given);
}

static void told_number(const char *what, int32_t status, uint64_t number) {
  if (status != STATUS_OK) {
    say("%s: status %d", what, (int)status);
  } else {
    say("%s: %llu", what, (unsigned long long)number);
  }
}

static void told_status(const char *what, int32_t status) { say("%s: status %d", what, (int)status); }

/* What stands behind a word of the configuration, up to its end; NULL if it is not there. */
static const char *wish(const char *word, size_t *size) {
  size_t length = strlen(word);
  for (const char *at = configuration; at && *at;) {
    at += strspn(at, " \n");
    size_t here = strcspn(at, " \n");
    if (here >= length && memcmp(at, word, length) == 0 && (here == length || at[length] == '=')) {
      *size = here > length ? here - length - 1 : 0;
      return at + here - *size;
    }
    at += here;
  }
  return NULL;
}

static bool wished(const char *word) {
  size_t size;
  return wish(word, &size) != NULL;
}

static uint32_t number(const char *word) {
  size_t size;
  const char *text = wish(word, &size);
  return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

/* A list of pairs in the form of the ABI, of `name\0value\0` one after the other. */
static size_t pairs(char *into, const char *const *texts, uint32_t count) {
  uint32_t *sizes = (uint32_t *)into;
  sizes[0] = count;
  char *at = into + 4 + 8 * count;
  for (uint32_t i = 0; i < 2 * count; i++) {
    size_t size = strlen(texts[i]);
    sizes[1 + i] = (uint32_t)size;
    memcpy(at, texts[i], size + 1);
    at += size + 1;
  }
  return (size_t)(at - into);
}

static void get_property(const char *path, size_t size) {
  char *given = NULL;
  size_t given_size = 0;
  int32_t status = proxy_get_property(path, size, &given, &given_size);
  told("get_property", status, given, given_size);
}

static uint32_t get_shared(void) {
  char *given = NULL;
  size_t size = 0;
  uint32_t cas = 0;
  int32_t status = proxy_get_shared_data(TEXT("key"), &given, &size, &cas);
  told("get_shared_data", status, given, size);
  return cas;
}

static void shared_data(void) {
  get_shared();
  told_status("set_shared_data one", proxy_set_shared_data(TEXT("key"), TEXT("one"), 0));
  uint32_t cas = get_shared();
  told_status("set_shared_data two", proxy_set_shared_data(TEXT("key"), TEXT("two"), cas));
  told_status("set_shared_data three", proxy_set_shared_data(TEXT("key"), TEXT("three"), cas));
  get_shared();
}

static void dequeue(uint32_t queue) {
  char *given = NULL;
  size_t size = 0;
  int32_t status = proxy_dequeue_shared_queue(queue, &given, &size);
  told("dequeue_shared_queue", status, given, size);
}

/* Puts two messages into the queue, which wait until the host says that it is ready. */
static void fill_queue(void) {
  uint32_t queue = 0;
  told_status("resolve_shared_queue", proxy_resolve_shared_queue(TEXT(""), TEXT("queue"), &queue));
  dequeue(queue);
  told_status("enqueue_shared_queue", proxy_enqueue_shared_queue(queue, TEXT("first")));
  told_status("enqueue_shared_queue", proxy_enqueue_shared_queue(queue, TEXT("second")));
}

static void metrics(void) {
  static const char *const names[] = {"every_counter", "every_gauge", "every_histogram"};
  for (int32_t type = METRIC_COUNTER; type <= METRIC_HISTOGRAM; type++) {
    uint32_t metric = 0;
    uint64_t value = 0;
    told_status(names[type], proxy_define_metric(type, names[type], strlen(names[type]), &metric));
    told_status("increment_metric 5", proxy_increment_metric(metric, 5));
    told_status("increment_metric -2", proxy_increment_metric(metric, -2));
    told_status("record_metric 7", proxy_record_metric(metric, 7));
    int32_t status = proxy_get_metric(metric, &value);
    told_number("get_metric", status, value);
  }
}

static void foreign(const char *name, size_t name_size) {
  char *given = NULL;
  size_t size = 0;
  int32_t status = proxy_call_foreign_function(name, name_size, TEXT("argument"), &given, &size);
  told_number("call_foreign_function", status, size);
  if (status == STATUS_OK) free(given);
}

static void look_at_map(int32_t map) {
  size_t bytes = 0, size = 0;
  char *given = NULL;
  int32_t status = proxy_get_header_map_size(map, &bytes);
  told_number("get_header_map_size", status, bytes);
  status = proxy_get_header_map_pairs(map, &given, &size);
  told_number("get_header_map_pairs", status, size);
  if (status == STATUS_OK) {
    if (wished("set_maps")) told_status("set_header_map_pairs", proxy_set_header_map_pairs(map, given, size));
    free(given);
  }
}

static void change_map(int32_t map) {
  look_at_map(map);
  told_status("replace", proxy_replace_header_map_value(map, TEXT("x-every-set"), TEXT("1")));
  told_status("add", proxy_add_header_map_value(map, TEXT("x-every-add"), TEXT("2")));
  told_status("add", proxy_add_header_map_value(map, TEXT("x-every-add"), TEXT("3")));
  told_status("add", proxy_add_header_map_value(map, TEXT("x-every-gone"), TEXT("4")));
  told_status("remove", proxy_remove_header_map_value(map, TEXT("x-every-gone")));
  char *given = NULL;
  size_t size = 0;
  int32_t status = proxy_get_header_map_value(map, TEXT("x-every-add"), &given, &size);
  told("x-every-add", status, given, size);
  status = proxy_get_header_map_value(map, TEXT("x-every-gone"), &given, &size);
  told("x-every-gone", status, given, size);
}

static void look_at_buffer(int32_t buffer, size_t size) {
  char *given = NULL;
  size_t length = 0, given_size = 0;
  uint32_t flags = 0;
  int32_t status = proxy_get_buffer_status(buffer, &length, &flags);
  told_number("get_buffer_status", status, length);
  status = proxy_get_buffer_bytes(buffer, 0, size, &given, &given_size);
  told("get_buffer_bytes", status, given, given_size);
}

/* Replaces a buffer, then puts something before and after that. */
static void change_buffer(int32_t buffer, size_t size) {
  told_status("replace", proxy_set_buffer_bytes(buffer, 0, size, TEXT("every")));
  told_status("prepend", proxy_set_buffer_bytes(buffer, 0, 0, TEXT("<")));
  told_status("append", proxy_set_buffer_bytes(buffer, 6, 0, TEXT(">")));
}

/* Begins what is wished of calls. Returns whether there will be an answer. */
static bool begin(void) {
  static const char *const call[] = {":method", "GET",   ":path",   "/called", ":authority",
                                     "every",   "x-every", "call"};
  static const char *const end[] = {"x-end", "1"};
  char headers[256], few[64];
  bool waits = false;
  uint32_t id = 0;
  size_t size = 0;
  const char *upstream = wish("http_call", &size);
  if (upstream) {
    int32_t status = proxy_http_call(upstream, size, headers, pairs(headers, call, 4), TEXT("question"), few,
                                     pairs(few, end, 1), 1000, &id);
    told_status("http_call", status);
    waits |= status == STATUS_OK;
  }
  upstream = wish("grpc_call", &size);
  if (upstream) {
    int32_t status = proxy_grpc_call(upstream, size, TEXT("test.Echo"), TEXT("Say"), few, pairs(few, end, 1),
                                     TEXT("question"), 1000, &id);
    told_status("grpc_call", status);
    waits |= status == STATUS_OK;
  }
  upstream = wish("grpc_stream", &size);
  if (upstream) {
    int32_t status = proxy_grpc_stream(upstream, size, TEXT("test.Echo"), TEXT("Say"), few, pairs(few, end, 1), &id);
    told_status("grpc_stream", status);
    told_status("grpc_send", proxy_grpc_send(id, TEXT("one"), 0));
    told_status("grpc_close", proxy_grpc_close(id));
    waits |= status == STATUS_OK;
  }
  upstream = wish("grpc_cancel", &size);
  if (upstream) {
    told_status("grpc_stream", proxy_grpc_stream(upstream, size, TEXT("test.Echo"), TEXT("Say"), NULL, 0, &id));
    told_status("grpc_cancel", proxy_grpc_cancel(id));
  }
  return waits;
}

/* Lets the stream go on that waited for an answer. */
static void go_on(void) {
  if (!waiting) return;
  told_status("set_effective_context", proxy_set_effective_context(waiting));
  told_status("continue_stream", proxy_continue_stream(STREAM_REQUEST));
  waiting = 0;
}

static void look_at_status(void) {
  char *given = NULL;
  size_t size = 0;
  uint32_t code = 0;
  int32_t status = proxy_get_status(&code, &given, &size);
  told_number("get_status", status, code);
  if (status == STATUS_OK) free(given);
}

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return malloc(size); }

EXPORT(proxy_on_context_create) void proxy_on_context_create(uint32_t id, uint32_t parent) {
  say("on_context_create(%u, %u)", (unsigned)id, (unsigned)parent);
}

EXPORT(proxy_on_vm_start) int32_t proxy_on_vm_start(uint32_t id, size_t size) {
  say("on_vm_start(%u, %u)", (unsigned)id, (unsigned)size);
  look_at_buffer(BUFFER_VM_CONFIGURATION, size);
  return true;
}

EXPORT(proxy_validate_configuration) int32_t proxy_validate_configuration(uint32_t id, size_t size) {
  say("validate_configuration(%u, %u)", (unsigned)id, (unsigned)size);
  return true;
}

EXPORT(proxy_on_configure) int32_t proxy_on_configure(uint32_t id, size_t size) {
  say("on_configure(%u, %u)", (unsigned)id, (unsigned)size);
  char *given = NULL;
  size_t given_size = 0;
  free(configuration);
  configuration = calloc(size + 1, 1);
  if (!configuration) abort();
  if (size && proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &given, &given_size) == STATUS_OK) {
    memcpy(configuration, given, given_size);
    free(given);
  }
  uint32_t level = 0;
  int32_t status = proxy_get_log_level(&level);
  told_number("get_log_level", status, level);
  uint64_t time = 0;
  status = proxy_get_current_time_nanoseconds(&time);
  told_number("time has begun", status, time != 0);
  get_property(TEXT("plugin_root_id"));
  if (wished("tick")) told_status("set_tick_period", proxy_set_tick_period_milliseconds(number("tick")));
  if (wished("queue")) {
    uint32_t queue = 0;
    told_status("resolve_shared_queue missing", proxy_resolve_shared_queue(TEXT(""), TEXT("missing"), &queue));
    told_status("register_shared_queue", proxy_register_shared_queue(TEXT("queue"), &queue));
  }
  const char *name = wish("foreign", &size);
  if (name) foreign(name, size);
  return true;
}

EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t id) {
  say("on_tick(%u)", (unsigned)id);
  told_status("set_tick_period", proxy_set_tick_period_milliseconds(0));
  if (ended) told_status("done", proxy_done());
}

EXPORT(proxy_on_queue_ready) void proxy_on_queue_ready(uint32_t id, uint32_t queue) {
  say("on_queue_ready(%u, %u)", (unsigned)id, (unsigned)queue);
  dequeue(queue);
  dequeue(queue);
}

EXPORT(proxy_on_new_connection) int32_t proxy_on_new_connection(uint32_t id) {
  say("on_new_connection(%u)", (unsigned)id);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_downstream_data) int32_t proxy_on_downstream_data(uint32_t id, size_t size, int32_t end) {
  say("on_downstream_data(%u, %u, %d)", (unsigned)id, (unsigned)size, (int)end);
  look_at_buffer(BUFFER_DOWNSTREAM_DATA, size);
  if (wished("set_data")) change_buffer(BUFFER_DOWNSTREAM_DATA, size);
  if (wished("close_downstream")) told_status("close_stream", proxy_close_stream(STREAM_DOWNSTREAM));
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_upstream_data) int32_t proxy_on_upstream_data(uint32_t id, size_t size, int32_t end) {
  say("on_upstream_data(%u, %u, %d)", (unsigned)id, (unsigned)size, (int)end);
  look_at_buffer(BUFFER_UPSTREAM_DATA, size);
  if (wished("set_data")) change_buffer(BUFFER_UPSTREAM_DATA, size);
  if (wished("close_upstream")) told_status("close_stream", proxy_close_stream(STREAM_UPSTREAM));
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_downstream_connection_close)
void proxy_on_downstream_connection_close(uint32_t id, int32_t peer) {
  say("on_downstream_connection_close(%u, %d)", (unsigned)id, (int)peer);
}

EXPORT(proxy_on_upstream_connection_close) void proxy_on_upstream_connection_close(uint32_t id, int32_t peer) {
  say("on_upstream_connection_close(%u, %d)", (unsigned)id, (int)peer);
}

EXPORT(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t id, int32_t count, int32_t end) {
  say("on_request_headers(%u, %d, %d)", (unsigned)id, (int)count, (int)end);
  get_property(TEXT("request\0path"));
  told_status("set_property", proxy_set_property(TEXT("every"), TEXT("property")));
  get_property(TEXT("every"));
  change_map(MAP_REQUEST_HEADERS);
  /* Only streams do this: a host may well start more of a plugin than it uses, and the stores are common to all. */
  if (wished("shared")) shared_data();
  if (wished("queue")) fill_queue();
  if (wished("metrics")) metrics();
  if (wished("reset_request")) told_status("close_stream", proxy_close_stream(STREAM_REQUEST));
  if (wished("reply")) {
    static const char *const reply[] = {"x-every-reply", "1"};
    char headers[64];
    told_status("send_local_response",
                proxy_send_local_response(number("reply"), TEXT("every"), TEXT("reply"), headers,
                                          pairs(headers, reply, 1), -1));
    return ACTION_PAUSE;
  }
  if (!begin()) return ACTION_CONTINUE;
  waiting = id;
  return ACTION_PAUSE;
}

EXPORT(proxy_on_request_body) int32_t proxy_on_request_body(uint32_t id, size_t size, int32_t end) {
  say("on_request_body(%u, %u, %d)", (unsigned)id, (unsigned)size, (int)end);
  look_at_buffer(BUFFER_REQUEST_BODY, size);
  if (wished("set_body")) change_buffer(BUFFER_REQUEST_BODY, size);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_request_trailers) int32_t proxy_on_request_trailers(uint32_t id, int32_t count) {
  say("on_request_trailers(%u, %d)", (unsigned)id, (int)count);
  change_map(MAP_REQUEST_TRAILERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_request_metadata) int32_t proxy_on_request_metadata(uint32_t id, int32_t count) {
  say("on_request_metadata(%u, %d)", (unsigned)id, (int)count);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_headers) int32_t proxy_on_response_headers(uint32_t id, int32_t count, int32_t end) {
  say("on_response_headers(%u, %d, %d)", (unsigned)id, (int)count, (int)end);
  change_map(MAP_RESPONSE_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_body) int32_t proxy_on_response_body(uint32_t id, size_t size, int32_t end) {
  say("on_response_body(%u, %u, %d)", (unsigned)id, (unsigned)size, (int)end);
  look_at_buffer(BUFFER_RESPONSE_BODY, size);
  if (wished("set_body")) change_buffer(BUFFER_RESPONSE_BODY, size);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_trailers) int32_t proxy_on_response_trailers(uint32_t id, int32_t count) {
  say("on_response_trailers(%u, %d)", (unsigned)id, (int)count);
  change_map(MAP_RESPONSE_TRAILERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_metadata) int32_t proxy_on_response_metadata(uint32_t id, int32_t count) {
  say("on_response_metadata(%u, %d)", (unsigned)id, (int)count);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t id, uint32_t call, int32_t headers, size_t size, int32_t trailers) {
  (void)call;
  say("on_http_call_response(%u, %d, %u, %d)", (unsigned)id, (int)headers, (unsigned)size, (int)trailers);
  look_at_map(MAP_CALL_HEADERS);
  look_at_buffer(BUFFER_CALL_BODY, size);
  look_at_map(MAP_CALL_TRAILERS);
  look_at_status();
  go_on();
}

EXPORT(proxy_on_grpc_receive_initial_metadata)
void proxy_on_grpc_receive_initial_metadata(uint32_t id, uint32_t call, int32_t count) {
  (void)call;
  say("on_grpc_receive_initial_metadata(%u, %d)", (unsigned)id, (int)count);
  look_at_map(MAP_GRPC_INITIAL_METADATA);
}

EXPORT(proxy_on_grpc_receive) void proxy_on_grpc_receive(uint32_t id, uint32_t call, size_t size) {
  (void)call;
  say("on_grpc_receive(%u, %u)", (unsigned)id, (unsigned)size);
  look_at_buffer(BUFFER_GRPC_MESSAGE, size);
  if (wished("grpc_call")) go_on();
}

EXPORT(proxy_on_grpc_receive_trailing_metadata)
void proxy_on_grpc_receive_trailing_metadata(uint32_t id, uint32_t call, int32_t count) {
  (void)call;
  say("on_grpc_receive_trailing_metadata(%u, %d)", (unsigned)id, (int)count);
  look_at_map(MAP_GRPC_TRAILING_METADATA);
}

EXPORT(proxy_on_grpc_close) void proxy_on_grpc_close(uint32_t id, uint32_t call, int32_t status) {
  (void)call;
  say("on_grpc_close(%u, %d)", (unsigned)id, (int)status);
  look_at_status();
  go_on();
}

EXPORT(proxy_on_foreign_function) void proxy_on_foreign_function(uint32_t id, uint32_t function, size_t size) {
  say("on_foreign_function(%u, %u, %u)", (unsigned)id, (unsigned)function, (unsigned)size);
  look_at_buffer(BUFFER_FOREIGN_ARGUMENTS, size);
}

EXPORT(proxy_on_done) int32_t proxy_on_done(uint32_t id) {
  say("on_done(%u)", (unsigned)id);
  ended = id == 1;
  return !(ended && wished("done_later"));
}

EXPORT(proxy_on_log) void proxy_on_log(uint32_t id) { say("on_log(%u)", (unsigned)id); }

EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t id) { say("on_delete(%u)", (unsigned)id); }

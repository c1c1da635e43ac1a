// Uses the services of a host in C++20 with the standard library, and logs what comes back: properties, maps, bodies, a
// timer, shared data, a queue, metrics, a foreign function, an HTTP call. Changes requests and responses by headers
// whose names begin with `x-every`, and else only as its configuration wishes.
//
// Configuration: words, each with or without `=VALUE`, as those of everything.c: `tick=MS`, `shared`, `queue`,
// `metrics`, `foreign=NAME`, `http_call=UPSTREAM`, `reply=STATUS`, `set_body`.
#include "proxy_wasm.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Pairs = std::vector<std::pair<std::string_view, std::string_view>>;

std::map<std::string, std::string, std::less<>> words;
uint32_t waiting; // the stream that waits for an answer

std::string text(int64_t number) {
  char digits[24];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}

void say(std::string_view line) { proxy_log(LOG_INFO, line.data(), line.size()); }

void told(std::string_view what, int32_t status) { say(std::string(what) + ": status " + text(status)); }

// What a host gives, which is freed at the end.
struct Given {
  char *at = nullptr;
  size_t size = 0;

  Given() = default;
  Given(const Given &) = delete;
  ~Given() { free(at); }

  std::string_view view() const { return {at, size}; }

  void tell(std::string_view what, int32_t status) const {
    if (status != STATUS_OK) return told(what, status);
    say(std::string(what) + ": \"" + std::string(view()) + "\"");
  }
};

std::optional<std::string_view> wish(std::string_view word) {
  auto found = words.find(word);
  if (found == words.end()) return std::nullopt;
  return found->second;
}

uint32_t number(std::string_view digits) {
  uint32_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

void parse(std::string_view configuration) {
  words.clear();
  while (!configuration.empty()) {
    auto end = std::min(configuration.find(' '), configuration.size());
    auto word = configuration.substr(0, end);
    configuration.remove_prefix(std::min(end + 1, configuration.size()));
    auto equals = word.find('=');
    auto value = equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    words.emplace(word.substr(0, equals), value);
  }
}

// Pairs in the form of the ABI.
std::string encode(const Pairs &pairs) {
  std::string bytes;
  auto add = [&](uint32_t value) { bytes.append(reinterpret_cast<const char *>(&value), sizeof value); };
  add(static_cast<uint32_t>(pairs.size()));
  for (const auto &[name, value] : pairs) {
    add(static_cast<uint32_t>(name.size()));
    add(static_cast<uint32_t>(value.size()));
  }
  for (const auto &[name, value] : pairs) bytes.append(name).push_back(0), bytes.append(value).push_back(0);
  return bytes;
}

void get_property(std::string_view path) {
  Given given;
  auto status = proxy_get_property(path.data(), path.size(), &given.at, &given.size);
  given.tell("get_property", status);
}

uint32_t get_shared(std::string_view key) {
  Given given;
  uint32_t cas = 0;
  auto status = proxy_get_shared_data(key.data(), key.size(), &given.at, &given.size, &cas);
  given.tell("get_shared_data", status);
  return cas;
}

void set_shared(std::string_view key, std::string_view value, uint32_t cas) {
  told("set_shared_data", proxy_set_shared_data(key.data(), key.size(), value.data(), value.size(), cas));
}

void shared_data() {
  get_shared("key");
  set_shared("key", "one", 0);
  auto cas = get_shared("key");
  set_shared("key", "two", cas);
  set_shared("key", "three", cas);
  get_shared("key");
}

void dequeue(uint32_t queue) {
  Given given;
  auto status = proxy_dequeue_shared_queue(queue, &given.at, &given.size);
  given.tell("dequeue_shared_queue", status);
}

void fill_queue() {
  uint32_t queue = 0;
  told("resolve_shared_queue", proxy_resolve_shared_queue("", 0, "queue", 5, &queue));
  for (std::string_view message : {"first", "second"}) {
    told("enqueue_shared_queue", proxy_enqueue_shared_queue(queue, message.data(), message.size()));
  }
}

void metrics() {
  constexpr std::string_view names[] = {"every_counter", "every_gauge", "every_histogram"};
  for (int32_t type = METRIC_COUNTER; type <= METRIC_HISTOGRAM; type++) {
    uint32_t metric = 0;
    uint64_t value = 0;
    told(names[type], proxy_define_metric(type, names[type].data(), names[type].size(), &metric));
    told("record_metric", proxy_record_metric(metric, 7));
    auto status = proxy_get_metric(metric, &value);
    say("get_metric: status " + text(status) + ", " + text(static_cast<int64_t>(value)));
  }
}

void change_map(int32_t map) {
  auto add = [&](std::string_view name, std::string_view value) {
    told("add", proxy_add_header_map_value(map, name.data(), name.size(), value.data(), value.size()));
  };
  add("x-every-add", "1");
  add("x-every-add", "2");
  Given given;
  auto status = proxy_get_header_map_pairs(map, &given.at, &given.size);
  say("get_header_map_pairs: status " + text(status) + ", " + text(static_cast<int64_t>(given.size)));
}

void body(int32_t buffer, size_t size) {
  Given given;
  auto status = proxy_get_buffer_bytes(buffer, 0, size, &given.at, &given.size);
  given.tell("get_buffer_bytes", status);
  if (!wish("set_body")) return;
  auto changed = "<" + std::string(given.view()) + ">";
  told("set_buffer_bytes", proxy_set_buffer_bytes(buffer, 0, size, changed.data(), changed.size()));
}

bool call(uint32_t id) {
  auto upstream = wish("http_call");
  if (!upstream) return false;
  auto headers = encode({{":method", "GET"}, {":path", "/called"}, {":authority", "every"}});
  uint32_t token = 0;
  auto status = proxy_http_call(upstream->data(), upstream->size(), headers.data(), headers.size(), "question", 8,
                                nullptr, 0, 1000, &token);
  told("http_call", status);
  waiting = id;
  return status == STATUS_OK;
}

} // namespace

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1() {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return malloc(size); }

EXPORT(proxy_on_configure) int32_t proxy_on_configure(uint32_t, size_t size) {
  Given given;
  if (size) proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &given.at, &given.size);
  parse(given.view());
  say("words: " + text(static_cast<int64_t>(words.size())));
  if (auto period = wish("tick")) told("set_tick_period", proxy_set_tick_period_milliseconds(number(*period)));
  uint32_t queue = 0;
  if (wish("queue")) told("register_shared_queue", proxy_register_shared_queue("queue", 5, &queue));
  if (auto name = wish("foreign")) {
    Given result;
    auto status = proxy_call_foreign_function(name->data(), name->size(), "argument", 8, &result.at, &result.size);
    say("call_foreign_function: status " + text(status) + ", " + text(static_cast<int64_t>(result.size)));
  }
  return true;
}

EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t) {
  say("tick");
  told("set_tick_period", proxy_set_tick_period_milliseconds(0));
}

EXPORT(proxy_on_queue_ready) void proxy_on_queue_ready(uint32_t, uint32_t queue) {
  say("queue ready");
  dequeue(queue);
}

EXPORT(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t id, int32_t, int32_t) {
  using namespace std::string_view_literals;
  get_property("request\0path"sv);
  change_map(MAP_REQUEST_HEADERS);
  if (wish("shared")) shared_data();
  if (wish("queue")) fill_queue();
  if (wish("metrics")) metrics();
  if (auto status = wish("reply")) {
    auto headers = encode({{"x-every-reply", "1"}});
    told("send_local_response",
         proxy_send_local_response(number(*status), "", 0, "reply", 5, headers.data(), headers.size(), -1));
    return ACTION_PAUSE;
  }
  return call(id) ? ACTION_PAUSE : ACTION_CONTINUE;
}

EXPORT(proxy_on_request_body) int32_t proxy_on_request_body(uint32_t, size_t size, int32_t) {
  body(BUFFER_REQUEST_BODY, size);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_headers) int32_t proxy_on_response_headers(uint32_t, int32_t, int32_t) {
  change_map(MAP_RESPONSE_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_body) int32_t proxy_on_response_body(uint32_t, size_t size, int32_t) {
  body(BUFFER_RESPONSE_BODY, size);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t, uint32_t, int32_t headers, size_t size, int32_t) {
  say("answered with " + text(headers) + " headers");
  Given given;
  auto status = proxy_get_buffer_bytes(BUFFER_CALL_BODY, 0, size, &given.at, &given.size);
  given.tell("get_buffer_bytes", status);
  told("set_effective_context", proxy_set_effective_context(waiting));
  told("continue_stream", proxy_continue_stream(STREAM_REQUEST));
}

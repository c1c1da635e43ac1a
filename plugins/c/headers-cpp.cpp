// The same as headers.c, in C++20 with the standard library: configuration, texts and results are equal.
#include "proxy_wasm.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

enum class Verb { add, set, remove };

struct Edit {
  int32_t map;
  Verb verb;
  std::string_view name;
  std::string_view value;
};

struct Plugin {
  std::string configuration;
  std::vector<Edit> edits; // views of the configuration
};

std::unordered_map<uint32_t, std::shared_ptr<Plugin>> plugins; // of plugin contexts and of stream contexts

void log_error(std::string_view message) { proxy_log(LOG_ERROR, message.data(), message.size()); }

std::string decimal(int number) {
  char digits[12];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}

// Takes `word` and the blank after it off the front of the line, if it is there.
bool take_word(std::string_view &line, std::string_view word) {
  if (!line.starts_with(word) || line.substr(word.size(), 1) != " ") return false;
  line.remove_prefix(word.size() + 1);
  return true;
}

std::string_view trim(std::string_view text) {
  auto first = text.find_first_not_of(' ');
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::optional<Edit> parse_edit(std::string_view line) {
  Edit edit{};
  if (take_word(line, "request")) {
    edit.map = MAP_REQUEST_HEADERS;
  } else if (take_word(line, "response")) {
    edit.map = MAP_RESPONSE_HEADERS;
  } else {
    return {};
  }
  if (take_word(line, "remove")) {
    edit.verb = Verb::remove;
    edit.name = trim(line);
  } else {
    edit.verb = take_word(line, "add") ? Verb::add : Verb::set;
    if (edit.verb == Verb::set && !take_word(line, "set")) return {};
    auto colon = line.find(':', 1); // the name of a pseudo-header begins with one
    if (colon == line.npos) return {};
    edit.name = trim(line.substr(0, colon));
    edit.value = trim(line.substr(colon + 1));
  }
  if (edit.name.empty()) return {};
  return edit;
}

bool parse(Plugin &plugin) {
  std::string_view left = plugin.configuration;
  for (int number = 1; !left.empty(); number++) {
    auto line = left.substr(0, left.find('\n'));
    left.remove_prefix(std::min(left.size(), line.size() + 1));
    if (line.empty()) continue;
    auto edit = parse_edit(line);
    if (!edit) {
      log_error("invalid configuration: line " + decimal(number) + " is no edit");
      return false;
    }
    plugin.edits.push_back(*edit);
  }
  return true;
}

int32_t make(const Edit &edit) {
  auto [map, verb, name, value] = edit;
  switch (verb) {
    case Verb::add:
      return proxy_add_header_map_value(map, name.data(), name.size(), value.data(), value.size());
    case Verb::set:
      return proxy_replace_header_map_value(map, name.data(), name.size(), value.data(), value.size());
    default:
      return proxy_remove_header_map_value(map, name.data(), name.size());
  }
}

void make_all(uint32_t stream, int32_t map) {
  for (const auto &edit : plugins.at(stream)->edits) {
    if (edit.map != map) continue;
    if (auto status = make(edit); status != STATUS_OK) {
      log_error("cannot edit " + std::string(edit.name) + ": status " + decimal(status));
    }
  }
}

} // namespace

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1() {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return std::malloc(size); }

EXPORT(proxy_on_context_create) void proxy_on_context_create(uint32_t id, uint32_t parent) {
  plugins[id] = parent ? plugins.at(parent) : std::make_shared<Plugin>();
}

EXPORT(proxy_on_configure) int32_t proxy_on_configure(uint32_t id, size_t size) {
  auto &plugin = *plugins.at(id);
  plugin = {};
  char *given = nullptr;
  size_t given_size = 0;
  if (size && proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &given, &given_size) != STATUS_OK) {
    log_error("cannot read the configuration");
    return false;
  }
  if (given_size) plugin.configuration.assign(given, given_size);
  std::free(given);
  return parse(plugin);
}

EXPORT(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t id, int32_t, int32_t) {
  make_all(id, MAP_REQUEST_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_headers) int32_t proxy_on_response_headers(uint32_t id, int32_t, int32_t) {
  make_all(id, MAP_RESPONSE_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t id) { plugins.erase(id); }

/*
 * Adds, replaces and removes headers of requests and responses. Never looks at a body.
 *
 * Configuration: a line for each edit, in the order in which they are made, of one of these forms, `response` in
 * place of `request` for headers of the response:
 *
 *     request add NAME: VALUE
 *     request set NAME: VALUE
 *     request remove NAME
 *
 * Empty lines count for nothing. A line of another form makes the configuration invalid. What the host does not take
 * is logged, and the other edits are still made.
 */
#include "proxy_wasm.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const char *at;
  size_t size;
} text;

typedef enum { ADD, SET, REMOVE } verb;

typedef struct {
  int32_t map;
  verb verb;
  text name;
  text value;
} edit;

/* A plugin context, or a stream context, which has a parent and no edits of its own. */
typedef struct context {
  struct context *next;
  uint32_t id;
  struct context *parent;
  char *configuration;
  edit *edits;
  size_t count;
} context;

static context *contexts;

static context *find(uint32_t id) {
  context *one = contexts;
  while (one && one->id != id) one = one->next;
  return one;
}

static void log_error(const char *message) { proxy_log(LOG_ERROR, message, strlen(message)); }

static text text_of(const char *constant) { return (text){constant, strlen(constant)}; }

/* The text of NUMBER, written into the end of DIGITS. */
static text decimal(uint32_t number, char digits[10]) {
  char *at = digits + 10;
  do {
    *--at = (char)('0' + number % 10);
    number /= 10;
  } while (number);
  return (text){at, (size_t)(digits + 10 - at)};
}

static void log_error_parts(const text *parts, size_t count) {
  size_t size = 0;
  for (size_t i = 0; i < count; i++) size += parts[i].size;
  char *message = malloc(size);
  if (!message) abort();
  char *end = message;
  for (size_t i = 0; i < count; end += parts[i].size, i++) memcpy(end, parts[i].at, parts[i].size);
  proxy_log(LOG_ERROR, message, size);
  free(message);
}

/* Takes WORD and the blank after it off the front of the line, if it is there. */
static bool take_word(text *line, const char *word) {
  size_t size = strlen(word);
  if (line->size <= size || memcmp(line->at, word, size) != 0 || line->at[size] != ' ') return false;
  line->at += size + 1;
  line->size -= size + 1;
  return true;
}

static text trim(text one) {
  while (one.size && one.at[0] == ' ') one.at++, one.size--;
  while (one.size && one.at[one.size - 1] == ' ') one.size--;
  return one;
}

static bool parse_edit(text line, edit *out) {
  if (take_word(&line, "request")) {
    out->map = MAP_REQUEST_HEADERS;
  } else if (take_word(&line, "response")) {
    out->map = MAP_RESPONSE_HEADERS;
  } else {
    return false;
  }
  if (take_word(&line, "remove")) {
    out->verb = REMOVE;
    out->name = trim(line);
    return out->name.size > 0;
  }
  out->verb = SET;
  if (take_word(&line, "add")) {
    out->verb = ADD;
  } else if (!take_word(&line, "set")) {
    return false;
  }
  /* The name of a pseudo-header begins with a colon. */
  const char *colon = line.size ? memchr(line.at + 1, ':', line.size - 1) : NULL;
  if (!colon) return false;
  size_t before = (size_t)(colon - line.at);
  out->name = trim((text){line.at, before});
  out->value = trim((text){colon + 1, line.size - before - 1});
  return out->name.size > 0;
}

/* Takes a line, without its end, off the front of what is left. */
static text take_line(text *left) {
  const char *end = memchr(left->at, '\n', left->size);
  text line = {left->at, end ? (size_t)(end - left->at) : left->size};
  size_t taken = line.size + (end ? 1 : 0);
  left->at += taken;
  left->size -= taken;
  return line;
}

static bool parse(context *plugin, size_t size) {
  size_t lines = 1;
  for (size_t i = 0; i < size; i++) lines += plugin->configuration[i] == '\n';
  plugin->edits = calloc(lines, sizeof(edit));
  if (!plugin->edits) abort();
  text left = {plugin->configuration, size};
  for (uint32_t number = 1; left.size; number++) {
    text line = take_line(&left);
    if (!line.size) continue;
    if (!parse_edit(line, &plugin->edits[plugin->count])) {
      char digits[10];
      const text parts[] = {text_of("invalid configuration: line "), decimal(number, digits), text_of(" is no edit")};
      log_error_parts(parts, 3);
      return false;
    }
    plugin->count++;
  }
  return true;
}

static void forget_configuration(context *plugin) {
  free(plugin->edits);
  free(plugin->configuration);
  plugin->edits = NULL;
  plugin->configuration = NULL;
  plugin->count = 0;
}

static int32_t make(const edit *one) {
  switch (one->verb) {
    case ADD:
      return proxy_add_header_map_value(one->map, one->name.at, one->name.size, one->value.at, one->value.size);
    case SET:
      return proxy_replace_header_map_value(one->map, one->name.at, one->name.size, one->value.at, one->value.size);
    default:
      return proxy_remove_header_map_value(one->map, one->name.at, one->name.size);
  }
}

static void make_all(uint32_t stream, int32_t map) {
  context *plugin = find(stream)->parent;
  for (size_t i = 0; i < plugin->count; i++) {
    const edit *one = &plugin->edits[i];
    if (one->map != map) continue;
    int32_t status = make(one);
    if (status != STATUS_OK) {
      char digits[10];
      const text parts[] = {text_of("cannot edit "), one->name, text_of(": status "),
                            decimal((uint32_t)status, digits)};
      log_error_parts(parts, 4);
    }
  }
}

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return malloc(size); }

EXPORT(proxy_on_context_create) void proxy_on_context_create(uint32_t id, uint32_t parent) {
  context *created = calloc(1, sizeof(context));
  if (!created) abort();
  created->id = id;
  created->parent = parent ? find(parent) : NULL;
  created->next = contexts;
  contexts = created;
}

EXPORT(proxy_on_configure) int32_t proxy_on_configure(uint32_t id, size_t size) {
  context *plugin = find(id);
  forget_configuration(plugin);
  size_t given = 0;
  if (size && proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &plugin->configuration, &given)) {
    log_error("cannot read the configuration");
    return false;
  }
  return parse(plugin, given);
}

EXPORT(proxy_on_request_headers)
int32_t proxy_on_request_headers(uint32_t id, int32_t count, int32_t end_of_stream) {
  (void)count, (void)end_of_stream;
  make_all(id, MAP_REQUEST_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_response_headers)
int32_t proxy_on_response_headers(uint32_t id, int32_t count, int32_t end_of_stream) {
  (void)count, (void)end_of_stream;
  make_all(id, MAP_RESPONSE_HEADERS);
  return ACTION_CONTINUE;
}

EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t id) {
  for (context **link = &contexts; *link; link = &(*link)->next) {
    if ((*link)->id != id) continue;
    context *deleted = *link;
    *link = deleted->next;
    forget_configuration(deleted);
    free(deleted);
    return;
  }
}

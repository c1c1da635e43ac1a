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
enum { ACTION_CONTINUE = 0 };
enum { LOG_ERROR = 4 };
enum { MAP_REQUEST_HEADERS = 0, MAP_RESPONSE_HEADERS = 2 };
enum { BUFFER_PLUGIN_CONFIGURATION = 7 };

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

// What sawpit.h declares, and what all plugins export: meta and configuration.
#include "runtime.h"
#include <stdlib.h>
#include <string.h>

// ---- Exports.

void exports_sawpit_plugin_meta_describe(exports_sawpit_plugin_meta_description_t *ret) {
    plugin_string_dup(&ret->name, sawpit_this_plugin.name);
    plugin_string_dup(&ret->version, sawpit_this_plugin.version);
    plugin_string_dup(&ret->help, sawpit_this_plugin.help);
    ret->reads = (sawpit_plugin_types_fields_t)sawpit_this_plugin.reads;
}

bool exports_sawpit_plugin_configuration_configure(plugin_string_t *config, plugin_string_t *err) {
    sawpit_buffer why = {0};
    bool taken = sawpit_configure((sawpit_text){(const char *)config->ptr, config->len}, &why);
    if (!taken) {
        runtime_reason(&why, "sawpit_configure");
        *err = runtime_give(&why);
    } else free(why.ptr);
    plugin_string_free(config);
    return taken;
}

// ---- Between columns and texts.

static sawpit_text row_of(const sawpit_plugin_types_column_t *column, uint32_t row) {
    if (row >= column->ends.len) return (sawpit_text){0};
    uint32_t start = row ? column->ends.ptr[row - 1] : 0;
    return (sawpit_text){(const char *)column->bytes.ptr + start, column->ends.ptr[row] - start};
}

sawpit_log runtime_log(const sawpit_plugin_types_batch_t *batch, uint32_t row) {
    return (sawpit_log){
        .device_id = row_of(&batch->device_id, row),
        .message = row_of(&batch->message, row),
        .log_data = row_of(&batch->log_data, row),
        .level = row < batch->log_level.len ? (sawpit_level)batch->log_level.ptr[row] : SAWPIT_DEBUG,
        .received_at = row < batch->received_at.len ? batch->received_at.ptr[row] : 0,
    };
}

void runtime_reason(sawpit_buffer *why, const char *who) {
    if (why->len) return;
    sawpit_append_string(why, who);
    sawpit_append_string(why, " gave no reason: put one in `why`, by sawpit_append_string");
}

void *runtime_allocate(size_t count, size_t size) {
    if (count == 0) return NULL;
    void *new = calloc(count, size);
    if (!new) sawpit_panic("out of memory");
    return new;
}

plugin_string_t runtime_give(sawpit_buffer *buffer) {
    plugin_string_t given = {(uint8_t *)buffer->ptr, buffer->len};
    *buffer = (sawpit_buffer){0};
    return given;
}

void runtime_end_row(runtime_column *column, const sawpit_buffer *row) {
    sawpit_append(&column->bytes, sawpit_view(row));
    uint32_t end = (uint32_t)column->bytes.len;
    sawpit_append(&column->ends, (sawpit_text){(const char *)&end, sizeof end});
}

sawpit_plugin_types_column_t runtime_finish(runtime_column *column) {
    return (sawpit_plugin_types_column_t){
        .bytes = {(uint8_t *)column->bytes.ptr, column->bytes.len},
        .ends = {(uint32_t *)column->ends.ptr, column->ends.len / sizeof(uint32_t)},
    };
}

// ---- What rules call.

void sawpit_write(sawpit_level level, sawpit_text line) {
    plugin_string_t message = {(uint8_t *)line.ptr, line.len};
    sawpit_plugin_log_write((sawpit_plugin_log_level_t)level, &message);
}

// These are there only where the world imports them: a weak name that nobody defines is NULL.
__attribute__((weak)) int64_t sawpit_plugin_clock_now(void);
__attribute__((weak)) void sawpit_plugin_counters_add(plugin_string_t *name, uint64_t by);

int64_t sawpit_now(void) {
    if (!sawpit_plugin_clock_now) sawpit_panic("sawpit_now: add `import sawpit:plugin/clock@0.1.0;` to wit/world.wit");
    return sawpit_plugin_clock_now();
}

void sawpit_count(const char *name, uint64_t by) {
    if (!sawpit_plugin_counters_add) {
        sawpit_panic("sawpit_count: add `import sawpit:plugin/counters@0.1.0;` to wit/world.wit");
    }
    plugin_string_t text = {(uint8_t *)name, strlen(name)};
    sawpit_plugin_counters_add(&text, by);
}

sawpit_edit *sawpit_split(sawpit_edit *edit) {
    sawpit_edit *part = runtime_allocate(1, sizeof *part);
    while (edit->next) edit = edit->next;
    edit->next = part;
    return part;
}

_Noreturn void sawpit_panic(const char *why) {
    sawpit_write(SAWPIT_ERROR, sawpit_string(why));
    abort();
}

sawpit_text sawpit_string(const char *text) { return (sawpit_text){text, strlen(text)}; }

bool sawpit_equal(sawpit_text one, sawpit_text other) {
    return one.len == other.len && memcmp(one.ptr, other.ptr, one.len) == 0;
}

ptrdiff_t sawpit_find(sawpit_text text, sawpit_text part) {
    if (part.len == 0) return 0;
    for (size_t at = 0; at + part.len <= text.len; at++) {
        const char *first = memchr(text.ptr + at, part.ptr[0], text.len - part.len - at + 1);
        if (!first) return -1;
        at = (size_t)(first - text.ptr);
        if (memcmp(first, part.ptr, part.len) == 0) return (ptrdiff_t)at;
    }
    return -1;
}

void sawpit_append(sawpit_buffer *to, sawpit_text text) {
    if (text.len > to->room - to->len) {
        size_t room = (to->len + text.len) * 2;
        char *new = realloc(to->ptr, room);
        if (!new) sawpit_panic("out of memory");
        to->ptr = new, to->room = room;
    }
    if (text.len) memcpy(to->ptr + to->len, text.ptr, text.len);
    to->len += text.len;
}

void sawpit_append_string(sawpit_buffer *to, const char *text) { sawpit_append(to, sawpit_string(text)); }

sawpit_text sawpit_view(const sawpit_buffer *buffer) { return (sawpit_text){buffer->ptr, buffer->len}; }

// What a Sawpit plugin needs beside its rules: logs one by one, texts, JSON.
//
// It is part of your project; change it where you need to. The contract is wit/deps/sawpit-plugin/, and
// bindings/plugin.h what wit-bindgen makes of it.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Text in UTF-8 that is somebody else's and not ended by a zero.
typedef struct {
    const char *ptr;
    size_t len;
} sawpit_text;

// Text that grows. All zero is an empty one.
typedef struct {
    char *ptr;
    size_t len, room;
} sawpit_buffer;

// What a plugin can read of a log.
enum { SAWPIT_DEVICE_ID = 1, SAWPIT_LEVEL = 2, SAWPIT_MESSAGE = 4, SAWPIT_LOG_DATA = 8, SAWPIT_RECEIVED_AT = 16 };

typedef enum { SAWPIT_DEBUG, SAWPIT_INFO, SAWPIT_WARNING, SAWPIT_ERROR, SAWPIT_CRITICAL } sawpit_level;

// One log of a call. What `reads` does not name is empty or 0. It is gone after the function that got it.
typedef struct {
    sawpit_text device_id, message;
    sawpit_text log_data; // the text of a JSON object
    sawpit_level level;
    int64_t received_at; // microseconds since 1970, UTC
} sawpit_log;

// Who the plugin is.
typedef struct {
    const char *name, *version, *help;
    int reads;
} sawpit_plugin;

// ---- What rules.c defines.

extern const sawpit_plugin sawpit_this_plugin;

// Gets the [config] table as JSON; copy what you keep. False refuses the plugin, for the reason written to `why`.
bool sawpit_configure(sawpit_text config, sawpit_buffer *why);

// A filter. SAWPIT_FAIL is an error of this log alone. All but SAWPIT_ACCEPT are for the reason written to `why`.
typedef enum { SAWPIT_ACCEPT, SAWPIT_DROP, SAWPIT_REJECT, SAWPIT_FAIL } sawpit_verdict;
sawpit_verdict sawpit_filter(const sawpit_log *log, sawpit_buffer *why);

// An enricher: writes the JSON object of the members to set to `patch`, or nothing. False is an error of this log alone.
bool sawpit_enrich(const sawpit_log *log, sawpit_buffer *patch, sawpit_buffer *why);

// A transformer: fills in what is to change. False is an error of this log alone.
typedef struct sawpit_edit {
    bool drop;              // do not store it; the reason is written to `why`
    bool new_level;         // `level` counts
    bool new_message;       // `message` counts, though it be empty
    sawpit_level level;
    sawpit_buffer message;
    sawpit_buffer log_data; // a whole JSON object, or nothing
    sawpit_buffer set;      // a JSON object whose members are set in log_data, or nothing
    struct sawpit_edit *next; // of the next part, see sawpit_split
} sawpit_edit;
bool sawpit_transform(const sawpit_log *log, sawpit_edit *edit, sawpit_buffer *why);

// ---- What rules.c can call.

// Ends the call as an error of all its logs, with this text.
_Noreturn void sawpit_panic(const char *why);
// A line for the operator's log, where the manifest grants "log".
void sawpit_write(sawpit_level level, sawpit_text line);
// Microseconds since 1970, UTC, where wit/world.wit imports sawpit:plugin/clock@0.1.0 and the manifest grants "clock".
int64_t sawpit_now(void);
// Adds to a counter, which becomes a metric, where wit/world.wit imports sawpit:plugin/counters@0.1.0 and the manifest
// grants "counters". A name is of a-z, 0-9 and _.
void sawpit_count(const char *name, uint64_t by);

// Of a transformer: makes one more log of this one, after those made before. Fill in what of it differs from the log
// that came; the first part is the edit that sawpit_transform gets. A log becomes 16 at most.
sawpit_edit *sawpit_split(sawpit_edit *edit);

sawpit_text sawpit_string(const char *text);
bool sawpit_equal(sawpit_text one, sawpit_text other);
// Where `part` begins in `text`, or -1.
ptrdiff_t sawpit_find(sawpit_text text, sawpit_text part);

void sawpit_append(sawpit_buffer *to, sawpit_text text);
void sawpit_append_string(sawpit_buffer *to, const char *text);
sawpit_text sawpit_view(const sawpit_buffer *buffer);

// The JSON text of a member of an object; false: there is none. Keys are compared as they are written.
bool sawpit_json_member(sawpit_text object, const char *key, sawpit_text *value);
// Whether an object has no members but these, the last of which is NULL; false: why is written to `why`.
bool sawpit_json_only(sawpit_text object, sawpit_buffer *why, const char *const keys[]);
// The text that a JSON string stands for; false: it is no string.
bool sawpit_json_unquote(sawpit_text json, sawpit_buffer *to);
// Appends text as a JSON string.
void sawpit_json_quote(sawpit_buffer *to, sawpit_text text);
// Adds a member to the object that `to` holds, and begins and ends it: {"a":1}. `json` is the value's JSON text.
void sawpit_json_set(sawpit_buffer *to, const char *key, sawpit_text json);

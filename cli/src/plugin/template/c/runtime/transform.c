// The export of a transformer that looks at one log at a time: sawpit_transform for each. To merge logs, write the answer
// (exports_sawpit_plugin_transform_changes_t in bindings/plugin.h) yourself.
#include "runtime.h"
#include <stdlib.h>

typedef exports_sawpit_plugin_transform_changes_t changes;
typedef exports_sawpit_plugin_transform_drop_t dropped;
typedef exports_sawpit_plugin_transform_level_edit_t level_edit;
typedef exports_sawpit_plugin_transform_row_error_t row_error;

// Texts for some of the outputs, while they are collected.
typedef struct {
    sawpit_buffer outputs;
    runtime_column texts;
} edits;

// The answer, while it grows: lists of what is between the brackets.
typedef struct {
    sawpit_buffer origins /* uint32_t */, dropped /* dropped */, levels /* level_edit */, errors /* row_error */;
    edits messages, data, set;
} answer;

#define PUSH(list, value) sawpit_append(&(list), (sawpit_text){(const char *)&(value), sizeof(value)})

static void add(edits *to, uint32_t output, const sawpit_buffer *text) {
    PUSH(to->outputs, output);
    runtime_end_row(&to->texts, text);
}

static void add_output(answer *to, uint32_t row, const sawpit_edit *edit) {
    uint32_t output = (uint32_t)(to->origins.len / sizeof output);
    PUSH(to->origins, row);
    if (edit->new_level) {
        level_edit level = {output, (sawpit_plugin_types_level_t)edit->level};
        PUSH(to->levels, level);
    }
    if (edit->new_message) add(&to->messages, output, &edit->message);
    if (edit->log_data.len) add(&to->data, output, &edit->log_data);
    if (edit->set.len) add(&to->set, output, &edit->set);
}

// What is made of one log. Splits are gone with it, the memory of `edit` is for the next one.
static void transform(answer *to, const sawpit_log *log, uint32_t row, sawpit_edit *edit, sawpit_buffer *why) {
    edit->drop = edit->new_level = edit->new_message = false;
    edit->message.len = edit->log_data.len = edit->set.len = why->len = 0;
    if (!sawpit_transform(log, edit, why)) {
        runtime_reason(why, "sawpit_transform");
        row_error error = {row, runtime_give(why)};
        PUSH(to->errors, error);
    } else if (edit->drop) {
        dropped drop = {row, runtime_give(why)};
        PUSH(to->dropped, drop);
    } else {
        for (const sawpit_edit *part = edit; part; part = part->next) add_output(to, row, part);
    }
    for (sawpit_edit *part; (part = edit->next);) {
        edit->next = part->next;
        free(part->message.ptr);
        free(part->log_data.ptr);
        free(part->set.ptr);
        free(part);
    }
}

// Hands the memory over. A buffer that nothing was appended to has none, and the bindings free none of an empty list.
#define GIVE(to, buffer)                                                                                               \
    ((to).ptr = (void *)(buffer).ptr, (to).len = (buffer).len / sizeof *(to).ptr)

static void give(exports_sawpit_plugin_transform_edits_t *to, edits *collected) {
    GIVE(to->outputs, collected->outputs);
    to->texts = runtime_finish(&collected->texts);
}

void exports_sawpit_plugin_transform_transform(exports_sawpit_plugin_transform_batch_t *logs,
                                               exports_sawpit_plugin_transform_outcome_t *ret) {
    answer made = {0};
    sawpit_edit edit = {0};
    sawpit_buffer why = {0};
    for (uint32_t row = 0; row < logs->len; row++) {
        sawpit_log log = runtime_log(logs, row);
        transform(&made, &log, row, &edit, &why);
    }
    free(edit.message.ptr);
    free(edit.log_data.ptr);
    free(edit.set.ptr);
    free(why.ptr);
    exports_sawpit_plugin_transform_batch_free(logs);
    changes done = {0};
    GIVE(done.origins, made.origins);
    GIVE(done.dropped, made.dropped);
    GIVE(done.levels, made.levels);
    GIVE(done.errors, made.errors);
    give(&done.messages, &made.messages);
    give(&done.log_data, &made.data);
    give(&done.set, &made.set);
    ret->tag = EXPORTS_SAWPIT_PLUGIN_TRANSFORM_OUTCOME_CHANGED;
    ret->val.changed = done;
}

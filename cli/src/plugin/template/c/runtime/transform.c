// The export of a transformer that looks at one log at a time: sawpit_transform for each. To merge or split logs, write
// the answer (exports_sawpit_plugin_transform_changes_t in bindings/plugin.h) yourself.
#include "runtime.h"
#include <stdlib.h>

typedef exports_sawpit_plugin_transform_changes_t changes;

// Texts for some of the outputs, while they are collected.
typedef struct {
    exports_sawpit_plugin_transform_edits_t *edits;
    runtime_column texts;
} collected;

static collected begin(exports_sawpit_plugin_transform_edits_t *edits, uint32_t logs) {
    edits->outputs.ptr = runtime_allocate(logs, sizeof *edits->outputs.ptr);
    return (collected){edits, {0}};
}

static void add(collected *to, uint32_t output, const sawpit_buffer *text) {
    to->edits->outputs.ptr[to->edits->outputs.len++] = output;
    runtime_end_row(&to->texts, text);
}

static void finish(collected *to) {
    to->edits->texts = runtime_finish(&to->texts);
    if (to->edits->outputs.len == 0) free(to->edits->outputs.ptr);
}

// The bindings free nothing of a list without entries.
#define FREE_EMPTY(list) ((list).len == 0 ? free((list).ptr) : (void)0)

void exports_sawpit_plugin_transform_transform(exports_sawpit_plugin_transform_batch_t *logs,
                                               exports_sawpit_plugin_transform_outcome_t *ret) {
    changes done = {0};
    uint32_t all = logs->len;
    done.origins.ptr = runtime_allocate(all, sizeof *done.origins.ptr);
    done.dropped.ptr = runtime_allocate(all, sizeof *done.dropped.ptr);
    done.levels.ptr = runtime_allocate(all, sizeof *done.levels.ptr);
    done.errors.ptr = runtime_allocate(all, sizeof *done.errors.ptr);
    collected messages = begin(&done.messages, all), data = begin(&done.log_data, all), set = begin(&done.set, all);
    sawpit_edit edit = {0};
    sawpit_buffer why = {0};
    for (uint32_t row = 0; row < all; row++) {
        sawpit_log log = runtime_log(logs, row);
        edit.drop = edit.new_level = edit.new_message = false;
        edit.message.len = edit.log_data.len = edit.set.len = why.len = 0;
        if (!sawpit_transform(&log, &edit, &why)) {
            done.errors.ptr[done.errors.len++] = (exports_sawpit_plugin_transform_row_error_t){row, runtime_give(&why)};
            continue;
        }
        if (edit.drop) {
            done.dropped.ptr[done.dropped.len++] = (exports_sawpit_plugin_transform_drop_t){row, runtime_give(&why)};
            continue;
        }
        uint32_t output = (uint32_t)done.origins.len;
        done.origins.ptr[done.origins.len++] = row;
        if (edit.new_level) {
            done.levels.ptr[done.levels.len++] =
                (exports_sawpit_plugin_transform_level_edit_t){output, (sawpit_plugin_types_level_t)edit.level};
        }
        if (edit.new_message) add(&messages, output, &edit.message);
        if (edit.log_data.len) add(&data, output, &edit.log_data);
        if (edit.set.len) add(&set, output, &edit.set);
    }
    finish(&messages);
    finish(&data);
    finish(&set);
    FREE_EMPTY(done.origins);
    FREE_EMPTY(done.dropped);
    FREE_EMPTY(done.levels);
    FREE_EMPTY(done.errors);
    free(edit.message.ptr);
    free(edit.log_data.ptr);
    free(edit.set.ptr);
    free(why.ptr);
    exports_sawpit_plugin_transform_batch_free(logs);
    ret->tag = EXPORTS_SAWPIT_PLUGIN_TRANSFORM_OUTCOME_CHANGED;
    ret->val.changed = done;
}

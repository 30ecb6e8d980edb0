// Between the bindings and sawpit.h; rules need nothing of it.
#pragma once
#include "plugin.h"
#include "sawpit.h"

// A column that is being filled.
typedef struct {
    sawpit_buffer bytes, ends;
} runtime_column;

sawpit_log runtime_log(const sawpit_plugin_types_batch_t *batch, uint32_t row);
// Says who failed without a reason, unless `why` has one.
void runtime_reason(sawpit_buffer *why, const char *who);
// Zeroed memory, or NULL for none of it.
void *runtime_allocate(size_t count, size_t size);
// Hands the buffer's memory over, and empties it.
plugin_string_t runtime_give(sawpit_buffer *buffer);
void runtime_end_row(runtime_column *column, const sawpit_buffer *row);
// Hands the column's memory over.
sawpit_plugin_types_column_t runtime_finish(runtime_column *column);

// The export of a filter: sawpit_filter for each log.
#include "runtime.h"
#include <stdlib.h>

void exports_sawpit_plugin_filter_filter(exports_sawpit_plugin_filter_batch_t *logs,
                                         exports_sawpit_plugin_filter_verdicts_t *ret) {
    *ret = (exports_sawpit_plugin_filter_verdicts_t){0};
    ret->verdicts.ptr = runtime_allocate(logs->len, sizeof *ret->verdicts.ptr);
    ret->verdicts.len = logs->len;
    ret->errors.ptr = runtime_allocate(logs->len, sizeof *ret->errors.ptr);
    runtime_column reasons = {0};
    sawpit_buffer why = {0};
    for (uint32_t row = 0; row < logs->len; row++) {
        sawpit_log log = runtime_log(logs, row);
        why.len = 0;
        sawpit_verdict verdict = sawpit_filter(&log, &why);
        if (verdict == SAWPIT_FAIL) {
            runtime_reason(&why, "sawpit_filter");
            ret->errors.ptr[ret->errors.len++] = (exports_sawpit_plugin_filter_row_error_t){row, runtime_give(&why)};
        } else {
            ret->verdicts.ptr[row] = (exports_sawpit_plugin_filter_verdict_t)verdict;
        }
        runtime_end_row(&reasons, &why);
    }
    ret->reasons = runtime_finish(&reasons);
    if (ret->errors.len == 0) free(ret->errors.ptr);
    free(why.ptr);
    exports_sawpit_plugin_filter_batch_free(logs);
}

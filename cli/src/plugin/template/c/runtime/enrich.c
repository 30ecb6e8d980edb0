// The export of an enricher: sawpit_enrich for each log.
#include "runtime.h"
#include <stdlib.h>

void exports_sawpit_plugin_enrich_enrich(exports_sawpit_plugin_enrich_batch_t *logs,
                                         exports_sawpit_plugin_enrich_patches_t *ret) {
    *ret = (exports_sawpit_plugin_enrich_patches_t){0};
    ret->errors.ptr = runtime_allocate(logs->len, sizeof *ret->errors.ptr);
    runtime_column set = {0};
    sawpit_buffer patch = {0}, why = {0};
    for (uint32_t row = 0; row < logs->len; row++) {
        sawpit_log log = runtime_log(logs, row);
        patch.len = why.len = 0;
        if (!sawpit_enrich(&log, &patch, &why)) {
            runtime_reason(&why, "sawpit_enrich");
            ret->errors.ptr[ret->errors.len++] = (exports_sawpit_plugin_enrich_row_error_t){row, runtime_give(&why)};
            patch.len = 0;
        }
        runtime_end_row(&set, &patch);
    }
    ret->set = runtime_finish(&set);
    if (ret->errors.len == 0) free(ret->errors.ptr);
    free(patch.ptr);
    free(why.ptr);
    exports_sawpit_plugin_enrich_batch_free(logs);
}

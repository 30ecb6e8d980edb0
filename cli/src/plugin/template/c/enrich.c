// Adds to logs: marks those that hold a word.
#include "sawpit.h"

const sawpit_plugin sawpit_this_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .help = "Marks logs that hold a word",
    // What is not listed here (joined by |) is not sent to the plugin.
    .reads = SAWPIT_MESSAGE,
};

// What is looked for in messages.
static sawpit_buffer word;

// The [config] table of {{name}}.toml, as JSON.
bool sawpit_configure(sawpit_text config, sawpit_buffer *why) {
    if (!sawpit_json_only(config, why, (const char *[]){"word", NULL})) return false;
    sawpit_text value = sawpit_string("\"smoke\"");
    sawpit_json_member(config, "word", &value);
    if (sawpit_json_unquote(value, &word) && word.len > 0) return true;
    sawpit_append_string(why, "word must be a text that is not empty");
    return false;
}

bool sawpit_enrich(const sawpit_log *log, sawpit_buffer *patch, sawpit_buffer *why) {
    (void)why; // for return false: an error of this log alone
    bool found = sawpit_find(log->message, sawpit_view(&word)) >= 0;
    if (found) sawpit_json_set(patch, "attention", sawpit_string("true"));
    return true;
}

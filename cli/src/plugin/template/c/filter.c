// Decides which logs are taken: those that hold a word are not stored.
#include "sawpit.h"

const sawpit_plugin sawpit_this_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .help = "Drops logs that hold a word",
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

sawpit_verdict sawpit_filter(const sawpit_log *log, sawpit_buffer *why) {
    if (sawpit_find(log->message, sawpit_view(&word)) < 0) return SAWPIT_ACCEPT;
    sawpit_append_string(why, "holds ");
    sawpit_json_quote(why, sawpit_view(&word));
    return SAWPIT_DROP;
}

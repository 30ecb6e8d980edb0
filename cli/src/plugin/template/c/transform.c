// Changes logs before they are stored: takes a word out of messages.
#include "sawpit.h"

const sawpit_plugin sawpit_this_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .help = "Takes a word out of messages",
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

bool sawpit_transform(const sawpit_log *log, sawpit_edit *edit, sawpit_buffer *why) {
    (void)why; // for edit->drop, and for return false: an error of this log alone
    sawpit_text rest = log->message;
    for (ptrdiff_t at; (at = sawpit_find(rest, sawpit_view(&word))) >= 0;) {
        edit->new_message = true;
        sawpit_append(&edit->message, (sawpit_text){rest.ptr, (size_t)at});
        sawpit_append_string(&edit->message, "***");
        rest.ptr += (size_t)at + word.len;
        rest.len -= (size_t)at + word.len;
    }
    if (edit->new_message) sawpit_append(&edit->message, rest);
    return true;
}

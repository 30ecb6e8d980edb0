// JSON: just enough to look a member up and to write one. What the host sends is valid.
#include "sawpit.h"
#include <string.h>

static size_t skip_space(sawpit_text json, size_t at) {
    while (at < json.len && memchr(" \t\r\n", json.ptr[at], 4)) at++;
    return at;
}

// Past the string that begins here.
static size_t skip_string(sawpit_text json, size_t at) {
    for (at++; at < json.len && json.ptr[at] != '"'; at++) {
        if (json.ptr[at] == '\\') at++;
    }
    return at + 1;
}

// Past the value that begins here.
static size_t skip_value(sawpit_text json, size_t at) {
    size_t depth = 0;
    while (at < json.len) {
        char c = json.ptr[at];
        if (c == '"') {
            at = skip_string(json, at);
            if (depth == 0) return at;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || memchr(" \t\r\n", c, 4))) return at;
        at++;
        if ((c == '}' || c == ']') && --depth == 0) return at;
    }
    return at;
}

typedef struct {
    sawpit_text key, value;
} member;

// The member that begins here, and where the next one begins; 0: there is none.
static size_t next_member(sawpit_text object, size_t at, member *found) {
    if (at >= object.len || object.ptr[at] != '"') return 0;
    size_t key_end = skip_string(object, at);
    found->key = (sawpit_text){object.ptr + at + 1, key_end - at - 2};
    // Past the colon.
    size_t start = skip_space(object, skip_space(object, key_end) + 1);
    size_t end = skip_value(object, start);
    if (end > object.len) return 0;
    found->value = (sawpit_text){object.ptr + start, end - start};
    return skip_space(object, skip_space(object, end) + 1);
}

static size_t first_member(sawpit_text object) {
    return skip_space(object, skip_space(object, 0) + 1);
}

bool sawpit_json_member(sawpit_text object, const char *key, sawpit_text *value) {
    member found;
    for (size_t at = first_member(object); (at = next_member(object, at, &found));) {
        if (sawpit_equal(found.key, sawpit_string(key))) {
            *value = found.value;
            return true;
        }
    }
    return false;
}

bool sawpit_json_only(sawpit_text object, sawpit_buffer *why, const char *const keys[]) {
    member found;
    for (size_t at = first_member(object); (at = next_member(object, at, &found));) {
        const char *const *key = keys;
        while (*key && !sawpit_equal(found.key, sawpit_string(*key))) key++;
        if (*key) continue;
        sawpit_append_string(why, "[config] has an unknown key: ");
        sawpit_append(why, found.key);
        return false;
    }
    return true;
}

static uint32_t hex(const char *digits) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

static void append_char(sawpit_buffer *to, uint32_t c) {
    char bytes[4];
    size_t len = 0;
    if (c < 0x80) bytes[len++] = (char)c;
    else {
        if (c < 0x800) bytes[len++] = (char)(0xc0 | c >> 6);
        else {
            if (c < 0x10000) bytes[len++] = (char)(0xe0 | c >> 12);
            else {
                bytes[len++] = (char)(0xf0 | c >> 18);
                bytes[len++] = (char)(0x80 | (c >> 12 & 0x3f));
            }
            bytes[len++] = (char)(0x80 | (c >> 6 & 0x3f));
        }
        bytes[len++] = (char)(0x80 | (c & 0x3f));
    }
    sawpit_append(to, (sawpit_text){bytes, len});
}

// Appends what an escape stands for, and returns how long it is. Half of a surrogate pair becomes U+FFFD.
static size_t unescape(sawpit_buffer *to, const char *at, size_t left) {
    switch (at[1]) {
    case 'b': append_char(to, '\b'); return 2;
    case 'f': append_char(to, '\f'); return 2;
    case 'n': append_char(to, '\n'); return 2;
    case 'r': append_char(to, '\r'); return 2;
    case 't': append_char(to, '\t'); return 2;
    case 'u': break;
    default: append_char(to, (unsigned char)at[1]); return 2;
    }
    if (left < 6) return left;
    uint32_t c = hex(at + 2);
    if (c < 0xd800 || c > 0xdfff) {
        append_char(to, c);
        return 6;
    }
    uint32_t low = left >= 12 && at[6] == '\\' && at[7] == 'u' ? hex(at + 8) : 0;
    bool is_pair = c < 0xdc00 && low >= 0xdc00 && low <= 0xdfff;
    append_char(to, is_pair ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : 0xfffd);
    return is_pair ? 12 : 6;
}

bool sawpit_json_unquote(sawpit_text json, sawpit_buffer *to) {
    if (json.len < 2 || json.ptr[0] != '"') return false;
    size_t end = json.len - 1;
    for (size_t at = 1; at < end;) {
        const char *escape = memchr(json.ptr + at, '\\', end - at);
        size_t plain = escape ? (size_t)(escape - json.ptr) : end;
        sawpit_append(to, (sawpit_text){json.ptr + at, plain - at});
        at = escape ? plain + unescape(to, escape, end - plain) : end;
    }
    return true;
}

void sawpit_json_quote(sawpit_buffer *to, sawpit_text text) {
    sawpit_append_string(to, "\"");
    for (size_t at = 0; at < text.len; at++) {
        unsigned char c = (unsigned char)text.ptr[at];
        char escaped[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
        if (c < 0x20) sawpit_append(to, (sawpit_text){escaped, 6});
        else {
            if (c == '"' || c == '\\') sawpit_append_string(to, "\\");
            sawpit_append(to, (sawpit_text){text.ptr + at, 1});
        }
    }
    sawpit_append_string(to, "\"");
}

void sawpit_json_set(sawpit_buffer *to, const char *key, sawpit_text json) {
    if (to->len) to->ptr[to->len - 1] = ','; // instead of the brace that ended it
    else sawpit_append_string(to, "{");
    sawpit_json_quote(to, sawpit_string(key));
    sawpit_append_string(to, ":");
    sawpit_append(to, json);
    sawpit_append_string(to, "}");
}

//! JSON as text: finding a value without building a tree, and writing strings.
//!
//! `log_data` is checked by the host (well-formed, no duplicate keys, limited depth), so these functions
//! only have to find their way in valid JSON. Given anything else they find nothing; they never panic.

use std::borrow::Cow;

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// Any number.
    Number,
    /// A string.
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

impl Kind {
    /// What the value with this text is, by its first character.
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        Some(match value.as_bytes().first()? {
            b'n' => Self::Null,
            b't' | b'f' => Self::Boolean,
            b'"' => Self::String,
            b'[' => Self::Array,
            b'{' => Self::Object,
            b'-' | b'0'..=b'9' => Self::Number,
            _ => return None,
        })
    }
}

/// The text of the value at `path` in the text of an object. At each step the whole rest of the path is
/// tried as a name first, then its part before a dot: `a.b` finds both `{"a.b":1}` and `{"a":{"b":1}}`.
#[must_use]
pub fn get<'a>(object: &'a str, path: &str) -> Option<&'a str> {
    members(object).find_map(|(key, value)| {
        let key = unescape(key)?;
        if *key == *path {
            return Some(value);
        }
        let rest = path.strip_prefix(&*key)?.strip_prefix('.')?;
        get(value, rest)
    })
}

/// The members of an object's text, in order: name (without quotes, escapes as they stand) and value text.
#[must_use]
pub fn members(object: &str) -> Members<'_> {
    let start = skip_space(object.as_bytes(), 0);
    let at = if object.as_bytes().get(start) == Some(&b'{') { start + 1 } else { object.len() };
    Members { text: object, at }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let mut at = skip_space(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        let key_end = skip_string(bytes, at)?;
        let colon = skip_space(bytes, key_end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_space(bytes, colon + 1);
        let end = skip_value(bytes, start)?;
        self.at = end;
        Some((self.text.get(at + 1..key_end - 1)?, self.text.get(start..end)?))
    }
}

/// The texts of an array's elements, in order.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let bytes = array.as_bytes();
    let start = skip_space(bytes, 0);
    let mut at = if bytes.get(start) == Some(&b'[') { start + 1 } else { array.len() };
    std::iter::from_fn(move || {
        at = skip_space(bytes, at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        let start = at;
        at = skip_value(bytes, start).filter(|&end| end > start)?;
        array.get(start..at)
    })
}

/// The value of a JSON string's text; nothing for other values. Borrowed when it has no escapes.
#[must_use]
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    unescape(value.strip_prefix('"')?.strip_suffix('"')?)
}

/// The value of a JSON number's text; nothing for other values.
#[must_use]
pub fn number(value: &str) -> Option<f64> {
    if Kind::of(value) == Some(Kind::Number) { value.parse().ok() } else { None }
}

/// The text between a JSON string's quotes with its escapes resolved; nothing when an escape is wrong.
#[must_use]
pub fn unescape(inner: &str) -> Option<Cow<'_, str>> {
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(&format!("\"{inner}\"")).ok().map(Cow::Owned)
}

/// Writes text as a JSON string, with quotes and the escapes that JSON asks for.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Writes text as it stands between the quotes of a JSON string.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        plain = at + 1;
        escape_byte(out, byte);
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The position of the first byte from `at` on that is not white space.
pub(crate) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the string whose opening quote is at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut end = at + 1;
    loop {
        match bytes.get(end)? {
            b'"' => return Some(end + 1),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// The end of the value that starts at `at`.
fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => skip_string(bytes, at),
        b'{' | b'[' => skip_nested(bytes, at),
        _ => Some(skip_scalar(bytes, at)),
    }
}

/// The end of the object or array that starts at `at`: brackets are counted, strings stepped over.
fn skip_nested(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = skip_string(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn skip_scalar(bytes: &[u8], mut at: usize) -> usize {
    while !matches!(bytes.get(at), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn finds_values_by_name_and_path() {
        let object = r#" { "a" : {"b": [1, "}"], "c\"d": -1.5e3 }, "a.b": null,"t":true ,"s":"x\ny"}"#;
        assert_eq!(get(object, "t"), Some("true"));
        assert_eq!(get(object, "a.b"), Some(r#"[1, "}"]"#));
        assert_eq!(number(get(object, "a.c\"d").unwrap()), Some(-1500.0));
        assert_eq!(string(get(object, "s").unwrap()).unwrap(), "x\ny");
        assert_eq!(get(object, "a.z"), None);
        assert_eq!(get(object, "t.z"), None);
        assert_eq!(get("{}", "a"), None);
        assert_eq!(get(r#"{"a.b":1}"#, "a.b"), Some("1"));
    }

    #[test]
    fn elements_of_arrays() {
        let texts: Vec<&str> = elements(r#" [1, "a,]" ,[2,{}],{"b":[]} , null]"#).collect();
        assert_eq!(texts, ["1", "\"a,]\"", "[2,{}]", r#"{"b":[]}"#, "null"]);
        assert_eq!(elements("[ ]").count() + elements("{}").count() + elements("").count(), 0);
    }

    #[test]
    fn kinds_are_told_by_the_first_character() {
        let of = |text| Kind::of(text).unwrap();
        assert_eq!([of("null"), of("true"), of("-1")], [Kind::Null, Kind::Boolean, Kind::Number]);
        assert_eq!([of("\"\""), of("[]"), of("{}")], [Kind::String, Kind::Array, Kind::Object]);
        assert_eq!(Kind::of(""), None);
        assert_eq!(number("\"1\""), None);
        assert_eq!(string("1"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[{}\[\]",:\\a0 ]{0,40}"#, path in "[a.]{0,5}") {
            let _ = get(&text, &path);
        }

        #[test]
        fn strings_survive(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let written = String::from_utf8(out).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text.clone());
            prop_assert_eq!(string(&written).unwrap(), text);
        }

        #[test]
        fn agrees_with_serde_json(members in proptest::collection::btree_map(any::<String>(), any::<Option<f64>>(), 0..6)) {
            let text = serde_json::to_string(&members).unwrap();
            for key in members.keys() {
                let found: Value = serde_json::from_str(get(&text, key).unwrap()).unwrap();
                let whole: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&found, &whole[key]);
            }
        }
    }
}

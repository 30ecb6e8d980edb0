//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07, section 2.1): a string of RFC 8941,
//! section 3.3.3, in quotes. Many clients send it bare, which is taken as well.

use axum::http::{HeaderMap, HeaderName};
use sawpit_queue::OnceKey;

use crate::problem::{FieldProblem, Kind, Problem};

/// What a device names its request with.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key of a request, if it has one, of 1 to `most` bytes.
pub(crate) fn of(headers: &HeaderMap, most: usize) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("must be sent once, but was sent several times"));
    }
    let Some(key) = value.to_str().ok().and_then(read) else {
        return Err(bad("must be a string in quotes, as in \"8e03978e-40d5-43dd-bc93-6894a57f9324\""));
    };
    if !(1..=most).contains(&key.len()) {
        return Err(bad(&format!("must have 1 to {most} bytes, but has {}", key.len())));
    }
    Ok(Some(key))
}

/// Tells this request from another under the same key. `scope` is the token that it came with: owners of two tokens do
/// not meet each other's keys.
pub(crate) fn once(scope: &str, key: &str, path: &'static str, body: &[u8]) -> OnceKey {
    let mut digest = blake3::Hasher::new();
    digest.update(path.as_bytes()).update(b"\n").update(body);
    let mut fingerprint = [0; 16];
    digest.finalize_xof().fill(&mut fingerprint);
    OnceKey { key: if scope.is_empty() { key.to_owned() } else { format!("{scope}:{key}") }, fingerprint }
}

fn bad(rule: &str) -> Problem {
    Problem::fields(Kind::BadIdempotencyKey, vec![FieldProblem::new("Idempotency-Key", rule)])
}

/// A string in quotes, or a bare one of visible characters that are no punctuation of the format.
fn read(value: &str) -> Option<String> {
    let value = value.trim_matches([' ', '\t']);
    let Some(quoted) = value.strip_prefix('"') else {
        let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ',' | ';');
        return value.chars().all(bare).then(|| value.to_owned());
    };
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c @ ' '..='~' => key.push(c),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn quoted_and_bare_keys_are_read() {
        let good = [
            (r#""8e03-4a""#, "8e03-4a"),
            ("8e03-4a", "8e03-4a"),
            ("  \"a b\"\t", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""a,b;c""#, "a,b;c"),
            ("a/b=+:{}", "a/b=+:{}"),
            (r#""""#, ""),
            ("", ""),
        ];
        for (value, key) in good {
            assert_eq!(read(value).as_deref(), Some(key), "{value}");
        }
        for bad in [
            "a b",
            "a,b",
            "a;b",
            "a\\b",
            "a\"",
            r#""a"#,
            r#""a\"#,
            r#""a\b""#,
            r#""a"b"#,
            r#""a";p=1"#,
            "\"é\"",
            "é",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_length_is_obeyed_and_violated() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_static(value));
            }
            of(&headers, 4)
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["\"abcd\""]).unwrap().as_deref(), Some("abcd"));
        for bad in [&["abcde"][..], &["\"abcde\""], &["\"\""], &[""], &["a", "a"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_path_and_body() {
        let of = |path, body: &str| once("", "k", path, body.as_bytes()).fingerprint;
        assert_eq!(of("/a", "x"), of("/a", "x"));
        assert_ne!(of("/a", "x"), of("/a", "y"));
        assert_ne!(of("/a", "x"), of("/b", "x"));
    }
}

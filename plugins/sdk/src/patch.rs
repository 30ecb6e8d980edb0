//! What an enricher adds to one log.

use std::cell::Cell;

use serde::Serialize;

use crate::json;

thread_local! {
    /// The text buffer of the last patch, so that a batch of patches costs one allocation.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Members to set in `log_data`, each replacing a member of that name. Set each name once.
#[derive(Debug)]
#[must_use = "a patch has no effect until it is returned"]
pub struct Patch {
    /// `{"a":1,"b":2`, or nothing; the closing brace comes last.
    text: Vec<u8>,
    /// The first value that was not JSON, with its key.
    error: Option<String>,
}

impl Patch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self { text: SPARE.take(), error: None }
    }

    /// Sets one member: a number, a boolean, text, a list, or whatever serde writes as JSON. A number that
    /// is not finite becomes `null`. A value that is no JSON (a map whose keys are not texts) fails the log.
    pub fn set(mut self, key: &str, value: impl Serialize) -> Self {
        self.put(key, value);
        self
    }

    /// As [`Patch::set`], for use in a branch or a loop.
    pub fn put(&mut self, key: &str, value: impl Serialize) {
        let before = self.text.len();
        self.put_key(key);
        if let Err(error) = serde_json::to_writer(&mut self.text, &value) {
            self.text.truncate(before);
            self.error.get_or_insert_with(|| format!("cannot set {key:?}: {error}"));
        }
    }

    /// Sets one member to a value that is JSON already, such as one of [`crate::Log::field`]. It is not
    /// checked here; the host refuses a patch that is not JSON.
    pub fn put_raw(&mut self, key: &str, value: &str) {
        self.put_key(key);
        self.text.extend_from_slice(value.as_bytes());
    }

    /// Whether nothing was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn put_key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { b'{' } else { b',' });
        json::write_string(&mut self.text, key);
        self.text.push(b':');
    }

    /// The first value that was not JSON, if there was one.
    pub(crate) fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }

    /// Appends the whole object to a column; nothing for an empty patch.
    pub(crate) fn finish(mut self, column: &mut Vec<u8>) -> Result<(), String> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.text.is_empty() {
            column.extend_from_slice(&self.text);
            column.push(b'}');
        }
        self.text.clear();
        SPARE.set(self.text);
        Ok(())
    }
}

impl Default for Patch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn text(patch: Patch) -> Result<String, String> {
        let mut column = Vec::new();
        patch.finish(&mut column).map(|()| String::from_utf8(column).unwrap())
    }

    #[test]
    fn writes_one_object_with_escapes() {
        let patch = Patch::new().set("n", 9).set("q\"\n", "a\u{1}\"ß").set("f", 1.5).set("l", ["x"]);
        assert_eq!(text(patch).unwrap(), r#"{"n":9,"q\"\n":"a\u0001\"ß","f":1.5,"l":["x"]}"#);
        assert_eq!(text(Patch::new()).unwrap(), "");
        assert_eq!(text(Patch::new().set("nan", f64::NAN)).unwrap(), r#"{"nan":null}"#);
    }

    #[test]
    fn a_value_that_is_no_json_fails_the_log_and_leaves_no_trace() {
        let wrong = BTreeMap::from([((1, 2), 3)]);
        let error = text(Patch::new().set("bad", wrong)).unwrap_err();
        assert!(error.starts_with("cannot set \"bad\""), "{error}");
        assert_eq!(text(Patch::new().set("after", 1)).unwrap(), r#"{"after":1}"#);
    }
}

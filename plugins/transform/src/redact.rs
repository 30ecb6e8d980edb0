//! From the matches in a text to the text without them, and from strings to the JSON they stand in.
//!
//! Key decision: `log_data` is not parsed into a tree; its text is walked and only strings that change are
//! written anew, so what is not redacted stays as the device sent it, byte by byte.

use std::borrow::Cow;

use sawpit_plugin::json::{self, Kind};
use sawpit_plugin::{Log, Outputs};

use crate::Class;
use crate::find::{Finder, SecretKeys};

/// Takes out the classes that were asked for.
#[derive(Debug)]
pub(crate) struct Redactor {
    finder: Finder,
    keys: Option<SecretKeys>,
}

/// A log without what was taken out; borrowed where nothing was.
#[derive(Debug)]
pub(crate) struct Redacted<'a> {
    pub(crate) message: Cow<'a, str>,
    pub(crate) data: Cow<'a, str>,
}

impl Redactor {
    pub(crate) fn new(classes: &[Class], more_keys: &[String]) -> Result<Self, String> {
        let keys = SecretKeys::new(more_keys)?;
        let keys = classes.contains(&Class::Secret).then_some(keys);
        Ok(Self { finder: Finder::new(classes, keys.clone()), keys })
    }

    pub(crate) fn log<'a>(&self, log: &Log<'a>) -> Redacted<'a> {
        Redacted { message: self.text(log.message()), data: self.json(log.data()) }
    }

    /// Plain text without the matches.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let matches = self.finder.find(text);
        if matches.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut kept = 0;
        for found in matches {
            out.push_str(text.get(kept..found.range.start).unwrap_or_default());
            out.push_str(found.label);
            kept = found.range.end;
        }
        out.push_str(text.get(kept..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// The text of a JSON object, its strings without the matches and its secret members without values.
    pub(crate) fn json<'a>(&self, object: &'a str) -> Cow<'a, str> {
        let mut edits = Edits { text: object, kept: 0, out: Vec::new() };
        self.object(object, &mut edits);
        edits.finish()
    }

    fn object<'a>(&self, object: &'a str, edits: &mut Edits<'a>) {
        for (key, value) in json::members(object) {
            if self.keys.as_ref().is_some_and(|keys| hides(keys, key, value)) {
                edits.replace(value, "[secret]");
            } else {
                self.value(value, edits);
            }
        }
    }

    fn value<'a>(&self, value: &'a str, edits: &mut Edits<'a>) {
        match Kind::of(value) {
            Some(Kind::String) => {
                // Escapes are resolved first: in `\nme@x.org` the address does not start with an n.
                let Some(text) = json::string(value) else { return };
                if let Cow::Owned(redacted) = self.text(&text) {
                    edits.replace(value, &redacted);
                }
            }
            Some(Kind::Object) => self.object(value, edits),
            Some(Kind::Array) => json::elements(value).for_each(|element| self.value(element, edits)),
            _ => {}
        }
    }
}

/// Whether a member's whole value is a secret. `null`, `true` and `false` give nothing away.
fn hides(keys: &SecretKeys, key: &str, value: &str) -> bool {
    let empty = matches!(value, "\"\"" | "\"[secret]\"");
    let flat = matches!(Kind::of(value), Some(Kind::Null | Kind::Boolean));
    !empty && !flat && json::unescape(key).is_some_and(|key| keys.contains(&key))
}

/// Text with parts of it replaced by JSON strings, front to back.
struct Edits<'a> {
    text: &'a str,
    kept: usize,
    out: Vec<u8>,
}

impl<'a> Edits<'a> {
    /// Replaces `part`, a slice of the text that lies behind all earlier ones.
    fn replace(&mut self, part: &'a str, string: &str) {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        self.out.extend_from_slice(self.text.get(self.kept..start).unwrap_or_default().as_bytes());
        json::write_string(&mut self.out, string);
        self.kept = start + part.len();
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.kept == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.extend_from_slice(self.text.get(self.kept..).unwrap_or_default().as_bytes());
        // Whole strings went in, so this never has to replace anything; it spares an `unsafe`.
        Cow::Owned(
            String::from_utf8(self.out)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }
}

impl Redacted<'_> {
    /// Tells the host what changed.
    pub(crate) fn write(&self, outputs: &mut Outputs, index: usize) {
        if let Cow::Owned(message) = &self.message {
            outputs.edit(index).message(message.as_str());
        }
        if let Cow::Owned(data) = &self.data {
            outputs.edit(index).data(data.as_str());
        }
    }
}

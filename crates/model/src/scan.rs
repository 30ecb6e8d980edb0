//! Walks JSON text whose syntax was already checked, without building anything.
//!
//! serde_json decides once what is JSON ([`syntax`]); everything after that only has to find where a value
//! ends, which takes no stack however deep the text nests. On text that is not JSON the walk stops early:
//! it never panics and never runs on.

use memchr::memchr2;

/// A text that is not JSON, and where it stops being so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxFault {
    pub line: usize,
    pub column: usize,
    pub reason: String,
}

/// The one JSON value that `text` holds, without the white space around it.
pub(crate) fn syntax(text: &str) -> Result<&str, SyntaxFault> {
    // A RawValue is found by a loop, not by recursion, so hostile nesting cannot exhaust the stack.
    match serde_json::from_str::<&serde_json::value::RawValue>(text) {
        Ok(raw) => Ok(raw.get()),
        Err(error) => {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
            Err(SyntaxFault { line: error.line(), column: error.column(), reason })
        }
    }
}

/// What kind of value a JSON text holds, named for an error message.
pub(crate) fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A place in a text of valid JSON.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Takes `byte` and the white space before it, if that is what comes next.
    pub(crate) fn take(&mut self, byte: u8) -> Option<()> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        (bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// Takes the next value and the white space before it.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let start = self.at;
        self.at = match bytes.get(start)? {
            b'"' => string_end(bytes, start)?,
            b'{' | b'[' => nested_end(bytes, start)?,
            _ => scalar_end(bytes, start),
        };
        (self.at > start).then(|| self.text.get(start..self.at)).flatten()
    }
}

/// Past the closing quote of the string whose opening quote is at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Past the bracket that closes the one at `start`.
fn nested_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Past the number, `true`, `false` or `null` at `start`.
pub(crate) fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let ends = |byte: &u8| {
        matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b' ' | b'\t' | b'\n' | b'\r')
    };
    start + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The members of an object in order, each as the JSON texts of its key (with quotes) and its value.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    first: bool,
}

impl<'a> Members<'a> {
    /// Of the object that is the whole of `text`; of none when it is no object.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { scanner: Scanner::new(text), first: true }
    }

    /// Byte offset behind the value that was taken last.
    pub(crate) const fn at(&self) -> usize {
        self.scanner.at
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.scanner.take(if self.first { b'{' } else { b',' })?;
        self.first = false;
        let key = self.scanner.value().filter(|key| key.starts_with('"'))?;
        self.scanner.take(b':')?;
        Some((key, self.scanner.value()?))
    }
}

/// The elements of the array that is the whole of `text`, each as its JSON text.
pub(crate) fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut scanner = Scanner::new(text);
    let mut opener = b'[';
    std::iter::from_fn(move || {
        scanner.take(opener)?;
        opener = b',';
        scanner.value()
    })
}

//! A query string's names and values, read strictly.
//!
//! Readers of forms replace what is no UTF-8 and leave a lone `%` as it is; a filter that was garbled on its way would
//! then find nothing, and look like an answer.

use crate::problem::FieldProblem;

const RULE: &str = "must be UTF-8, percent-encoded: each % with two hexadecimal digits";

/// The pairs in their order, decoded; what is wrong with a pair, for each that cannot be.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = Result<(String, String), FieldProblem>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A name that cannot be read is told as it was sent.
        let name = decoded(name).ok_or_else(|| FieldProblem::unknown(name, RULE))?;
        match decoded(value) {
            Some(value) => Ok((name, value)),
            None => Err(FieldProblem::unknown(&name, RULE)),
        }
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut whole = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        whole.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(whole).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_forms_send_them() {
        let text = "a=1&&b+c=%C3%BC+%2B&d&=e&f=g=h&%26=%3d";
        let read: Vec<(String, String)> = pairs(text).map(Result::unwrap).collect();
        let form: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        assert_eq!(read, form);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, field) in
            [("a=%", "a"), ("a=%f", "a"), ("a=%zz", "a"), ("%61=%FF", "a"), ("a.%FF=1", "a.%FF")]
        {
            let problem = pairs(text).next().unwrap().unwrap_err();
            assert_eq!((problem.field.as_str(), problem.rule.as_str()), (field, RULE), "{text}");
        }
    }
}

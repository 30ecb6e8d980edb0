//! The optional `sawpit.toml`: flat keys, each a setting's name with `-` or `_`.
//!
//! One file may serve all commands, so a key is unknown only when no command knows it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::mistake::{Mistake, Source};

/// A setting's value in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileValue {
    pub values: Vec<String>,
    pub source: Source,
}

/// What a file says, by setting name.
pub(super) type FileValues = HashMap<String, FileValue>;

/// Reads `path`. A missing file is a mistake only when it was asked for by name.
pub(super) fn read(
    path: &Path,
    named: Option<&Source>,
    known: &[&str],
    mistakes: &mut Vec<Mistake>,
) -> FileValues {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, known, mistakes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => FileValues::new(),
        Err(error) => {
            mistakes.push(Mistake {
                setting: "config".to_owned(),
                source: named.cloned().unwrap_or(Source::Default),
                value: Some(path.display().to_string()),
                rule: format!("must be a readable file: {error}"),
            });
            FileValues::new()
        }
    }
}

fn parse(path: &Path, text: &str, known: &[&str], mistakes: &mut Vec<Mistake>) -> FileValues {
    let table: toml::Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            mistakes.push(syntax_mistake(path, text, &error));
            return FileValues::new();
        }
    };
    let mut values = FileValues::new();
    for (key, value) in &table {
        let source = Source::File { path: path.to_owned(), key: key.clone() };
        match entry(key, value, known, &values) {
            Ok((name, texts)) => {
                values.insert(name, FileValue { values: texts, source });
            }
            Err(rule) => mistakes.push(Mistake { setting: key.clone(), source, value: None, rule }),
        }
    }
    values
}

fn entry(
    key: &str,
    value: &toml::Value,
    known: &[&str],
    seen: &FileValues,
) -> Result<(String, Vec<String>), String> {
    let name = key.replace('_', "-");
    if !known.contains(&name.as_str()) {
        return Err(unknown(&name, known));
    }
    if seen.contains_key(&name) {
        return Err("is given twice, once with - and once with _: keep one".to_owned());
    }
    Ok((name, texts(value)?))
}

fn texts(value: &toml::Value) -> Result<Vec<String>, String> {
    match value {
        toml::Value::Array(items) => items.iter().map(text).collect(),
        other => text(other).map(|text| vec![text]),
    }
}

fn text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Table(_) | toml::Value::Array(_) => {
            Err("must be a plain value or a list of them, not a table".to_owned())
        }
        plain => Ok(plain.to_string()),
    }
}

fn syntax_mistake(path: &Path, text: &str, error: &toml::de::Error) -> Mistake {
    let at = error.span().and_then(|span| text.get(..span.start));
    let line = at.map_or(1, |before| before.matches('\n').count() + 1);
    Mistake {
        setting: "config".to_owned(),
        source: Source::File { path: PathBuf::from(path), key: String::new() },
        value: None,
        rule: format!("is not valid TOML, line {line}: {}", error.message()),
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min();
    match nearest {
        // Further away than a third of its letters it is no slip of the fingers.
        Some((far, candidate)) if far * 3 <= name.len() => {
            format!("is no setting; did you mean {candidate}?")
        }
        _ => "is no setting; `sawpit help` lists them".to_owned(),
    }
}

/// Levenshtein's distance in bytes: how many letters to add, leave out or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, pair) in b.bytes().zip(row.windows(2)) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => (0, 0),
            };
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (FileValues, Vec<String>) {
        let mut mistakes = Vec::new();
        let values = parse(Path::new("s.toml"), text, &["listen", "log-format", "retry-max"], &mut mistakes);
        (values, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_have_dashes_or_underscores() {
        let (values, mistakes) = parsed("listen = \"a\"\nretry_max = 5\nlog-format = [\"x\", \"y\"]");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(values["retry-max"].values, ["5"]);
        assert_eq!(values["log-format"].values, ["x", "y"]);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let (_, mistakes) = parsed("lissten = 1\nzebra-crossing = 2\nbogus-key = 3");
        assert_eq!(
            mistakes,
            [
                "bogus-key (s.toml:bogus-key): is no setting; `sawpit help` lists them",
                "lissten (s.toml:lissten): is no setting; did you mean listen?",
                "zebra-crossing (s.toml:zebra-crossing): is no setting; `sawpit help` lists them",
            ]
        );
    }

    #[test]
    fn twice_the_same_key_and_tables_are_mistakes() {
        let (_, mistakes) = parsed("retry-max = 1\nretry_max = 2\n[listen]\nport = 1");
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes.iter().any(|m| m.contains("given twice")));
        assert!(mistakes.iter().any(|m| m.contains("not a table")));
    }

    #[test]
    fn broken_toml_names_file_and_line() {
        let (_, mistakes) = parsed("listen = \"a\"\nretry_max = = 5");
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].starts_with("config (s.toml): is not valid TOML, line 2"), "{}", mistakes[0]);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("listen", "lissten"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

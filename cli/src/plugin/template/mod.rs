//! What `sawpit plugin new` writes: the files of a project, for each language and kind.
//!
//! The key decision: a project stands alone. It has the WIT of this version and all that is needed beside the
//! language's own tools, so it builds the same however this repository changes.

/// A path in the project and its text; `{{name}}`, `{{kind}}`, `{{type}}` and `{{sdk}}` are filled in in both.
pub type File = (&'static str, &'static str);

/// What a plugin can do.
pub const KINDS: [&str; 3] = ["filter", "enrich", "transform"];
/// What it can be written in.
pub const LANGUAGES: [&str; 4] = ["rust", "js", "python", "c"];

const CASES: &str = "{{name}}.cases.ndjson";

/// What projects of all languages but Rust have, whose SDK brings the contract.
const WIT: [File; 5] = [
    ("wit/world.wit", include_str!("world.wit")),
    ("wit/deps/sawpit-plugin/types.wit", include_str!("../../../../wit/types.wit")),
    ("wit/deps/sawpit-plugin/plugin.wit", include_str!("../../../../wit/plugin.wit")),
    ("wit/deps/sawpit-plugin/host.wit", include_str!("../../../../wit/host.wit")),
    ("wit/deps/sawpit-plugin/worlds.wit", include_str!("../../../../wit/worlds.wit")),
];

const RUST: [File; 4] = [
    ("Cargo.toml", include_str!("rust/Cargo.toml.txt")),
    ("README.md", include_str!("rust/README.md")),
    (".gitignore", include_str!("rust/gitignore.txt")),
    ("{{name}}.toml", include_str!("rust/manifest.toml.txt")),
];

const JS: [File; 5] = [
    ("package.json", include_str!("js/package.json")),
    ("sawpit.js", include_str!("js/sawpit.js")),
    ("README.md", include_str!("js/README.md")),
    (".gitignore", include_str!("js/gitignore.txt")),
    ("{{name}}.toml", include_str!("js/manifest.toml.txt")),
];

const PYTHON: [File; 5] = [
    ("requirements.txt", include_str!("python/requirements.txt")),
    ("sawpit.py", include_str!("python/sawpit.py")),
    ("README.md", include_str!("python/README.md")),
    (".gitignore", include_str!("python/gitignore.txt")),
    ("{{name}}.toml", include_str!("python/manifest.toml.txt")),
];

const C: [File; 11] = [
    ("runtime/sawpit.h", include_str!("c/runtime/sawpit.h")),
    ("runtime/sawpit.c", include_str!("c/runtime/sawpit.c")),
    ("runtime/json.c", include_str!("c/runtime/json.c")),
    ("runtime/runtime.h", include_str!("c/runtime/runtime.h")),
    ("runtime/libc.c", include_str!("c/runtime/libc.c")),
    ("runtime/include/assert.h", include_str!("c/runtime/include/assert.h")),
    ("runtime/include/stdlib.h", include_str!("c/runtime/include/stdlib.h")),
    ("runtime/include/string.h", include_str!("c/runtime/include/string.h")),
    ("README.md", include_str!("c/README.md")),
    (".gitignore", include_str!("c/gitignore.txt")),
    ("{{name}}.toml", include_str!("c/manifest.toml.txt")),
];

/// All files of a project.
pub fn files(lang: &str, kind: &str) -> Vec<File> {
    let common: &[File] = match lang {
        "js" => &JS,
        "python" => &PYTHON,
        "c" => &C,
        _ => &RUST,
    };
    let wit: &[File] = if lang == "rust" { &[] } else { &WIT };
    [common, wit, rules(lang, kind), &[(CASES, cases(kind))]].concat()
}

/// Where the author begins, and what there is to be done before the first build.
pub fn introduction(lang: &str) -> (&'static str, &'static str) {
    match lang {
        "js" => ("rules.js", "npm install && "),
        "python" => ("rules.py", "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && "),
        "c" => ("rules.c", ""),
        _ => ("src/lib.rs", "cargo test && "),
    }
}

/// What depends on both.
fn rules(lang: &str, kind: &str) -> &'static [File] {
    match (lang, kind) {
        ("js", "filter") => &[("rules.js", include_str!("js/filter.js"))],
        ("js", "enrich") => &[("rules.js", include_str!("js/enrich.js"))],
        ("js", _) => &[("rules.js", include_str!("js/transform.js"))],
        ("python", "filter") => &[("rules.py", include_str!("python/filter.py"))],
        ("python", "enrich") => &[("rules.py", include_str!("python/enrich.py"))],
        ("python", _) => &[("rules.py", include_str!("python/transform.py"))],
        ("c", "filter") => &[
            ("rules.c", include_str!("c/filter.c")),
            ("runtime/filter.c", include_str!("c/runtime/filter.c")),
        ],
        ("c", "enrich") => &[
            ("rules.c", include_str!("c/enrich.c")),
            ("runtime/enrich.c", include_str!("c/runtime/enrich.c")),
        ],
        ("c", _) => &[
            ("rules.c", include_str!("c/transform.c")),
            ("runtime/transform.c", include_str!("c/runtime/transform.c")),
        ],
        (_, "filter") => &[("src/lib.rs", include_str!("rust/filter.rs.txt"))],
        (_, "enrich") => &[("src/lib.rs", include_str!("rust/enrich.rs.txt"))],
        (_, _) => &[("src/lib.rs", include_str!("rust/transform.rs.txt"))],
    }
}

fn cases(kind: &str) -> &'static str {
    match kind {
        "filter" => include_str!("cases/filter.ndjson"),
        "enrich" => include_str!("cases/enrich.ndjson"),
        _ => include_str!("cases/transform.ndjson"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_has_rules_cases_a_manifest_and_a_page() {
        for (lang, kind) in LANGUAGES.iter().flat_map(|lang| KINDS.map(|kind| (*lang, kind))) {
            let files = files(lang, kind);
            let mut paths: Vec<_> = files.iter().map(|(path, _)| *path).collect();
            for wanted in [introduction(lang).0, CASES, "{{name}}.toml", "README.md", ".gitignore"] {
                assert!(paths.contains(&wanted), "{lang} {kind}: {wanted}");
            }
            paths.sort_unstable();
            paths.dedup();
            assert_eq!(paths.len(), files.len(), "{lang} {kind}");
            assert_eq!(paths.contains(&"wit/world.wit"), lang != "rust");
        }
    }
}

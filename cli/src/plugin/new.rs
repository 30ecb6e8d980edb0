//! `sawpit plugin new`: a project that builds and passes its own test as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Arg, ArgMatches};
use sawpit_service::{Exit, SettingSpec};

use super::template::{self, File};
use super::{Stop, print};

/// Names that cargo refuses, or that would be a crate depending on itself.
const RESERVED: &str = "abstract alloc as async await become box break const continue core crate do dyn else \
     enum extern false final fn for gen if impl in let loop macro match mod move mut override priv proc-macro pub \
     ref return sawpit-plugin self serde static std struct super test trait true try type typeof unsafe unsized \
     use virtual where while yield";

pub fn args() -> Vec<Arg> {
    let name =
        Arg::new("name").value_name("NAME").help("The plugin's name and the new folder's").required(true);
    let kind = Arg::new("kind")
        .long("kind")
        .value_name("KIND")
        .help("What it does: filter, enrich or transform")
        .value_parser(template::KINDS)
        .required(true);
    let lang = Arg::new("lang")
        .long("lang")
        .value_name("LANG")
        .help("What it is written in")
        .value_parser(template::LANGUAGES)
        .default_value("rust");
    let sdk = Arg::new("sdk").long("sdk").value_name("PATH|URL").help(
        "For rust, the crate sawpit-plugin: its folder, or the URL of a git repository that holds it [default: plugins/sdk \
         or sawpit/plugins/sdk, here or in a folder above]",
    );
    vec![name, kind, lang, sdk]
}

/// It works with nothing but what is asked.
pub fn specs() -> Vec<SettingSpec> {
    Vec::new()
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let asked = |name| flags.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let (name, lang, kind) = (asked("name"), asked("lang"), asked("kind"));
    check_name(name, lang).map_err(Stop::Usage)?;
    let here = std::env::current_dir().context("the current folder")?;
    let sdk = match flags.get_one::<String>("sdk") {
        Some(_) if lang != "rust" => {
            return Err(Stop::Usage(anyhow!(
                "--sdk is for --lang rust: a project in {lang} has all that it needs"
            )));
        }
        None if lang != "rust" => String::new(),
        Some(given) => given_sdk(given).map_err(Stop::Usage)?,
        None => dependency_on(&find_sdk(&here)?),
    };
    let fill = |text: &str| {
        let text = text.replace("{{name}}", name).replace("{{type}}", &type_name(name));
        text.replace("{{sdk}}", &sdk).replace("{{kind}}", kind)
    };
    write(&here.join(name), &template::files(lang, kind), fill)?;
    let (rules, first) = template::introduction(lang);
    print(&format!(
        "made {name}/: the rules are in {rules}, the settings in {name}.toml, what it must do in \
         {name}.cases.ndjson\nnext: cd {name} && {first}sawpit plugin build && sawpit plugin test {name}.wasm\n"
    ));
    Ok(Exit::Done)
}

/// A plugin's name, which in Rust is a crate's name as well.
fn check_name(name: &str, lang: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_lowercase());
    ensure!(good, "{name:?} is no name: 1 to 64 lower-case letters, digits and hyphens, a letter first");
    ensure!(
        lang != "rust" || !RESERVED.split_whitespace().any(|reserved| reserved == name),
        "{name} is a reserved name in Rust"
    );
    Ok(())
}

/// The right-hand side of the dependency. A URL is a git repository's.
fn given_sdk(given: &str) -> Result<String> {
    if given.contains("://") || given.starts_with("git@") {
        return Ok(format!("{{ git = {} }}", quoted(given)));
    }
    let folder = fs::canonicalize(given).with_context(|| format!("--sdk {given}"))?;
    ensure!(folder.join("Cargo.toml").is_file(), "--sdk {given}: there is no Cargo.toml in it");
    Ok(dependency_on(&folder))
}

fn dependency_on(folder: &Path) -> String {
    format!("{{ path = {} }}", quoted(&folder.to_string_lossy()))
}

/// A basic string of TOML; JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn find_sdk(here: &Path) -> Result<PathBuf> {
    let places =
        here.ancestors().flat_map(|folder| ["plugins/sdk", "sawpit/plugins/sdk"].map(|sdk| folder.join(sdk)));
    places.into_iter().find(|place| place.join("Cargo.toml").is_file()).with_context(|| {
        "no plugins/sdk or sawpit/plugins/sdk here or above: give --sdk with the folder of the crate \
         sawpit-plugin, or with the URL of a git repository that holds it"
    })
}

fn write(folder: &Path, files: &[File], fill: impl Fn(&str) -> String) -> Result<()> {
    fs::create_dir(folder).with_context(|| {
        let there = if folder.exists() { ", as it is there: choose another name, or remove it" } else { "" };
        format!("cannot make {}{there}", folder.display())
    })?;
    for (path, text) in files {
        let path = folder.join(fill(path));
        let written =
            fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, fill(text)));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// `GeoIpPlugin` for `geo-ip`; the ending keeps it apart from the names that the source imports.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect::<String>() + "Plugin"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_plugin_and_of_a_crate() {
        for good in ["a", "geo-ip2", "log", "plugin"] {
            assert!(check_name(good, "rust").is_ok(), "{good}");
        }
        for bad in ["", "Geo", "2geo", "-geo", "a_b", "../x", "fn", "serde", &"x".repeat(65)] {
            assert!(check_name(bad, "rust").is_err(), "{bad}");
        }
        assert!(check_name("fn", "js").is_ok() && check_name("a_b", "js").is_err());
    }

    #[test]
    fn types_are_named_after_the_plugin() {
        assert_eq!(type_name("geo-ip"), "GeoIpPlugin");
        assert_eq!(type_name("log"), "LogPlugin");
        assert_eq!(type_name("a--b-"), "ABPlugin");
    }

    #[test]
    fn an_sdk_is_a_folder_or_a_repository() {
        assert_eq!(
            given_sdk("https://example.com/s.git").unwrap(),
            r#"{ git = "https://example.com/s.git" }"#
        );
        assert!(given_sdk("no/such/folder").unwrap_err().to_string().contains("--sdk no/such/folder"));
    }
}

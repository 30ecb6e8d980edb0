//! `sawpit plugin keygen`, `sign` and `verify`: minisign keys and signatures, which the minisign program can
//! make and check as well. The secret key stays with who signs; only `.pub` goes to where plugins run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use sawpit_plugins::{RuntimeSettings, TrustedKeys};
use sawpit_service::{Clock, Exit, SettingSpec};
use serde::Serialize;

use super::{Refusal, Stop, asked, print, print_json};

const KEY: &str = "key";
const PASSWORD: &str = "password-file";
const FILES: &str = "files";
const TRUSTED: &str = "trusted";
/// The largest file that may be verified: what the setting plugin-file-bytes allows at most.
const FILE_BYTES: u64 = 1 << 30;

/// These commands work with nothing but what is asked.
pub fn specs() -> Vec<SettingSpec> {
    Vec::new()
}

fn path(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help).value_parser(value_parser!(PathBuf))
}

fn password() -> Arg {
    path(PASSWORD, "F", "File whose first line is the password of the secret key")
}

fn path_of(flags: &ArgMatches, name: &str) -> PathBuf {
    flags.get_one::<PathBuf>(name).cloned().unwrap_or_default()
}

pub fn keygen_args() -> Vec<Arg> {
    let key = path(KEY, "F", "Where the secret key goes; the public one goes beside it, as F.pub");
    vec![key.default_value("sawpit.key"), password()]
}

pub fn keygen(flags: &ArgMatches) -> Result<Exit, Stop> {
    let key = path_of(flags, KEY);
    let public = PathBuf::from(format!("{}.pub", key.display()));
    let pair = match password_of(flags)? {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(|error| anyhow!("cannot make a key: {error}"))?;
    let words = |error| anyhow!("cannot write the key: {error}");
    let secret = pair.sk.to_box(Some("sawpit plugin secret key")).map_err(words)?.into_string();
    let shown = pair.pk.to_box().map_err(words)?.into_string();
    create(&key, secret.as_bytes(), Secrecy::Private)?;
    create(&public, shown.as_bytes(), Secrecy::Public)?;
    print(&format!(
        "secret key {}: keep it to yourself\npublic key {}: give it to --trusted-keys\n{}\n",
        key.display(),
        public.display(),
        pair.pk.to_base64()
    ));
    Ok(Exit::Done)
}

/// Who may read a new file.
enum Secrecy {
    Private,
    Public,
}

/// A key that was overwritten could not be had back, so an existing file is an error.
fn create(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if matches!(secrecy, Secrecy::Private) {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = secrecy;
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot make {} (an existing key is never overwritten)", path.display()))
}

fn password_of(flags: &ArgMatches) -> Result<Option<String>> {
    let Some(path) = flags.get_one::<PathBuf>(PASSWORD) else { return Ok(None) };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let password = text.lines().next().unwrap_or_default();
    ensure!(!password.is_empty(), "the first line of {} is empty: it must be the password", path.display());
    Ok(Some(password.to_owned()))
}

pub fn sign_args() -> Vec<Arg> {
    let files = Arg::new(FILES)
        .value_name("X.wasm")
        .help("What to sign: a plugin, with its manifest X.toml if there is one, or a manifest alone")
        .value_parser(value_parser!(PathBuf))
        .num_args(1..)
        .required(true);
    vec![files, path(KEY, "F", "The secret key").required(true), password()]
}

pub fn sign(flags: &ArgMatches) -> Result<Exit, Stop> {
    let key = secret_key(&path_of(flags, KEY), password_of(flags)?)?;
    for file in flags.get_many::<PathBuf>(FILES).into_iter().flatten() {
        sign_file(&key, file)?;
        let manifest = file.with_extension("toml");
        if file.extension().is_some_and(|extension| extension == "wasm") && manifest.is_file() {
            sign_file(&key, &manifest)?;
        }
    }
    Ok(Exit::Done)
}

fn secret_key(path: &Path, password: Option<String>) -> Result<SecretKey> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_public =
        minisign::PublicKeyBox::from_string(&text).is_ok_and(|held| held.into_public_key().is_ok());
    ensure!(!is_public, "{} is the public key: sign with the secret one", path.display());
    let held = SecretKeyBox::from(text);
    let key = match password {
        Some(password) => SecretKey::from_box(held, Some(password)),
        None => SecretKey::from_unencrypted_box(held),
    };
    key.map_err(|error| {
        anyhow!("{} cannot be used (a password is given with --{PASSWORD}): {error}", path.display())
    })
}

/// The trusted comment names the file, without which a signed plugin could be put in another's place.
fn sign_file(key: &SecretKey, file: &Path) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str()).context("the file's name must be UTF-8")?;
    ensure!(!name.contains(char::is_control), "the file's name must not hold control characters");
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let comment = format!("file:{name}");
    let signed = minisign::sign(None, key, bytes.as_slice(), Some(&comment), Some("sawpit plugin signature"))
        .map_err(|error| anyhow!("cannot sign {}: {error}", file.display()))?;
    let signature = file.with_file_name(format!("{name}.minisig"));
    let next = file.with_file_name(format!(".{name}.minisig.new"));
    fs::write(&next, signed.into_string())
        .and_then(|()| fs::rename(&next, &signature))
        .with_context(|| format!("cannot write {}", signature.display()))?;
    print(&format!("signed {}\n", signature.display()));
    Ok(())
}

pub fn verify_args() -> Vec<Arg> {
    let trusted = Arg::new(TRUSTED)
        .long(TRUSTED)
        .value_name("KEY|FILE")
        .help("A public key or a file of them; may be given several times")
        .action(ArgAction::Append)
        .required(true);
    vec![asked::wasm(), trusted, asked::json()]
}

/// What a signed plugin is answered with.
#[derive(Serialize)]
struct Signed<'a> {
    signed: bool,
    /// Whose signature the plugin's is.
    by: &'a str,
    file: &'a Path,
    /// None: there is none.
    manifest: Option<&'a Path>,
}

pub fn verify(flags: &ArgMatches) -> Result<Exit, Stop> {
    let given: Vec<String> = flags.get_many::<String>(TRUSTED).into_iter().flatten().cloned().collect();
    let trusted = TrustedKeys::read(&given, true).context("--trusted").map_err(Stop::Usage)?;
    let settings =
        RuntimeSettings { trusted, file_bytes: FILE_BYTES, ..RuntimeSettings::new(Clock::system().reader()) };
    let wasm = asked::wasm_of(flags);
    let key = sawpit_plugins::signed_by(&wasm, &settings)
        .map_err(|error| Stop::Refused("signed", Refusal { file: wasm.clone(), why: error.to_string() }))?;
    let manifest = wasm.with_extension("toml");
    let manifest = manifest.is_file().then_some(manifest.as_path());
    if asked::is_json(flags) {
        print_json(&Signed { signed: true, by: &key, file: &wasm, manifest })?;
    } else {
        let with = manifest.map_or_else(String::new, |manifest| format!(" and {}", manifest.display()));
        print(&format!("{}{with}: signed, the plugin by {key}\n", wasm.display()));
    }
    Ok(Exit::Done)
}

//! Signatures: what no trusted key signed does not serve, and what served before goes on.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use minisign::KeyPair;
use sawpit_plugins::{
    PluginState, Registry, RegistrySettings, Runtime, RuntimeSettings, TrustedKeys, inspect,
};
use support::*;
use tempfile::TempDir;

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn sign_as(key: &KeyPair, file: &Path, name: &str) {
    let comment = format!("timestamp:1700000000\tfile:{name}\thashed");
    let signed =
        minisign::sign(None, &key.sk, fs::read(file).unwrap().as_slice(), Some(&comment), None).unwrap();
    fs::write(format!("{}.minisig", file.display()), signed.into_string()).unwrap();
}

fn sign(key: &KeyPair, file: &Path) {
    sign_as(key, file, file.file_name().unwrap().to_str().unwrap());
}

fn trusting(keys: &[&KeyPair]) -> Runtime {
    trusting_with(keys, settings())
}

fn trusting_with(keys: &[&KeyPair], mut settings: RuntimeSettings) -> Runtime {
    let given: Vec<_> = keys.iter().map(|key| key.pk.to_base64()).collect();
    settings.trusted = TrustedKeys::read(&given, true).unwrap();
    Runtime::new(settings).unwrap()
}

fn guest(version: &'static str) -> Vec<u8> {
    Guest::new("filter", answer()).named("guest", version).wasm()
}

struct Folder {
    folder: TempDir,
    registry: Registry,
}

impl Folder {
    /// With version 1.0.0 signed by the first key and serving.
    fn serving(keys: &[&KeyPair]) -> Self {
        let folder = TempDir::new().unwrap();
        let wasm = folder.path().join("guest.wasm");
        fs::write(&wasm, guest("1.0.0")).unwrap();
        sign(keys[0], &wasm);
        let registry =
            Registry::open(trusting(keys), folder.path().to_owned(), RegistrySettings::default()).unwrap();
        let folder = Self { folder, registry };
        assert_eq!(folder.version(), Some("1.0.0".to_owned()), "{:?}", folder.registry.status());
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn version(&self) -> Option<String> {
        self.registry.status()[0].version.clone()
    }

    fn refuses(&self, why: &str) {
        eventually(&format!("refused: {why}"), || {
            let status = &self.registry.status()[0];
            status.state == PluginState::Refused && status.refusal.as_ref().unwrap().contains(why)
        });
        assert_eq!(self.version().as_deref(), Some("1.0.0"), "the version before serves on");
        assert_eq!(self.registry.chain().ingest(logs(&["a"])).len(), 1);
    }

    fn serves(&self, version: &str) {
        eventually(&format!("{version} serves"), || {
            let status = &self.registry.status()[0];
            status.state == PluginState::Active && status.version.as_deref() == Some(version)
        });
    }
}

#[test]
fn a_new_version_serves_once_its_signature_is_there() {
    let key = key();
    let folder = Folder::serving(&[&key]);
    fs::remove_file(folder.file("guest.wasm.minisig")).unwrap();
    folder.refuses("guest.wasm is not signed");
    fs::write(folder.file("guest.wasm"), guest("2.0.0")).unwrap();
    folder.refuses("guest.wasm is not signed");
    sign(&key, &folder.file("guest.wasm"));
    folder.serves("2.0.0");
}

#[test]
fn a_restart_beside_a_file_that_is_not_signed_as_it_must_be_does_not_lose_the_version_before() {
    let (key, cache, folder) = (key(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let open = || {
        let settings = RuntimeSettings { cache_dir: Some(cache.path().join("cache")), ..settings() };
        let runtime = trusting_with(&[&key], settings);
        Registry::open(runtime, folder.path().to_owned(), RegistrySettings::default()).unwrap()
    };
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, guest("1.0.0")).unwrap();
    sign(&key, &wasm);
    drop(open());
    for (bytes, why) in [(guest("2.0.0"), "changed after it was signed"), (b"junk".to_vec(), "changed after")]
    {
        fs::write(&wasm, bytes).unwrap();
        let status = open().status().remove(0);
        assert!(status.refusal.as_ref().is_some_and(|refusal| refusal.contains(why)), "{status:?}");
        assert_eq!(status.version.as_deref(), Some("1.0.0"), "{status:?}");
    }
    // What was kept must be signed as well.
    let settings = RuntimeSettings { cache_dir: Some(cache.path().join("cache")), ..settings() };
    let strangers = trusting_with(&[&self::key()], settings);
    let registry = Registry::open(strangers, folder.path().to_owned(), RegistrySettings::default()).unwrap();
    assert_eq!(registry.status()[0].version, None);
}

#[test]
fn a_signature_that_goes_bad_is_noticed_although_the_plugin_did_not_change() {
    let key = key();
    let folder = Folder::serving(&[&key]);
    let signature = folder.file("guest.wasm.minisig");
    let good = fs::read(&signature).unwrap();
    fs::write(&signature, "nonsense").unwrap();
    folder.refuses("guest.wasm.minisig is no minisign signature");
    fs::write(&signature, &good).unwrap();
    folder.serves("1.0.0");
    fs::write(&signature, vec![b'x'; 5_000]).unwrap();
    folder.refuses("guest.wasm.minisig is larger than 4096 bytes: that is no signature");
}

#[test]
fn other_bytes_and_other_keys_are_refused() {
    let (trusted, stranger) = (key(), key());
    let folder = Folder::serving(&[&trusted]);
    let wasm = folder.file("guest.wasm");
    fs::write(&wasm, guest("2.0.0")).unwrap();
    folder.refuses("was changed after it was signed");
    sign(&stranger, &wasm);
    folder.refuses("not among the trusted keys");
    // A stranger who gives their key the trusted one's id is no better.
    let mut forged = stranger;
    forged.sk = {
        let mut bytes = forged.sk.to_bytes();
        let own = trusted.sk.to_bytes();
        bytes[54..62].copy_from_slice(&own[54..62]);
        minisign::SecretKey::from_bytes(&bytes).unwrap()
    };
    assert_eq!(forged.sk.keynum(), trusted.sk.keynum());
    sign(&forged, &wasm);
    folder.refuses("was changed after it was signed");
}

#[test]
fn a_signed_plugin_cannot_stand_in_for_another() {
    let key = key();
    let folder = Folder::serving(&[&key]);
    let wasm = folder.file("guest.wasm");
    fs::write(&wasm, guest("2.0.0")).unwrap();
    sign_as(&key, &wasm, "other.wasm");
    folder.refuses("was made for the file other.wasm");
    let unnamed = minisign::sign(None, &key.sk, fs::read(&wasm).unwrap().as_slice(), None, None).unwrap();
    fs::write(folder.file("guest.wasm.minisig"), unnamed.into_string()).unwrap();
    folder.refuses("was made for the file none");
    // The comment is signed as well.
    let text = fs::read_to_string(folder.file("guest.wasm.minisig")).unwrap();
    let changed = text.replace("trusted comment: timestamp", "trusted comment: file:guest.wasm\ttimestamp");
    assert_ne!(changed, text);
    fs::write(folder.file("guest.wasm.minisig"), changed).unwrap();
    folder.refuses("was changed after it was signed");
}

#[test]
fn a_manifest_is_signed_as_well_perhaps_by_another_key() {
    let (author, operator) = (key(), key());
    let folder = Folder::serving(&[&author, &operator]);
    let toml = folder.file("guest.toml");
    fs::write(&toml, "timeout_ms = 20").unwrap();
    folder.refuses("guest.toml is not signed");
    sign(&operator, &toml);
    folder.serves("1.0.0");
    let before = folder.registry.chain().id().to_owned();
    fs::write(&toml, "timeout_ms = 20\ngrants = [\"clock\"]").unwrap();
    folder.refuses("guest.toml or its signature was changed");
    assert_eq!(folder.registry.chain().id(), before);
    fs::write(&toml, "").unwrap();
    folder.refuses("guest.toml or its signature was changed");
    fs::remove_file(&toml).unwrap();
    folder.serves("1.0.0");
    assert_ne!(folder.registry.chain().id(), before, "without a manifest it has the defaults");
}

#[test]
fn what_was_compiled_before_is_not_trusted_for_it() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, guest("1.0.0")).unwrap();
    let mut settings = settings();
    settings.cache_dir = Some(cache.path().join("compiled"));
    Runtime::new(settings.clone()).unwrap().load(&wasm).unwrap();
    settings.trusted = TrustedKeys::read(&[key().pk.to_base64()], true).unwrap();
    let error = Runtime::new(settings).unwrap().load(&wasm).unwrap_err().to_string();
    assert!(error.contains("is not signed"), "{error}");
}

#[test]
fn inspect_says_who_signed_also_where_no_signature_is_required() {
    let (folder, key) = (TempDir::new().unwrap(), key());
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, guest("1.0.0")).unwrap();
    let seen = inspect(&runtime(), &wasm);
    assert_eq!((seen.signed_by, seen.refusal), (None, None));
    assert_eq!(seen.unsigned.unwrap(), "not signed", "nothing that should be mended");
    let seen = inspect(&trusting(&[&key]), &wasm);
    assert_eq!(seen.refusal, seen.unsigned);
    assert!(seen.refusal.is_some() && seen.hash.is_some() && seen.description.is_none());
    sign(&key, &wasm);
    let seen = inspect(&trusting(&[&key]), &wasm);
    assert_eq!((seen.signed_by, seen.unsigned, seen.refusal), (Some(key.pk.to_base64()), None, None));
}

#[test]
fn keys_are_read_from_text_and_from_files_and_mistakes_are_named() {
    let folder = TempDir::new().unwrap();
    let (one, two, three) = (key(), key(), key());
    let file = folder.path().join("keys");
    let name = file.display().to_string();
    let text = format!("# ours\n\n{}{}\n", one.pk.to_box().unwrap().into_string(), two.pk.to_base64());
    fs::write(&file, &text).unwrap();
    let read = TrustedKeys::read(&[three.pk.to_base64(), name.clone()], false).unwrap();
    let found: Vec<_> = read.keys.iter().map(ToString::to_string).collect();
    assert_eq!(found, [three.pk.to_base64(), one.pk.to_base64(), two.pk.to_base64()]);
    let wrong = |given: &str| TrustedKeys::read(&[given.to_owned()], true).unwrap_err().to_string();
    fs::write(&file, format!("{text}RWnonsense\n")).unwrap();
    assert!(wrong(&name).contains(", line 6: \"RWnonsense\" is no minisign public key"), "{}", wrong(&name));
    let mut secret = key().sk.to_box(None).unwrap().into_string();
    fs::write(&file, &secret).unwrap();
    let line = secret.split_off(secret.find('\n').unwrap() + 1);
    for given in [line.trim(), &name] {
        let told = wrong(given);
        assert!(told.contains("this is a secret key: give the public one"), "{told}");
        assert!(!told.contains(&line[..20]), "{told}");
    }
    fs::write(&file, format!("{}\n", &line[..40])).unwrap();
    assert!(!wrong(&name).contains(&line[..20]), "nor is a part of it shown: {}", wrong(&name));
    fs::write(&file, "# none\n").unwrap();
    assert!(wrong(&name).ends_with("holds no public key"), "{}", wrong(&name));
    assert!(wrong("/nowhere/keys").contains("cannot read /nowhere/keys"));
}

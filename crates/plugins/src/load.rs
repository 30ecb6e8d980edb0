//! From a file to a proved version: read, make a component, compile, check, link, describe, configure, try.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, InstancePre};

use crate::bindings::{configuration, enrich, filter, meta, transform, types};
use crate::breaker::Breaker;
use crate::engine::{self, Inner};
use crate::files::open_regular;
use crate::host::{GuestState, Shared};
use crate::instance::{Exports, Instance, Pool, Recipe};
use crate::meter::Meter;
use crate::probe::Probe;
use crate::scope::Scope;
use crate::shadow::Differences;
use crate::signature::{self, SignatureError, Signatures, Signed};
use crate::suspects::Suspects;
use crate::{
    BreakerLimits, Description, Grant, LoadError, Manifest, Plugin, Runtime, RuntimeSettings, Stage, budget,
    convert, golden, trial,
};

const META: &str = "sawpit:plugin/meta@0.1.0";
const CONFIGURATION: &str = "sawpit:plugin/configuration@0.1.0";
pub(crate) const STAGES: [(Stage, &str); 3] = [
    (Stage::Filter, "sawpit:plugin/filter@0.1.0"),
    (Stage::Enrich, "sawpit:plugin/enrich@0.1.0"),
    (Stage::Transform, "sawpit:plugin/transform@0.1.0"),
];
/// Imports that need no grant.
const FREE_IMPORTS: [&str; 2] = ["sawpit:plugin/types@0.1.0", "sawpit:plugin/log@0.1.0"];
const GRANTED_IMPORTS: [(&str, Grant, &str); 2] = [
    ("sawpit:plugin/clock@0.1.0", Grant::Clock, "clock"),
    ("sawpit:plugin/counters@0.1.0", Grant::Counters, "counters"),
];
/// What of WASI there is, all of it empty; see [`crate::wasi`].
const WASI_PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const OFFERED: &str = "log, clock and counters of sawpit:plugin@0.1.0, and an empty wasi 0.2 without http";
/// Longest name and version, in bytes; from `types.wit`.
const NAME_BYTES: usize = 64;

/// A file as read, with the texts of its manifest and its golden cases.
pub(crate) struct Source {
    pub file: String,
    pub wasm: Vec<u8>,
    pub manifest: String,
    pub cases: String,
    has_manifest: bool,
    signatures: Signatures,
}

impl Source {
    /// Reads the wasm, the manifest and the cases beside it, and refuses what is not signed where that is
    /// required.
    pub fn read(wasm: &Path, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let source = Self::read_unchecked(wasm, settings)?;
        if settings.trusted.required {
            source.signed_by(settings)?;
        }
        Ok(source)
    }

    /// The same whoever signed it; a missing manifest, like missing cases, is empty.
    pub fn read_unchecked(wasm: &Path, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let beside = |extension: &str, limit| read_text(&wasm.with_extension(extension), limit);
        let manifest = beside("toml", settings.manifest_bytes)?;
        let cases = beside(golden::CASES_EXTENSION, settings.cases_bytes)?.unwrap_or_default();
        let signature = |signed| beside(&format!("{signed}.{}", signature::EXTENSION), signature::FILE_BYTES);
        let signatures = Signatures { wasm: signature("wasm")?, manifest: signature("toml")? };
        let file = wasm.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wasm = read_limited(wasm, settings.file_bytes)?;
        let has_manifest = manifest.is_some();
        Ok(Self { file, wasm, manifest: manifest.unwrap_or_default(), cases, has_manifest, signatures })
    }

    /// The files as they were read, by name; none: there was none.
    pub fn files(&self) -> [(String, Option<&[u8]>); 5] {
        let stem = self.stem();
        [
            (format!("{stem}.toml"), self.has_manifest.then_some(self.manifest.as_bytes())),
            (self.cases_file(), Some(self.cases.as_bytes())),
            (
                format!("{stem}.wasm.{}", signature::EXTENSION),
                self.signatures.wasm.as_deref().map(str::as_bytes),
            ),
            (
                format!("{stem}.toml.{}", signature::EXTENSION),
                self.signatures.manifest.as_deref().map(str::as_bytes),
            ),
            // Last: it is by this file that a version is there.
            (self.file.clone(), Some(&self.wasm)),
        ]
    }

    /// The stem that a file of a plugin's files has; none for a name that none of them has.
    pub fn stem_of(name: &str) -> Option<&str> {
        let name =
            name.strip_suffix(signature::EXTENSION).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
        let cases = name.strip_suffix(golden::CASES_EXTENSION).and_then(|name| name.strip_suffix('.'));
        cases.or_else(|| name.strip_suffix(".wasm")).or_else(|| name.strip_suffix(".toml"))
    }

    /// Which trusted key signed what was read.
    pub fn signed_by(&self, settings: &RuntimeSettings) -> Result<String, SignatureError> {
        let manifest = self.has_manifest.then_some(self.manifest.as_str());
        let signed = Signed { stem: self.stem(), wasm: &self.wasm, manifest, signatures: &self.signatures };
        signed.by(&settings.trusted)
    }

    /// Of the cases: they decide whether a version serves, and are no part of what it does.
    pub fn cases_hash(&self) -> blake3::Hash {
        blake3::hash(self.cases.as_bytes())
    }

    /// Over wasm and manifest: what a version does.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.wasm.len() as u64).to_le_bytes());
        hasher.update(&self.wasm).update(self.manifest.as_bytes());
        hasher.finalize().to_hex().chars().take(16).collect()
    }

    pub fn stem(&self) -> &str {
        self.file.strip_suffix(".wasm").unwrap_or(&self.file)
    }

    /// The name of its file of golden cases.
    pub fn cases_file(&self) -> String {
        format!("{}.{}", self.stem(), golden::CASES_EXTENSION)
    }

    pub fn manifest(&self, settings: &RuntimeSettings) -> Result<Manifest, LoadError> {
        let file = format!("{}.toml", self.stem());
        Ok(Manifest::parse(&file, &self.manifest, settings)?)
    }
}

/// `None` where there is no such file.
fn read_text(path: &Path, limit: u64) -> Result<Option<String>, LoadError> {
    let bytes = match read_limited(path, limit) {
        Err(LoadError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    String::from_utf8(bytes).map(Some).map_err(|error| LoadError::Read {
        path: path.to_owned(),
        cause: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let wrong = |cause| LoadError::Read { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    open_regular(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(wrong)?;
    if bytes.len() as u64 > limit { Err(LoadError::TooLarge { limit }) } else { Ok(bytes) }
}

/// Reads and loads one file.
pub(crate) fn from_path(runtime: &Runtime, wasm: &Path) -> Result<Arc<Plugin>, LoadError> {
    let source = Source::read(wasm, runtime.settings())?;
    let manifest = source.manifest(runtime.settings())?;
    load(runtime, &source, manifest)
}

/// Loads what was read.
pub(crate) fn load(runtime: &Runtime, source: &Source, manifest: Manifest) -> Result<Arc<Plugin>, LoadError> {
    let limit = runtime.settings().proving_timeout;
    load_within(runtime, source, manifest, limit)
}

/// Loads what was read, and proves it within `limit`. Compiling does not count: nothing could interrupt it, and it
/// ends.
pub(crate) fn load_within(
    runtime: &Runtime,
    source: &Source,
    manifest: Manifest,
    limit: Duration,
) -> Result<Arc<Plugin>, LoadError> {
    let recipe = recipe(runtime, source, manifest)?;
    let until = Instant::now() + limit;
    let proved = prove(runtime, source, Recipe { until: Some(until), ..recipe });
    let mut plugin = proved.map_err(|at| late(until, runtime.settings(), at))?;
    plugin.recipe.until = None;
    let Description { name, version, .. } = &plugin.description;
    let scope = Scope::open(runtime.settings().scopes.as_ref(), name, version);
    scope.run(|| count(&mut plugin, &scope));
    Ok(Arc::new(plugin))
}

/// From now on what it does is counted.
fn count(plugin: &mut Plugin, scope: &Scope) {
    let Description { name, version, .. } = &plugin.description;
    plugin.recipe.shared.serve(version, scope);
    plugin.meter = Meter::new(name, version, scope);
    plugin.pool.count(&plugin.meter);
    plugin.breaker = Breaker::new(plugin.manifest().breaker, name, version);
    // What the trial found is forgotten: its devices are made up.
    plugin.suspects =
        Suspects::new(plugin.manifest().breaker, plugin.recipe.runtime.settings.suspect_devices);
}

/// Compiles what was read and links it.
fn recipe(runtime: &Runtime, source: &Source, manifest: Manifest) -> Result<Recipe, LoadError> {
    let inner = &runtime.0;
    let component = compile(inner, source)?;
    let stages = check_exports(inner, &component, &manifest)?;
    let wants_wasi = check_imports(inner, &component, &manifest)?;
    let link = |error: wasmtime::Error| LoadError::Link { cause: format!("{error:#}") };
    let pre = inner.linker(wants_wasi).instantiate_pre(&component).map_err(link)?;
    let exports = exports(&pre, &stages).map_err(link)?;
    let shared = Arc::new(Shared::new(source.stem(), manifest.grants(Grant::Log), &inner.settings));
    let weight = engine::weight(&component);
    Ok(Recipe { runtime: Arc::clone(inner), pre, exports, weight, shared, manifest, until: None })
}

/// Starts it and has it show what it does.
fn prove(runtime: &Runtime, source: &Source, recipe: Recipe) -> Result<Plugin, LoadError> {
    let (instance, description, reads) = introduce(&recipe)?;
    recipe.shared.rename(&description.name);
    let meter = Meter::for_trial(&description.name, &description.version);
    let pool = Pool::default();
    pool.give(&recipe, instance);
    let plugin = Plugin {
        file: source.file.clone(),
        description,
        reads,
        stages: recipe.exports.stages(),
        hash: source.hash(),
        cases: source.cases_hash(),
        recipe,
        pool,
        meter,
        probe: Probe::default(),
        breaker: Breaker::for_trial(),
        suspects: Suspects::new(BreakerLimits::default(), runtime.settings().suspect_devices),
        differences: Differences::default(),
    };
    trial::run(&plugin)?;
    trial::golden(&plugin, source)?;
    budget::check(runtime, source, &plugin)?;
    Ok(plugin)
}

/// The time for all of it is why it failed, where that is over.
fn late(until: Instant, settings: &RuntimeSettings, at: LoadError) -> LoadError {
    if Instant::now() < until || matches!(at, LoadError::Unproved { .. }) {
        return at;
    }
    LoadError::Unproved { limit: settings.proving_timeout, at: Box::new(at) }
}

/// Compiles what was read, whatever it is.
pub(crate) fn compile(inner: &Inner, source: &Source) -> Result<Component, LoadError> {
    let kind = Kind::of(&source.wasm)?;
    inner.compile(&blake3::hash(&source.wasm), || kind.component(inner, &source.wasm))
}

/// `core module` or `component`, where it is one of them.
pub(crate) fn kind_name(wasm: &[u8]) -> Option<&'static str> {
    Kind::of(wasm).ok().map(|kind| match kind {
        Kind::Core => "core module",
        Kind::Component => "component",
    })
}

/// The first instance: it says who it is and takes its settings.
fn introduce(recipe: &Recipe) -> Result<(Instance, Description, types::Fields), LoadError> {
    let mut instance = recipe.start().map_err(LoadError::Start)?;
    let (description, reads) = check_description(recipe.describe(&mut instance)?)?;
    recipe.configure(&mut instance).map_err(LoadError::Start)?;
    Ok((instance, description, reads))
}

/// What kind of WebAssembly a file is, by its first eight bytes (WebAssembly core specification 5.5.16, and
/// the component model's `Binary.md`).
#[derive(Clone, Copy)]
enum Kind {
    Core,
    Component,
}

impl Kind {
    fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        let not = |found| Err(LoadError::NotWasm { found });
        match bytes {
            [] => not("the file is empty"),
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Self::Core),
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(Self::Component),
            [0, b'a', b's', b'm', ..] => not("of another version, or cut off"),
            bytes if bytes.is_ascii() => not("the file is text"),
            _ => not("the file is something else"),
        }
    }

    /// A core module is validated first: wit-component panics on some that were cut off.
    fn component(self, inner: &Inner, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Component => Ok(bytes.to_vec()),
            Self::Core => {
                wasmtime::Module::validate(&inner.engine, bytes)
                    .map_err(|error| LoadError::Compile { cause: format!("{error:#}") })?;
                wit_component::ComponentEncoder::default()
                    .module(bytes)
                    .and_then(|encoder| encoder.validate(true).encode())
                    .map_err(|error| LoadError::Encode { cause: format!("{error:#}") })
            }
        }
    }
}

fn check_exports(inner: &Inner, component: &Component, manifest: &Manifest) -> Result<Vec<Stage>, LoadError> {
    let kind = component.component_type();
    let found: Vec<&str> = kind.exports(&inner.engine).map(|(name, _)| name).collect();
    let stages: Vec<_> =
        STAGES.iter().filter(|(_, name)| found.contains(name)).map(|(stage, _)| *stage).collect();
    if !found.contains(&META) || stages.is_empty() {
        let any: Vec<_> = STAGES.iter().map(|(_, name)| *name).collect();
        let found =
            if found.is_empty() { "none (was it built with the SDK?)".to_owned() } else { found.join(", ") };
        return Err(LoadError::Exports { wanted: format!("{META} and one of {}", any.join(", ")), found });
    }
    if manifest.has_config && !found.contains(&CONFIGURATION) {
        return Err(LoadError::NotConfigurable { manifest: manifest.file.clone() });
    }
    Ok(stages)
}

/// Whether it wants WASI.
fn check_imports(inner: &Inner, component: &Component, manifest: &Manifest) -> Result<bool, LoadError> {
    let kind = component.component_type();
    let mut wants_wasi = false;
    for (name, _) in kind.imports(&inner.engine) {
        let grant = GRANTED_IMPORTS.iter().find(|(import, ..)| *import == name);
        match grant {
            Some((_, grant, _)) if manifest.grants(*grant) => {}
            Some((_, _, grant)) => {
                return Err(LoadError::Grant {
                    import: name.to_owned(),
                    grant,
                    manifest: manifest.file.clone(),
                });
            }
            None if FREE_IMPORTS.contains(&name) => {}
            None if WASI_PACKAGES.iter().any(|package| name.starts_with(package)) => wants_wasi = true,
            None => return Err(LoadError::Imports { found: name.to_owned(), offered: OFFERED }),
        }
    }
    Ok(wants_wasi)
}

pub(crate) fn exports(pre: &InstancePre<GuestState>, stages: &[Stage]) -> wasmtime::Result<Exports> {
    let has = |stage| stages.contains(&stage);
    let configurable = pre.component().get_export_index(None, CONFIGURATION).is_some();
    Ok(Exports {
        meta: meta::GuestIndices::new(pre)?,
        configuration: configurable.then(|| configuration::GuestIndices::new(pre)).transpose()?,
        filter: has(Stage::Filter).then(|| filter::GuestIndices::new(pre)).transpose()?,
        enrich: has(Stage::Enrich).then(|| enrich::GuestIndices::new(pre)).transpose()?,
        transform: has(Stage::Transform).then(|| transform::GuestIndices::new(pre)).transpose()?,
    })
}

pub(crate) fn check_description(said: types::Description) -> Result<(Description, types::Fields), LoadError> {
    let wrong = |field, mut found: String, rule| {
        convert::cut(&mut found, NAME_BYTES);
        Err(LoadError::Description { field, found, rule })
    };
    let types::Description { name, version, mut help, reads } = said;
    if !is_name(&name) {
        return wrong("name", name, "must be 1 to 64 lower-case letters, digits and hyphens");
    }
    if !is_version(&version) {
        return wrong("version", version, "must be a semantic version such as 1.2.3, at most 64 bytes");
    }
    help.retain(|c| !c.is_control());
    convert::cut(&mut help, 200);
    Ok((Description { name, version, help, reads: convert::field_names(reads) }, reads))
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The grammar of semver.org, version 2.0.0.
fn is_version(version: &str) -> bool {
    let (version_and_pre, build) =
        version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) =
        version_and_pre.split_once('-').map_or((version_and_pre, None), |(core, pre)| (core, Some(pre)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |text: &str| is_digits(text) && (text == "0" || !text.starts_with('0'));
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    version.len() <= NAME_BYTES
        && core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| {
            pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["0.1.0", "1.2.3", "10.20.30-rc.1+build.5", "1.0.0-alpha-1", "1.0.0+001"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_plain() {
        for (name, good) in
            [("geo-ip2", true), ("", false), ("Geo", false), ("a b", false), (&"x".repeat(65), false)]
        {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}

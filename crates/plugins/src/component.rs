//! From bytes to a component of which it is known what it exports and imports.

use wasmtime::component::{Component, InstancePre};

use crate::bindings::{configuration, enrich, filter, meta, transform};
use crate::engine::Inner;
use crate::host::GuestState;
use crate::instance::Exports;
use crate::source::Source;
use crate::{Grant, LoadError, Manifest, Stage};

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

/// Compiles what was read, whatever it is.
pub(crate) fn compile(inner: &Inner, source: &Source) -> Result<Component, LoadError> {
    let kind = Kind::of(&source.wasm)?;
    inner.compile(&blake3::hash(&source.wasm), || kind.component(inner, &source.wasm))
}

/// Refuses what is no WebAssembly.
pub(crate) fn check_kind(wasm: &[u8]) -> Result<(), LoadError> {
    Kind::of(wasm).map(drop)
}

/// `core module` or `component`, where it is one of them.
pub(crate) fn kind_name(wasm: &[u8]) -> Option<&'static str> {
    Kind::of(wasm).ok().map(|kind| match kind {
        Kind::Core => "core module",
        Kind::Component => "component",
    })
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
            [0x1f, 0x8b, ..] => not("the file is packed by gzip"),
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
                    .map_err(|error| LoadError::Encode { cause: no_component(&format!("{error:#}")) })
            }
        }
    }
}

/// What to do about a core module, by what wit-component says of it. Its error has no type that could be asked for.
fn no_component(cause: &str) -> String {
    let import = cause.split_once("failed to resolve import `").and_then(|(_, rest)| rest.split_once('`'));
    match import {
        Some((import, _)) => format!(": it imports {import}, which no host has; take out what uses it"),
        None => format!("; build it for wasm32-unknown-unknown with the SDK: {cause}"),
    }
}

/// Refuses what is no plugin; the stages that it has.
pub(crate) fn check_exports(
    inner: &Inner,
    component: &Component,
    manifest: &Manifest,
) -> Result<Vec<Stage>, LoadError> {
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

/// Refuses imports that are not offered or not granted; whether it wants WASI.
pub(crate) fn check_imports(
    inner: &Inner,
    component: &Component,
    manifest: &Manifest,
) -> Result<bool, LoadError> {
    let kind = component.component_type();
    let mut wants_wasi = false;
    let mut missing = Vec::new();
    for (name, _) in kind.imports(&inner.engine) {
        let grant = GRANTED_IMPORTS.iter().find(|(import, ..)| *import == name);
        match grant {
            Some((_, grant, _)) if manifest.grants(*grant) => {}
            Some((_, grant, _)) => missing.push((name, *grant)),
            None if FREE_IMPORTS.contains(&name) => {}
            None if WASI_PACKAGES.iter().any(|package| name.starts_with(package)) => wants_wasi = true,
            None => return Err(LoadError::Imports { found: name.to_owned(), offered: OFFERED }),
        }
    }
    if missing.is_empty() { Ok(wants_wasi) } else { Err(not_granted(&missing, manifest)) }
}

/// Names all grants that the manifest should have, so that whoever writes them is done.
fn not_granted(missing: &[(&str, Grant)], manifest: &Manifest) -> LoadError {
    let imports: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let name = |wanted: Grant| {
        let granted = GRANTED_IMPORTS.iter().find(|(_, grant, _)| *grant == wanted);
        format!("{:?}", granted.map_or("log", |(.., name)| name))
    };
    let all = manifest.grants.iter().copied().chain(missing.iter().map(|(_, grant)| *grant));
    LoadError::Grant {
        imports: imports.join(" and "),
        grants: all.map(name).collect::<Vec<_>>().join(", "),
        manifest: manifest.file.clone(),
    }
}

/// Where its functions are, looked up once.
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

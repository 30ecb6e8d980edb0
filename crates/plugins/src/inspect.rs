//! All that can be said of a file without serving it, also of one that is refused.
//!
//! Loading is tried first, by the same way as in production; only what that leaves open is asked by itself.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use wasmtime::component::Component;

use crate::engine::{self, Inner};
use crate::host::Shared;
use crate::instance::Recipe;
use crate::source::Source;
use crate::{
    Description, Grant, LoadError, Manifest, Mode, OnError, Plugin, Runtime, RuntimeSettings, SignatureError,
    Stage, component, description, load,
};

/// What is known of one `.wasm` file. What could not be found out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// The file's name.
    pub file: String,
    /// Its size, in bytes.
    pub size_bytes: Option<u64>,
    /// BLAKE3 of the wasm and the manifest, 16 hexadecimal digits, as in the chain's id.
    pub hash: Option<String>,
    /// `core module` or `component`.
    pub kind: Option<&'static str>,
    /// What the plugin says of itself.
    pub description: Option<Description>,
    /// What it exports of the flow, in its order.
    pub stages: Vec<Stage>,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// How its manifest wants it to run; none where the manifest is wrong.
    pub manifest: Option<ManifestSummary>,
    /// Which of the trusted keys signed it (and its manifest, where there is one).
    pub signed_by: Option<String>,
    /// Why it does not count as signed; none: it does.
    pub unsigned: Option<String>,
    /// Why it would not load here; none: it would.
    pub refusal: Option<String>,
}

/// The manifest, with the defaults of this runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManifestSummary {
    /// The file's name, as it is or would be.
    pub file: String,
    /// Whether there is such a file.
    pub exists: bool,
    /// Whether the plugin's answers count.
    pub mode: Mode,
    /// What becomes of a log that the plugin fails on.
    pub on_error: OnError,
    /// Longest call, in milliseconds.
    pub timeout_ms: u64,
    /// Memory of one instance, in MiB.
    pub memory_mib: u32,
    /// What it may use.
    pub grants: Vec<Grant>,
}

/// Looks at the file at `wasm` and the manifest beside it, and tries to load them. A refusal is a result.
#[must_use]
pub fn inspect(runtime: &Runtime, wasm: &Path) -> Inspection {
    let mut seen = Inspection {
        file: wasm.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        size_bytes: std::fs::metadata(wasm).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len()),
        ..Inspection::default()
    };
    if let Err(error) = look(runtime, wasm, &mut seen) {
        seen.refusal = Some(error.to_string());
    }
    seen
}

/// Which of the trusted keys signed the file at `wasm`, and its manifest where there is one. Nothing is compiled.
///
/// # Errors
/// When it cannot be read, or does not count as signed.
pub fn signed_by(wasm: &Path, settings: &RuntimeSettings) -> Result<String, LoadError> {
    Ok(Source::read_unchecked(wasm, settings)?.signed_by(settings)?)
}

fn look(runtime: &Runtime, wasm: &Path, seen: &mut Inspection) -> Result<(), LoadError> {
    let source = Source::read_unchecked(wasm, runtime.settings())?;
    let signer = source.signed_by(runtime.settings());
    seen.signed_by = signer.as_ref().ok().cloned();
    seen.unsigned = signer.as_ref().err().map(|error| unsigned(error, &source, runtime.settings()));
    seen.hash = Some(source.hash());
    seen.kind = component::kind_name(&source.wasm);
    let manifest = source.manifest(runtime.settings());
    if let Ok(manifest) = &manifest {
        seen.manifest = Some(summary(manifest, wasm.with_extension("toml").is_file()));
    }
    let signer = if runtime.settings().trusted.required { signer.map(drop) } else { Ok(()) };
    // A file that may not run is not started to be asked who it is either.
    signer?;
    component::check_kind(&source.wasm)?;
    match manifest.and_then(|manifest| load::load(runtime, &source, manifest)) {
        Ok(plugin) => {
            see_plugin(seen, &plugin);
            Ok(())
        }
        Err(error) => {
            see_refused(runtime, &source, seen);
            Err(error)
        }
    }
}

/// What is wrong with the signature. Where no key is trusted it is nothing that must be mended.
fn unsigned(error: &SignatureError, source: &Source, settings: &RuntimeSettings) -> String {
    let minds = settings.trusted.required || !settings.trusted.keys.is_empty();
    match error {
        SignatureError::Unsigned { .. } if !minds && !source.is_signed() => "not signed".to_owned(),
        SignatureError::UnknownKey { .. } if !minds => {
            "there is a signature, but no key to check it with: give --trusted-keys".to_owned()
        }
        error => error.to_string(),
    }
}

fn see_plugin(seen: &mut Inspection, plugin: &Plugin) {
    let interface = Interface::of(&plugin.recipe.runtime, plugin.recipe.pre.component());
    see_interface(seen, interface);
    seen.description = Some(plugin.description().clone());
}

/// What a file says of itself though it may not serve.
fn see_refused(runtime: &Runtime, source: &Source, seen: &mut Inspection) {
    let Ok(component) = component::compile(&runtime.0, source) else { return };
    see_interface(seen, Interface::of(&runtime.0, &component));
    seen.description = describe_only(&runtime.0, source, &component).ok();
}

fn see_interface(seen: &mut Inspection, interface: Interface) {
    (seen.stages, seen.imports, seen.exports) = (interface.stages(), interface.imports, interface.exports);
}

fn summary(manifest: &Manifest, exists: bool) -> ManifestSummary {
    ManifestSummary {
        file: manifest.file.clone(),
        exists,
        mode: manifest.mode,
        on_error: manifest.on_error,
        timeout_ms: u64::try_from(manifest.timeout.as_millis()).unwrap_or(u64::MAX),
        memory_mib: manifest.memory_mib,
        grants: manifest.grants.clone(),
    }
}

/// The names of what a component imports and exports.
struct Interface {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Interface {
    fn of(inner: &Inner, component: &Component) -> Self {
        let kind = component.component_type();
        Self {
            imports: kind.imports(&inner.engine).map(|(name, _)| name.to_owned()).collect(),
            exports: kind.exports(&inner.engine).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    fn stages(&self) -> Vec<Stage> {
        let has = |wanted: &str| self.exports.iter().any(|name| name == wanted);
        component::STAGES.iter().filter(|(_, name)| has(name)).map(|(stage, _)| *stage).collect()
    }
}

/// Asks a plugin that may not serve who it is. It gets no settings.
fn describe_only(
    inner: &Arc<Inner>,
    source: &Source,
    component: &Component,
) -> Result<Description, LoadError> {
    let manifest = Manifest::parse(&source.file, "", &inner.settings)?;
    let link = |error: wasmtime::Error| LoadError::Link { cause: format!("{error:#}") };
    let pre = inner.linker(true).instantiate_pre(component).map_err(link)?;
    let exports = component::exports(&pre, &[]).map_err(link)?;
    let shared = Arc::new(Shared::new(source.stem(), false, &inner.settings));
    let weight = engine::weight(component);
    let recipe = Recipe { runtime: Arc::clone(inner), pre, exports, weight, shared, manifest, until: None };
    let mut instance = recipe.start().map_err(LoadError::Start)?;
    description::check(recipe.describe(&mut instance)?).map(|(description, _)| description)
}

//! Signatures while the inside is being written.
#![allow(missing_docs, clippy::missing_errors_doc)]
use crate::*;
use sawpit_model::Log;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub help: String,
    pub reads: Vec<&'static str>,
}
#[derive(Debug)]
pub struct Plugin(());
impl Plugin {
    pub fn description(&self) -> &Description {
        unreachable!()
    }
    pub fn stages(&self) -> &[Stage] {
        &[]
    }
}
#[derive(Clone, Debug)]
pub struct Runtime(());
impl Runtime {
    pub fn new(settings: RuntimeSettings) -> Result<Self, EngineError> {
        settings.check().map(|()| Self(()))
    }
    /// Loads and proves one file, with the manifest beside it.
    pub fn load(&self, _wasm: &Path) -> Result<Arc<Plugin>, LoadError> {
        Err(LoadError::TooLarge { limit: 0 })
    }
}
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    pub poll: Option<Duration>,
    pub settle: Duration,
}
impl Default for RegistrySettings {
    fn default() -> Self {
        Self { poll: None, settle: Duration::from_millis(75) }
    }
}
#[derive(Clone, Debug)]
pub struct Registry(Arc<Chain>);
impl Registry {
    pub fn open(_runtime: Runtime, _folder: PathBuf, _settings: RegistrySettings) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(Chain::empty())))
    }
    /// The chain of now: keep it for the whole request or batch.
    pub fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.0)
    }
    pub fn status(&self) -> Vec<PluginStatus> {
        Vec::new()
    }
    /// How often the chain was swapped.
    pub fn generation(&self) -> u64 {
        0
    }
}
#[derive(Debug)]
pub struct Chain(());
impl Chain {
    /// A chain without plugins: every log goes on as it came.
    pub fn empty() -> Self {
        Self(())
    }
    pub fn new(_plugins: Vec<Arc<Plugin>>) -> Self {
        Self(())
    }
    pub fn id(&self) -> &str {
        "none"
    }
    pub fn is_empty_for(&self, _stage: Stage) -> bool {
        true
    }
    pub fn ingest(&self, logs: Vec<Log>) -> Vec<Ingested> {
        logs.into_iter().map(Ingested::Accepted).collect()
    }
    pub fn transform(&self, logs: Vec<Log>) -> Transformed {
        let outputs = logs.into_iter().enumerate().map(|(i, log)| Output { log, sources: vec![i] }).collect();
        Transformed { outputs, ..Transformed::default() }
    }
}

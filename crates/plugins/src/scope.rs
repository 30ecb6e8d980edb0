//! Where the metrics of one version of a plugin are kept. They go with the version: else each one that ever served
//! would leave its series behind in the process.

use std::sync::Arc;

use metrics::{Recorder, with_local_recorder};

/// Makes a place for the metrics of the version with this `name@version`, or finds it. When the last clone of it is
/// gone, nothing counts there any more.
pub type Scopes = Arc<dyn Fn(&str) -> Arc<dyn Recorder + Send + Sync> + Send + Sync>;

/// The place of one version.
#[derive(Clone, Default)]
pub(crate) struct Scope(Option<Arc<dyn Recorder + Send + Sync>>);

impl Scope {
    /// The place; without `scopes` it is where the process keeps all its metrics.
    pub fn open(scopes: Option<&Scopes>, name: &str, version: &str) -> Self {
        Self(scopes.map(|scopes| scopes(&format!("{name}@{version}"))))
    }

    /// Runs `make` so that the metrics that it asks for are found here.
    pub fn run<T>(&self, make: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(recorder) => with_local_recorder(recorder.as_ref(), make),
            None => make(),
        }
    }
}

//! What the fuzz targets do with their bytes. The files are also parts of ordinary tests (of crates/model and
//! crates/plugins), which replay `corpus/`: a finding becomes a file there.

pub mod model;
#[cfg(feature = "plugins")]
pub mod plugins;

//! The HTTP side: admit, filter, enrich, append; and read back.
//!
//! A request waits for three things and no more: its body, one plugin call that it shares with the requests beside it
//! (`gather`), and the queue's confirmation. Back-pressure comes first (`admission`): what cannot be queued is
//! refused before a plugin runs. Every error is a `problem`.

pub mod access;
mod admission;
mod app;
mod body;
mod cached;
mod chain_page;
mod come_back;
mod docs;
mod flight;
mod gather;
mod host;
mod ingest;
mod manners;
mod no_parameters;
mod observe;
mod openapi;
mod pace;
mod plugins_page;
mod problem;
mod query;
mod routes;
mod serve;
mod settings;
mod stats;
mod tail;
mod tls;
mod traced;
mod unpack;
mod verdicts;

pub use access::Access;
pub use host::{Host, HostError, HostParts, Ops};
pub use manners::CorsOrigins;
pub use routes::{Routers, operator_routes};
pub use serve::{Drained, serve};
pub use settings::{HostSettings, ServeSettings};
pub use tls::{Tls, TlsError, TlsFiles};
pub use verdicts::Verdicts;

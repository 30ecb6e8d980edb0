//! Which server has a key: the one there is, or the master of the key's slot in a cluster.

use std::sync::Arc;

use redis::{ErrorKind, IntoConnectionInfo, RedisError};

use super::cluster::Cluster;
use super::node::{Manner, Node};

/// What a URL of one server begins with, in the clear and by TLS.
const ONE: [&str; 2] = ["redis:", "rediss:"];
/// What a URL of a cluster begins with.
const CLUSTER: [(&str, Wire); 2] = [("redis+cluster://", Wire::Clear), ("rediss+cluster://", Wire::Tls)];

/// How the servers of a cluster are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Clear,
    Tls,
}

/// What follows the scheme, where it is that of a cluster.
fn cluster(url: &str) -> Option<(&str, Wire)> {
    CLUSTER.into_iter().find_map(|(scheme, wire)| Some((url.strip_prefix(scheme)?, wire)))
}

/// Whether the URL is that of a Redis Cluster.
#[must_use]
pub fn is_cluster(url: &str) -> bool {
    cluster(url).is_some()
}

/// Whether the URL is that of a Redis or of a Redis Cluster.
#[must_use]
pub fn is_redis(url: &str) -> bool {
    is_cluster(url) || ONE.iter().any(|scheme| url.starts_with(scheme))
}

/// The servers behind a URL.
#[derive(Clone, Debug)]
pub(crate) enum Servers {
    One(Arc<Node>),
    Cluster(Cluster),
}

/// What an error means for who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing was done, and another server may have to be asked.
    Again,
    GiveUp,
}

impl Servers {
    /// Takes the URL apart; asks nobody yet.
    pub(crate) fn new(url: &str, manner: Manner) -> Result<Self, RedisError> {
        if let Some((rest, wire)) = cluster(url) {
            return Ok(Self::Cluster(Cluster::new(rest, wire, manner)?));
        }
        if !is_redis(url) {
            return Err((ErrorKind::InvalidClientConfig, "this kind of Redis is not supported").into());
        }
        Ok(Self::One(Arc::new(Node::new(url.into_connection_info()?, manner)?)))
    }

    /// Connects to the server, or learns who is in the cluster.
    pub(crate) async fn connect(&self) -> Result<(), RedisError> {
        match self {
            Self::One(node) => node.connect().await,
            Self::Cluster(cluster) => cluster.learn().await,
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// The server that a key is read from and written to; a cluster may have none for it at the moment.
    pub(crate) fn master(&self, key: &str) -> Result<Arc<Node>, RedisError> {
        match self {
            Self::One(node) => Ok(Arc::clone(node)),
            Self::Cluster(cluster) => cluster.master(key),
        }
    }

    /// All that something may be written to.
    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Cluster(cluster) => cluster.masters(),
        }
    }

    /// To be told of every error: in a cluster it may mean that keys have moved.
    pub(super) async fn heed(&self, error: &RedisError) -> Next {
        match self {
            Self::One(_) => Next::GiveUp,
            Self::Cluster(cluster) => cluster.heed(error).await,
        }
    }

    /// [`Servers::heed`] for who does not wait for what comes of it.
    pub(crate) fn note(&self, _error: &RedisError) {
        if let Self::Cluster(cluster) = self {
            cluster.learn_aside();
        }
    }
}

//! Which server has a key: the one there is, or the master of the key's slot in a cluster.

use std::sync::Arc;

use redis::{ErrorKind, IntoConnectionInfo, RedisError};

use super::cluster::Cluster;
use super::node::{Manner, Node};

/// What a URL of a cluster begins with.
const CLUSTER: &str = "redis+cluster://";

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
        if let Some(rest) = url.strip_prefix(CLUSTER) {
            return Ok(Self::Cluster(Cluster::new(rest, manner)?));
        }
        if !url.starts_with("redis:") {
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

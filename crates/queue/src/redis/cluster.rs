//! Who is master of which slot in a Redis Cluster.
//!
//! The driver has a cluster connection of its own, and we do not use it: it sends a command again when its connection
//! broke, and an append that is sent again may be there twice. Here a command is sent to another server only when the
//! first one surely did not carry it out. What a key's partition needs of a cluster is little: the map of its slots,
//! asked for anew whenever an error says that it may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    Value,
};

use super::node::{Manner, Node};
use super::part::slot;
use super::servers::{Next, Wire};

/// Longest wait for a member of the cluster to tell the map.
const TELL: Duration = Duration::from_millis(500);
/// The map is not asked for more often than this.
const LEARN_EVERY: Duration = Duration::from_millis(100);
const PORT: u16 = 6_379;

/// Host and port of a member.
type Address = (String, u16);

/// A cluster; a handle that is cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    /// Members by their URL, which may be all dead by now.
    seeds: Vec<Address>,
    wire: Wire,
    /// User and password, the same everywhere.
    login: RedisConnectionInfo,
    manner: Manner,
    map: RwLock<Arc<Map>>,
    /// When the map was last asked for, locked while it is.
    learned: tokio::sync::Mutex<Option<Instant>>,
}

/// The cluster as one of its members saw it.
#[derive(Default)]
struct Map {
    slots: Vec<(RangeInclusive<u16>, Address)>,
    masters: BTreeMap<Address, Arc<Node>>,
    /// Masters and replicas.
    members: BTreeSet<Address>,
}

/// What a member tells.
struct Told {
    /// Rises with each change that the cluster agrees on.
    epoch: u64,
    slots: Vec<(RangeInclusive<u16>, Address)>,
    members: BTreeSet<Address>,
}

impl Cluster {
    /// `rest`: what follows `redis+cluster://`, some members of the cluster, `user:password@host:port,host:port`.
    pub(super) fn new(rest: &str, wire: Wire, manner: Manner) -> Result<Self, RedisError> {
        let bad = |why: &'static str| RedisError::from((ErrorKind::InvalidClientConfig, why));
        let (login, hosts) = rest.rsplit_once('@').map_or(("", rest), |(login, hosts)| (login, hosts));
        let hosts = hosts.strip_suffix("/0").or_else(|| hosts.strip_suffix('/')).unwrap_or(hosts);
        if hosts.contains('/') {
            return Err(bad("a cluster has only the database 0"));
        }
        let seeds: Option<Vec<_>> = hosts.split(',').map(address).collect();
        let seeds = seeds.ok_or_else(|| bad("not a list of host:port, separated by commas"))?;
        let login = match login {
            "" => RedisConnectionInfo::default(),
            login => format!("redis://{login}@host").into_connection_info()?.redis_settings().clone(),
        };
        let (map, learned) = (RwLock::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Inner { seeds, wire, login, manner, map, learned })))
    }

    pub(super) fn master(&self, key: &str) -> Result<Arc<Node>, RedisError> {
        let (map, slot) = (self.map(), slot(key.as_bytes()));
        let of_slot = |(slots, _): &&(RangeInclusive<u16>, Address)| slots.contains(&slot);
        let found = map.slots.iter().find(of_slot).and_then(|(_, address)| map.masters.get(address));
        found.map(Arc::clone).ok_or_else(|| {
            self.learn_aside();
            (ErrorKind::ClusterConnectionNotFound, "the cluster has no master for it now").into()
        })
    }

    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        self.map().masters.values().map(Arc::clone).collect()
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.0.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for the map anew; waits for it only when the command surely was not carried out.
    pub(super) async fn heed(&self, error: &RedisError) -> Next {
        let elsewhere = matches!(error.code(), Some("MOVED" | "READONLY" | "EXECABORT"));
        if elsewhere || error.is_connection_refusal() || error.kind() == ErrorKind::ClusterConnectionNotFound
        {
            return match self.learn().await {
                Ok(()) => Next::Again,
                Err(_) => Next::GiveUp,
            };
        }
        self.learn_aside();
        Next::GiveUp
    }

    pub(super) fn learn_aside(&self) {
        let cluster = self.clone();
        tokio::spawn(async move {
            if let Err(error) = cluster.learn().await {
                tracing::debug!(%error, "nobody tells who is in the cluster");
            }
        });
    }

    /// Asks all members that are known for the map, and believes the newest.
    pub(super) async fn learn(&self) -> Result<(), RedisError> {
        let mut learned = self.0.learned.lock().await;
        if learned.is_some_and(|at| at.elapsed() < LEARN_EVERY) {
            return Ok(());
        }
        let asked: BTreeSet<Address> = self.map().members.iter().chain(&self.0.seeds).cloned().collect();
        let told = join_all(asked.iter().map(|address| self.0.ask(address))).await;
        *learned = Some(Instant::now());
        let mut why = RedisError::from((ErrorKind::InvalidClientConfig, "no member is named"));
        let mut newest: Option<Told> = None;
        for told in told {
            match told {
                Ok(told) if newest.as_ref().is_none_or(|other| told.epoch > other.epoch) => {
                    newest = Some(told)
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        let map = self.0.draw(newest.ok_or(why)?, &self.map())?;
        *self.0.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        Ok(())
    }
}

impl Inner {
    fn info(&self, (host, port): &Address) -> Result<redis::ConnectionInfo, RedisError> {
        let (host, port) = (host.clone(), *port);
        let address = match self.wire {
            Wire::Clear => ConnectionAddr::Tcp(host, port),
            Wire::Tls => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        Ok(address.into_connection_info()?.set_redis_settings(self.login.clone()))
    }

    /// What one member tells, over a connection of its own: those in use may be stuck.
    async fn ask(&self, address: &Address) -> Result<Told, RedisError> {
        let client = redis::Client::open(self.info(address)?)?;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(TELL)).set_response_timeout(Some(TELL));
        let mut both = redis::pipe();
        both.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
        let asked = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            connection.req_packed_commands(&both, 0, 2).await
        };
        let late = |_| RedisError::from((ErrorKind::Io, "no answer in time"));
        let mut answers = tokio::time::timeout(TELL, asked).await.map_err(late)??.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil).extract_error();
        told(&next()?, next()?, &address.0).ok_or_else(|| (ErrorKind::Parse, "a map of another form").into())
    }

    /// Masters that stay keep their connections.
    fn draw(&self, told: Told, former: &Map) -> Result<Map, RedisError> {
        let mut masters = BTreeMap::new();
        for (_, address) in &told.slots {
            let node = match former.masters.get(address) {
                Some(node) => Arc::clone(node),
                None if masters.contains_key(address) => continue,
                None => Arc::new(Node::new(self.info(address)?, self.manner)?),
            };
            masters.insert(address.clone(), node);
        }
        Ok(Map { slots: told.slots, masters, members: told.members })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.map().members).finish()
    }
}

/// `host`, `host:port`, or `[v6]:port`.
fn address(text: &str) -> Option<Address> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
            (host, port.parse().ok()?)
        }
        Some(_) if !text.ends_with(']') => return None,
        _ => (text, PORT),
    };
    let host = host.trim_matches(['[', ']']);
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The answers of CLUSTER INFO and CLUSTER SLOTS.
fn told(info: &Value, slots: Value, asked: &str) -> Option<Told> {
    let info: String = redis::from_redis_value_ref(info).ok()?;
    let epoch =
        info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"))?.trim().parse().ok()?;
    let (mut ranges, mut members) = (Vec::new(), BTreeSet::new());
    for range in array(slots)? {
        let mut range = array(range)?.into_iter();
        let (first, last) = (number(range.next()?)?, number(range.next()?)?);
        let servers: Vec<Address> = range.filter_map(|server| member(server, asked)).collect();
        // The first is the master.
        ranges.push((first..=last, servers.first()?.clone()));
        members.extend(servers);
    }
    Some(Told { epoch, slots: ranges, members })
}

/// A member that does not know its own address is reached where it was asked.
fn member(server: Value, asked: &str) -> Option<Address> {
    let mut parts = array(server)?.into_iter();
    let host: Option<String> = redis::from_redis_value(parts.next()?).ok()?;
    let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.to_owned());
    Some((host, number(parts.next()?)?))
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn number(value: Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(url: &str) -> Option<Vec<Address>> {
        Cluster::new(url, Wire::Clear, Manner::new(1, TELL)).ok().map(|cluster| cluster.0.seeds.clone())
    }

    #[test]
    fn members_are_read_from_the_url() {
        let of = |host: &str, port| (host.to_owned(), port);
        assert_eq!(seeds("a:1,b"), Some(vec![of("a", 1), of("b", PORT)]));
        assert_eq!(seeds("me:p@ss@a:1/0"), Some(vec![of("a", 1)]));
        assert_eq!(seeds("[::1]:7,[::2]"), Some(vec![of("::1", 7), of("::2", PORT)]));
        for wrong in ["", "a:", "a:x", "a:1,", "a:1/3", "::1", "a:70000"] {
            assert_eq!(seeds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_map_is_read_with_its_epoch() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server = |host: &str, port| Value::Array(vec![text(host), Value::Int(port), text("id")]);
        let range = |first, last, servers: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
        };
        let slots = Value::Array(vec![
            range(0, 5_460, vec![server("10.0.0.1", 1), server("10.0.0.2", 2)]),
            range(5_461, 16_383, vec![server("", 3)]),
        ]);
        let info = text("cluster_state:ok\r\ncluster_current_epoch:6\r\n");
        let told = told(&info, slots, "asked").expect("a map");
        assert_eq!(told.epoch, 6);
        let masters: Vec<_> =
            told.slots.iter().map(|(slots, (host, _))| (*slots.end(), host.as_str())).collect();
        assert_eq!(masters, [(5_460, "10.0.0.1"), (16_383, "asked")]);
        assert_eq!(told.members.len(), 3);
    }
}

//! One Redis server and the connections that appends and acknowledgements share.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::replicas::Replicas;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, ScriptInvocation,
    Value,
};

/// Tries to connect anew within one command; the next command tries again.
const CONNECT_RETRIES: usize = 1;
/// Wait between these.
const CONNECT_WAIT: Duration = Duration::from_millis(100);

/// Commands that wait in a connection to be sent. While Redis is silent these stay in memory although nobody waits for
/// them any more, so they are few: at most this many bodies for each connection.
const WAITING_COMMANDS: usize = 16;

/// Time without an acknowledgement of what was sent after which the connection is given up and made anew. A
/// machine that vanished says nothing, and by default the kernel would go on sending for a quarter of an hour.
#[cfg(target_os = "linux")]
const SILENT: Duration = Duration::from_secs(10);

/// How a server is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Connections, at least 1.
    pub(crate) connections: usize,
    /// Longest wait for an answer, and for a connection.
    pub(crate) time_out: Duration,
    /// Tries to connect anew within one command.
    pub(crate) retries: usize,
}

impl Manner {
    /// With so many connections, and a second try to connect.
    pub(super) fn new(connections: usize, time_out: Duration) -> Self {
        Self { connections, time_out, retries: CONNECT_RETRIES }
    }
}

/// What a server is asked. Errors of the commands of a pipeline are errors of the whole.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

/// A server.
pub(crate) struct Node {
    pub(super) address: String,
    pub(crate) client: Client,
    connections: Vec<ConnectionManager>,
    turn: AtomicUsize,
    time_out: Duration,
    pub(super) replicas: Replicas,
}

impl Node {
    /// Connects when it is first asked.
    pub(crate) fn new(info: impl IntoConnectionInfo, manner: Manner) -> Result<Self, RedisError> {
        let info = info.into_connection_info()?;
        let address = info.addr().to_string();
        let client = client(info)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(manner.retries)
            .set_min_delay(CONNECT_WAIT)
            .set_pipeline_buffer_size(WAITING_COMMANDS)
            .set_connection_timeout(Some(manner.time_out))
            .set_response_timeout(Some(manner.time_out));
        let make = |_| ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
        let connections = (0..manner.connections.max(1)).map(make).collect::<Result<_, _>>()?;
        let (turn, replicas) = (AtomicUsize::new(0), Replicas::default());
        Ok(Self { address, client, connections, turn, time_out: manner.time_out, replicas })
    }

    /// Makes the connections now.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        try_join_all(self.connections.iter().map(|connection| self.ping(connection.clone()))).await.map(drop)
    }

    async fn ping(&self, mut connection: ConnectionManager) -> Result<(), RedisError> {
        self.in_time(redis::cmd("PING").query_async(&mut connection)).await
    }

    /// The next connection in turn.
    pub(super) fn connection(&self) -> ConnectionManager {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        // `new` made at least one.
        #[allow(clippy::indexing_slicing, reason = "the turn is below the length, which is at least one")]
        self.connections[turn].clone()
    }

    pub(crate) async fn call<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, RedisError> {
        let mut connection = self.connection();
        self.in_time(async {
            match call {
                Call::Command(command) => command.query_async(&mut connection).await,
                Call::Pipeline(commands) => commands.query_async(&mut connection).await,
                Call::Script(script) => script.invoke_async(&mut connection).await,
            }
        })
        .await
    }

    /// Sends commands together; an error of one of them is an answer among the others.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        self.in_time(self.connection().req_packed_commands(commands, 0, commands.len())).await
    }

    /// The connection may have to be made first, which has a time-out of its own.
    async fn in_time<T>(&self, ask: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
        match tokio::time::timeout(self.time_out, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.address).finish()
    }
}

/// A client that sends what is written at once, and notices when nobody is there any more.
fn client(info: ConnectionInfo) -> Result<Client, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(SILENT);
    Client::open(info.set_tcp_settings(tcp))
}

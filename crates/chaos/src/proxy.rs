//! A TCP proxy that can be told to be a bad network.
//!
//! One stands between each host or worker and each server, so that one of them can lose what the others have.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything is passed on.
    Fair,
    /// Everything is passed on this much later.
    Late(Duration),
    /// Nothing is passed on until that changes.
    Still,
    /// What the client says is passed on, what it is answered is not.
    Mute,
}

/// A proxy that listens until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Rises with each cut.
    cuts: watch::Sender<u64>,
    server: watch::Sender<SocketAddr>,
    listener: tokio::task::JoinHandle<()>,
}

/// What each connection sees of the proxy's state.
#[derive(Clone)]
struct Sky {
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

impl Proxy {
    /// Listens on `address` for connections to `server`.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (weather, weather_seen) = watch::channel(Weather::Fair);
        let (cuts, cuts_seen) = watch::channel(0);
        let sky = Sky { weather: weather_seen, cuts: cuts_seen };
        let (server, server_seen) = watch::channel(server);
        let listener = tokio::spawn(async move {
            // An accept fails when the client is gone already, or for lack of descriptors, which passes.
            loop {
                match listener.accept().await {
                    Ok((client, _)) => {
                        let server = *server_seen.borrow();
                        drop(tokio::spawn(carry(client, server, sky.clone())));
                    }
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(Self { address, weather, cuts, server, listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, also for connections that are open.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Leads new connections to another server, as an address that moves does; cut the old ones.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Closes all connections; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// One connection, until an end closes it or it is cut. A server that is away is a connection that closes.
async fn carry(client: TcpStream, server: SocketAddr, mut sky: Sky) {
    sky.cuts.mark_unchanged();
    let Ok(server) = TcpStream::connect(server).await else { return };
    // As the program does: small messages go at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(client_in, server_out, sky.weather.clone(), Way::Request) => {}
        () = pass(server_in, client_out, sky.weather.clone(), Way::Answer) => {}
        _ = sky.cuts.changed() => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        wait_out(&mut weather, way).await;
        let bytes = chunk.get(..length).unwrap_or_default();
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Returns when something may be passed on this way.
async fn wait_out(weather: &mut watch::Receiver<Weather>, way: Way) {
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair => return,
            Weather::Late(by) => return sleep(by).await,
            Weather::Mute if way == Way::Request => return,
            Weather::Still | Weather::Mute => {}
        }
        if weather.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(200);

    /// A proxy before a server that sends back what it gets, and a connection through it.
    async fn echo() -> (Proxy, TcpStream) {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(free).await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(free, server).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client)
    }

    async fn ask(client: &mut TcpStream) -> std::io::Result<usize> {
        client.write_all(b"x").await?;
        client.read(&mut [0; 8]).await
    }

    #[tokio::test]
    async fn passes_on_and_cuts() {
        let (proxy, mut client) = echo().await;
        assert_eq!(ask(&mut client).await.unwrap(), 1);
        proxy.cut();
        assert_eq!(timeout(SOON, client.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut next).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn delays() {
        let (proxy, mut client) = echo().await;
        proxy.set(Weather::Late(MOMENT));
        let started = Instant::now();
        assert_eq!(ask(&mut client).await.unwrap(), 1);
        // Both ways.
        assert!(started.elapsed() >= MOMENT * 2);
    }

    #[tokio::test]
    async fn holds_back_and_lets_go() {
        for weather in [Weather::Still, Weather::Mute] {
            let (proxy, mut client) = echo().await;
            proxy.set(weather);
            client.write_all(b"x").await.unwrap();
            assert!(timeout(MOMENT, client.read(&mut [0; 8])).await.is_err(), "{weather:?}");
            proxy.set(Weather::Fair);
            assert_eq!(timeout(SOON, client.read(&mut [0; 8])).await.unwrap().unwrap(), 1);
        }
    }
}

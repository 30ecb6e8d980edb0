//! A TCP proxy whose connections can be cut or delayed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// Each piece waits this long.
    Delay(Duration),
    /// Connections are closed, and new ones refused.
    Cut,
}

/// A listener in front of a server.
pub struct Proxy {
    /// The port on 127.0.0.1.
    pub port: u16,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Starts one in front of the server on `port`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a proxy")?;
        let own = listener.local_addr().context("the proxy has no address")?.port();
        let (mode, modes) = watch::channel(Mode::Pass);
        tokio::spawn(accept(listener, (Ipv4Addr::LOCALHOST, port).into(), modes));
        Ok(Self { port: own, mode })
    }

    /// Changes what becomes of the bytes, of open connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, modes: watch::Receiver<Mode>) {
    loop {
        // One that was reset before it was accepted is no reason to stop.
        let Ok((client, _)) = listener.accept().await else { continue };
        if *modes.borrow() != Mode::Cut {
            tokio::spawn(relay(client, server, modes.clone()));
        }
    }
}

/// Ends when either side closes, and drops both connections.
async fn relay(client: TcpStream, server: SocketAddr, modes: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true)); // Slower without, not wrong.
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = modes.clone();
    tokio::select! {
        () = copy(from_client, to_server, modes.clone()) => {}
        () = copy(from_server, to_client, modes) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mode = *modes.borrow();
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        let Some(bytes) = buffer.get(..count) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        port
    }

    async fn say(stream: &mut TcpStream) -> std::io::Result<Duration> {
        let started = Instant::now();
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(started.elapsed())
    }

    #[tokio::test]
    async fn bytes_pass_are_late_and_are_cut() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port));
        let mut stream = connect().await.unwrap();
        say(&mut stream).await.unwrap();
        proxy.set(Mode::Delay(Duration::from_millis(100)));
        assert!(say(&mut stream).await.unwrap() >= Duration::from_millis(200), "both ways");
        proxy.set(Mode::Cut);
        assert!(say(&mut stream).await.is_err());
        assert!(say(&mut connect().await.unwrap()).await.is_err());
        proxy.set(Mode::Pass);
        say(&mut connect().await.unwrap()).await.unwrap();
    }
}

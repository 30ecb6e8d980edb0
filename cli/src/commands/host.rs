//! `sawpit host`

use anyhow::{Context, Result};
use clap::ArgMatches;
use sawpit_host::access::Guard;
use sawpit_host::{Access, Drained, Host, HostParts, HostSettings, Ops, Routers, ServeSettings};
use sawpit_service::{Exit, Process, boot, catalog, ops};
use tokio::net::TcpListener;

use crate::parts::{self, Parts};
use crate::settings;
use crate::settings::access::{Door, Doors};
use crate::settings::host_command::HostCommand;

pub fn run(flags: &ArgMatches) -> Exit {
    let command = match settings::host_command::resolve(flags) {
        Ok(command) => command,
        Err(errors) => return settings::refuse(&errors),
    };
    let process = command.process.clone();
    boot::run(&process, |process| serve(command, process))
}

async fn serve(command: HostCommand, process: Process) -> Result<Exit> {
    let parts = parts::open(command.parts, &process.clock, &process.health).await?;
    let routers = routers(&parts, &process, command.host)?;
    if knows_tokens(&routers.guard, &process).await == Waited::Interrupted {
        return Ok(Exit::Done);
    }
    let listeners = Listeners::bind(command.doors).await?;
    answer(listeners, routers, command.serve, &process).await;
    Ok(Exit::Done)
}

/// The pages that every process has.
pub fn ops(process: &Process) -> Ops {
    Ops {
        health: ops::health_router(process.health.clone()),
        metrics: ops::metrics_router(process.metrics.clone()),
    }
}

/// The whole HTTP side over `parts`.
pub fn routers(parts: &Parts, process: &Process, settings: HostSettings) -> Result<Routers> {
    let Parts { queue, store, cache, registry } = parts.clone();
    catalog::start_at_zero(catalog::Side::Host);
    let ops = ops(process);
    let Process { clock, shutdown, tracer, .. } = process.clone();
    Ok(Host::routers(HostParts { queue, store, cache, registry, clock, shutdown, tracer, ops, settings })?)
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is what was waited for.
    Over,
    /// The process was asked to end before.
    Interrupted,
}

/// Waits until the guard can tell a valid token, or the process is to end. A database that is away is waited for: nothing
/// could be answered but 503.
pub async fn knows_tokens(guard: &Guard, process: &Process) -> Waited {
    tokio::select! {
        () = guard.knows_tokens() => Waited::Over,
        () = process.shutdown.requested() => Waited::Interrupted,
    }
}

/// Bound, so that nothing is started when an address is taken.
pub struct Listeners {
    api: TcpListener,
    admin: Option<TcpListener>,
}

impl Listeners {
    pub async fn bind(doors: Doors) -> Result<Self> {
        let api = bind(doors.api).await?;
        let admin = match doors.admin {
            Some(door) => Some(bind(door).await?),
            None => None,
        };
        Ok(Self { api, admin })
    }
}

/// Binds the address, and says who is let in there.
pub async fn bind(door: Door) -> Result<TcpListener> {
    let Door { address, access } = door;
    let hint = "is another process there? choose another with --listen";
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({hint})"))?;
    match access {
        Access::Tokens => {
            tracing::info!(%address, "serving who has a token; `sawpit token create` makes one")
        }
        Access::Open if address.ip().is_loopback() => tracing::info!(%address, "serving"),
        Access::Open => {
            tracing::warn!(%address, "serving everybody who can connect, without tokens (--insecure)")
        }
    }
    Ok(listener)
}

/// Serves until the shutdown, then drains, and writes what was counted meanwhile.
pub async fn answer(listeners: Listeners, routers: Routers, settings: ServeSettings, process: &Process) {
    let api = drained(listeners.api, routers.api, settings.clone(), process);
    let admin = async {
        if let (Some(listener), Some(router)) = (listeners.admin, routers.admin) {
            drained(listener, router, settings, process).await;
        }
    };
    tokio::join!(api, admin);
    if let Err(error) = routers.verdicts.write().await {
        tracing::warn!(%error, "the statistics miss the plugins' verdicts of the last seconds");
    }
}

async fn drained(listener: TcpListener, router: axum::Router, settings: ServeSettings, process: &Process) {
    let shutdown = process.shutdown.clone();
    let drained =
        sawpit_host::serve(listener, router, settings, async move { shutdown.requested().await }).await;
    match drained {
        Drained::Clean => tracing::info!("every request in flight was answered"),
        Drained::Cut { connections } => {
            tracing::warn!(connections, "connections were cut at the drain timeout")
        }
    }
}

//! `sawpit up`: host and worker in one process.

use std::io::Write;

use anyhow::{Context, Result};
use clap::ArgMatches;
use sawpit_host::Access;
use sawpit_service::{Exit, Process, boot};

use super::host::{Listeners, Waited, answer, knows_tokens, routers};
use super::worker::worker_parts;
use crate::settings::access::Door;
use crate::settings::up::Up;
use crate::{dead, parts, settings};

pub fn run(flags: &ArgMatches) -> Exit {
    let up = match settings::up::resolve(flags) {
        Ok(up) => up,
        Err(errors) => return settings::refuse(&errors),
    };
    let process = up.process.clone();
    boot::run(&process, |process| serve(up, process))
}

async fn serve(up: Up, process: Process) -> Result<Exit> {
    let parts = parts::open(up.parts, &process.clock, &process.health).await?;
    let routers = routers(&parts, &process, up.host)?;
    if knows_tokens(&routers.guard, &process).await == Waited::Interrupted {
        return Ok(Exit::Done);
    }
    let listeners = Listeners::bind(up.doors).await?;
    let worker =
        tokio::spawn(sawpit_worker::run(worker_parts(&parts, &process, up.worker), process.shutdown.clone()));
    let queue = parts.queue.clone();
    tokio::spawn(async move { dead::serve::serve(queue, &up.data).await });
    greet(up.doors.api, if up.serve.tls.is_some() { "https" } else { "http" });
    let worker = async {
        let ended = worker.await;
        // Without its worker the process would only fill the queue: it ends, and whoever runs it sees why.
        process.shutdown.trigger();
        ended
    };
    let (ended, ()) = tokio::join!(worker, answer(listeners, routers, up.serve, &process));
    ended.context("the worker panicked")?.context("the worker failed")?;
    Ok(Exit::Done)
}

/// The address, and one line to try.
fn greet(Door { address, access }: Door, scheme: &str) {
    let token = match access {
        Access::Open => "",
        Access::Tokens => " -H \"authorization: Bearer $TOKEN\"",
    };
    let body = r#"{"device_id":"sensor-7","log_level":"warning","message":"door open, call ops@example.com","log_data":{"temperature":71.5}}"#;
    let text = format!(
        "sawpit serves {scheme}://{address}\n\nPost a log:\n\n  curl -sS {scheme}://{address}/api/log{token} -H 'content-type: application/json' -d '{body}'\n\n\
         and read it back:\n\n  curl -sS {scheme}://{address}/api/logs/sensor-7{token}\n"
    );
    // Nothing can be done when the terminal is gone.
    let _ = writeln!(std::io::stdout(), "{text}");
}

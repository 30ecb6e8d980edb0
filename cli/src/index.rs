//! `sawpit index`: makes findable what was stored before the workers kept their indexes.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use sawpit_service::{Clock, Exit};
use sawpit_store::{IndexedRows, Store};

use crate::settings::{self, index_command::IndexCommand};

/// What is typed after `sawpit` to get here.
pub const NAME: &str = "index";

/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The command for clap.
pub fn command() -> Command {
    Command::new(NAME)
        .about("Makes findable what was stored before the workers kept their indexes")
        .long_about(
            "Makes findable what was stored before the workers kept their indexes (--text-index, --data-index), newest \
             first, beside a running system. It may be ended at any time, and goes on from there.",
        )
        .args(sawpit_service::settings::args(&settings::index_command::specs()))
}

/// Runs it to its end.
pub fn run(flags: &ArgMatches) -> Exit {
    let command = match settings::index_command::resolve(flags) {
        Ok(command) => command,
        Err(errors) => return settings::refuse(&errors),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("the async runtime cannot start");
    done.and_then(|runtime| runtime.block_on(work(command))).unwrap_or_else(|error| {
        tell(&format!("{error:#}"));
        Exit::Failed
    })
}

async fn work(command: IndexCommand) -> Result<Exit> {
    let store =
        Store::open(command.store, Clock::system().now()).await.context("the store cannot be opened")?;
    let Some(mut older) = store.older_rows(command.terms).await? else {
        tell("no worker keeps an index: start them with --text-index or --data-index first");
        return Ok(Exit::Failed);
    };
    let (mut pace, mut total, mut back_to, mut told) = (Pace::new(command.rate), 0, None, Instant::now());
    while let IndexedRows::Some { rows, since } = store.index_older(&mut older, command.step).await? {
        (total, back_to) = (total + rows, Some(since));
        if told.elapsed() >= TELL_EVERY {
            tell(&format!("{total} rows, back to {since}"));
            told = Instant::now();
        }
        pace.after(rows).await;
    }
    match back_to {
        Some(since) => tell(&format!("{total} rows; all that is stored is found, back to {since}")),
        None => tell("nothing was stored before"),
    }
    Ok(Exit::Done)
}

/// Keeps to a rate of rows a second.
struct Pace {
    rate: Option<u32>,
    due: Instant,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        Self { rate, due: Instant::now() }
    }

    async fn after(&mut self, rows: u64) {
        if let Some(rate) = self.rate {
            self.due += Duration::from_secs_f64(rows as f64 / f64::from(rate));
            tokio::time::sleep_until(self.due.into()).await;
        }
    }
}

/// Nothing can be done when the terminal is gone.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

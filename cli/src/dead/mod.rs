//! `sawpit dead …`: what could not be stored, to look at, to try again and to delete.
//!
//! What is changed by `--all` or `--plugin` is looked up first and then changed by id, so that a letter that
//! dies again is not replayed for ever.

mod letters;
pub mod serve;
mod show;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use letters::Letters;
use sawpit_model::MessageId;
use sawpit_queue::DeadLetter;
use sawpit_service::{Exit, SettingSpec};

use crate::settings;
use crate::settings::dead::Place;

/// What is typed after `sawpit` to get here.
pub const NAME: &str = "dead";

/// Letters that are looked up at once.
const PAGE: usize = 500;
const IDS: &str = "ids";
const ALL: &str = "all";
const PLUGIN: &str = "plugin";
const YES: &str = "yes";
const JSON: &str = "json";
const AFTER: &str = "after";
const COUNT: &str = "count";

/// The nested commands for clap.
pub fn command() -> Command {
    let specs = || sawpit_service::settings::args(&specs());
    let id = || {
        Arg::new(IDS).value_name("ID").help("Ids, as `sawpit dead list` shows them").value_parser(parse_id)
    };
    let list = [
        Arg::new(AFTER)
            .long(AFTER)
            .value_name("ID")
            .help("List what comes after this letter")
            .value_parser(parse_id),
        Arg::new(COUNT)
            .long(COUNT)
            .value_name("N")
            .help("Most letters to list, 1 to 100000")
            .default_value("100")
            .value_parser(clap::value_parser!(u32).range(1..=100_000)),
        Arg::new(JSON)
            .long(JSON)
            .help("Print each letter whole, as JSON on a line")
            .action(ArgAction::SetTrue),
    ];
    let change = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).args([
            id().num_args(0..).required_unless_present_any([ALL, PLUGIN]),
            Arg::new(ALL)
                .long(ALL)
                .help("Every letter there is now")
                .action(ArgAction::SetTrue)
                .conflicts_with_all([IDS, PLUGIN]),
            Arg::new(PLUGIN)
                .long(PLUGIN)
                .value_name("NAME")
                .help("Every letter of this plugin; NAME@VERSION for one version")
                .conflicts_with(IDS),
            Arg::new(YES)
                .long(YES)
                .help("Do not ask before many letters are changed")
                .action(ArgAction::SetTrue),
        ])
    };
    Command::new(NAME)
        .about("The dead letters: logs that could not be stored, kept whole")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("Lists them, oldest first").args(list).args(specs()))
        .subcommand(
            Command::new("show")
                .about("Prints letters whole")
                .arg(id().num_args(1..).required(true))
                .args(specs()),
        )
        .subcommand(
            change("replay", "Puts letters back into the queue, once their cause is gone").args(specs()),
        )
        .subcommand(change("purge", "Deletes letters for good").args(specs()))
}

fn specs() -> Vec<SettingSpec> {
    settings::dead::specs()
}

fn parse_id(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|_| "an id looks like 1760000000123-0".to_owned())
}

/// Runs the nested command that was typed.
pub fn run(flags: &ArgMatches) -> Exit {
    let Some((name, flags)) = flags.subcommand() else { return Exit::Usage };
    let place = match settings::dead::resolve(flags) {
        Ok(place) => place,
        Err(errors) => return settings::refuse(&errors),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .context("the async runtime cannot start")
        .and_then(|rt| rt.block_on(work(name, flags, place)));
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        Exit::Failed
    })
}

async fn work(name: &str, flags: &ArgMatches, Place { queue, data }: Place) -> Result<Exit> {
    let letters = Letters::find(queue, &data).await?;
    match name {
        "list" => list(&letters, flags).await,
        "show" => {
            for id in ids_of(flags) {
                print(&show::whole(&letters.show(id).await?));
            }
            Ok(Exit::Done)
        }
        "replay" => change(&letters, flags, Act::Replay).await,
        _ => change(&letters, flags, Act::Purge).await,
    }
}

fn ids_of(flags: &ArgMatches) -> Vec<MessageId> {
    flags.get_many::<MessageId>(IDS).unwrap_or_default().copied().collect()
}

/// A reader that has gone (`| head`) wants no more of it.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    // Nothing can be done when the terminal is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

async fn list(letters: &Letters, flags: &ArgMatches) -> Result<Exit> {
    let mut after = flags.get_one::<MessageId>(AFTER).copied();
    let mut left = flags.get_one::<u32>(COUNT).map_or(0, |count| *count as usize);
    let json = flags.get_flag(JSON);
    if !json {
        print(&(show::header() + "\n"));
    }
    while left > 0 {
        let page = letters.list(after, left.min(PAGE)).await?;
        let Some(last) = page.last() else { return Ok(Exit::Done) };
        (after, left) = (Some(last.id), left.saturating_sub(page.len()));
        for letter in &page {
            let line = if json { serde_json::to_string(letter)? } else { show::line(letter) };
            print(&(line + "\n"));
        }
    }
    if let Some(after) = after {
        complain(&format!("there may be more: --after {after}"));
    }
    Ok(Exit::Done)
}

#[derive(Clone, Copy)]
enum Act {
    Replay,
    Purge,
}

async fn change(letters: &Letters, flags: &ArgMatches, act: Act) -> Result<Exit> {
    let mut ids = ids_of(flags);
    if ids.is_empty() {
        let plugin = flags.get_one::<String>(PLUGIN).map(String::as_str);
        ids = find(letters, plugin).await?;
        if ids.is_empty() {
            return Ok(found_none(plugin));
        }
        if !flags.get_flag(YES) && !agreed(act, ids.len())? {
            complain("nothing was changed; --yes does it without asking");
            return Ok(Exit::Failed);
        }
    }
    let mut exit = Exit::Done;
    for id in ids {
        match change_one(letters, id, act).await {
            Ok(said) => print(&said),
            Err(error) => {
                complain(&format!("{error:#}"));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// A plugin without letters may be one that is mistyped; that there are none at all is what is wished for.
fn found_none(plugin: Option<&str>) -> Exit {
    match plugin {
        Some(plugin) => {
            complain(&format!("there is no dead letter of {plugin}; `sawpit dead list` shows the plugins"));
            Exit::Failed
        }
        None => {
            complain("there is no dead letter");
            Exit::Done
        }
    }
}

async fn change_one(letters: &Letters, id: MessageId, act: Act) -> Result<String> {
    match act {
        Act::Replay => Ok(format!("{id} replayed as {}\n", letters.replay(id).await?)),
        Act::Purge => letters.purge(id).await.map(|()| format!("{id} purged\n")),
    }
}

async fn find(letters: &Letters, plugin: Option<&str>) -> Result<Vec<MessageId>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = letters.list(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        let fits = |letter: &&DeadLetter| plugin.is_none_or(|plugin| is_of(letter, plugin));
        found.extend(page.iter().filter(fits).map(|letter| letter.id));
    }
}

/// Letters name their plugin as `name@version#hash`.
fn is_of(letter: &DeadLetter, plugin: &str) -> bool {
    let rest = letter.plugin.as_deref().and_then(|of| of.strip_prefix(plugin));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '#']))
}

fn agreed(act: Act, letters: usize) -> Result<bool> {
    let verb = match act {
        Act::Replay => "Replay",
        Act::Purge => "Delete for good",
    };
    write!(io::stderr(), "{verb} {letters} dead letters? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

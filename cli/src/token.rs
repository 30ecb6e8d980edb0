//! `sawpit token …`: who may use the API. Hosts learn of a change within seconds.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, Command};
use sawpit_host::access::{Secret, check_pattern};
use sawpit_model::Timestamp;
use sawpit_service::settings::FromSetting;
use sawpit_service::{Clock, Exit};
use sawpit_store::{Revoked, Role, Store, StoreSettings, Token};

use crate::settings;

/// What is typed after `sawpit` to get here.
pub const NAME: &str = "token";

const ROLE: &str = "role";
const NOTE: &str = "note";
const DEVICES: &str = "devices";
const RATE: &str = "rate";
const EXPIRES: &str = "expires";
const ID: &str = "id";

/// Longest note, in bytes.
const NOTE_BYTES: usize = 200;

/// The nested commands for clap.
pub fn command() -> Command {
    let specs = || sawpit_service::settings::args(&settings::token::specs());
    let create = [
        Arg::new(ROLE).long(ROLE).value_name("ROLE").required(true).help(
            "ingest (post logs), read (ask for logs and statistics), or admin (both, and plugins and metrics)",
        ).value_parser(|text: &str| text.parse::<Role>()),
        Arg::new(NOTE).long(NOTE).value_name("TEXT").default_value("").help("Whose it is").value_parser(parse_note),
        Arg::new(DEVICES)
            .long(DEVICES)
            .value_name("PATTERN")
            .help("Only logs of these devices may be posted with it, as in sensor-*; for the role ingest")
            .value_parser(|text: &str| check_pattern(text).map(|()| text.to_owned())),
        Arg::new(RATE)
            .long(RATE)
            .value_name("N")
            .help("Most logs posted, or requests made, a second, in each process: behind two hosts it is twice as much")
            .value_parser(clap::value_parser!(u32).range(1..=10_000_000)),
        Arg::new(EXPIRES)
            .long(EXPIRES)
            .value_name("TIME")
            .help("How long it is valid, as in 90d; for ever unless given")
            .value_parser(|text: &str| Duration::from_setting(text)),
    ];
    let revoke = Arg::new(ID)
        .value_name("ID")
        .required(true)
        .num_args(1..)
        .help("Ids, as `sawpit token list` shows them");
    Command::new(NAME)
        .about("Who may use the API")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("create").about("Makes a token and shows it, once").args(create).args(specs()),
        )
        .subcommand(Command::new("list").about("Lists the tokens, without their secrets").args(specs()))
        .subcommand(Command::new("revoke").about("Ends tokens").arg(revoke).args(specs()))
}

fn parse_note(text: &str) -> Result<String, String> {
    let fits = text.len() <= NOTE_BYTES && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("must be a line of at most {NOTE_BYTES} bytes")) }
}

/// Runs the nested command that was typed.
pub fn run(flags: &ArgMatches) -> Exit {
    let Some((name, flags)) = flags.subcommand() else { return Exit::Usage };
    let store = match settings::token::resolve(flags) {
        Ok(store) => store,
        Err(errors) => return settings::refuse(&errors),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("the async runtime cannot start");
    let done = done.and_then(|runtime| runtime.block_on(work(name, flags, store)));
    done.unwrap_or_else(|error| {
        // Nothing can be done when the terminal is gone.
        let _ = writeln!(io::stderr(), "{error:#}");
        Exit::Failed
    })
}

async fn work(name: &str, flags: &ArgMatches, settings: StoreSettings) -> Result<Exit> {
    let now = Clock::system().now();
    let store = Store::open(settings, now).await.context("the store cannot be opened")?;
    match name {
        "create" => create(&store, flags, now).await,
        "list" => list(&store, now).await,
        _ => revoke(&store, flags).await,
    }
}

async fn create(store: &Store, flags: &ArgMatches, now: Timestamp) -> Result<Exit> {
    let Some(role) = flags.get_one::<Role>(ROLE).copied() else { bail!("--role is missing") };
    let devices = flags.get_one::<String>(DEVICES).cloned();
    if devices.is_some() && role != Role::Ingest {
        bail!("--devices limits what is posted: it goes with --role ingest only");
    }
    let mut random = [0; 55];
    getrandom::fill(&mut random).context("the operating system gives no random bytes")?;
    let secret = Secret::from_random(&random);
    let token = Token {
        id: secret.id().to_owned(),
        digest: secret.digest(),
        role,
        note: flags.get_one::<String>(NOTE).cloned().unwrap_or_default(),
        devices,
        rate: flags.get_one::<u32>(RATE).copied(),
        created_at: now,
        expires_at: flags.get_one::<Duration>(EXPIRES).map(|span| after(now, *span)),
    };
    store.add_token(&token).await.context("the token was not stored")?;
    writeln!(io::stdout(), "{}", secret.text())?;
    // Apart, so that the token alone can be taken into a variable.
    let hint = format!(
        "This is shown once. Send it as the header Authorization: Bearer TOKEN; end it with `sawpit token revoke {}`.",
        token.id
    );
    writeln!(io::stderr(), "{hint}")?;
    Ok(Exit::Done)
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_add(span))
}

async fn list(store: &Store, now: Timestamp) -> Result<Exit> {
    let mut out = io::stdout().lock();
    for token in store.tokens().await? {
        let devices = token.devices.map(|devices| format!(" devices={devices}")).unwrap_or_default();
        let rate = token.rate.map(|rate| format!(" rate={rate}/s")).unwrap_or_default();
        let end = token.expires_at.map(|end| {
            let word = if end <= now { "expired" } else { "expires" };
            format!(" {word}={end}")
        });
        let end = end.unwrap_or_default();
        writeln!(
            out,
            "{} {:6} created={}{end}{devices}{rate} {}",
            token.id, token.role, token.created_at, token.note
        )?;
    }
    Ok(Exit::Done)
}

async fn revoke(store: &Store, flags: &ArgMatches) -> Result<Exit> {
    let mut exit = Exit::Done;
    for text in flags.get_many::<String>(ID).unwrap_or_default() {
        let id = Secret::id_in(text);
        match store.revoke_token(id).await? {
            Revoked::Now => writeln!(io::stdout(), "{id} is revoked")?,
            Revoked::Unknown => {
                writeln!(io::stderr(), "{id} is no token here; `sawpit token list` shows the ids")?;
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

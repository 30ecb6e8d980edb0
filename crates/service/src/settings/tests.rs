//! The whole way: flags, variables and a file, to values or a list of mistakes.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Command;

use super::*;

const TABLE: &[SettingSpec] = &[
    CONFIG,
    SettingSpec::new("listen", "ADDRESS", "Where to listen").default("127.0.0.1:8000"),
    SettingSpec::new("queue", "URL", "The queue"),
    SettingSpec::new("retry-max", "DURATION", "Longest wait").default("5s"),
    SettingSpec::new("threads", "N", "Threads").default("4"),
    SettingSpec::new("level", "LEVELS", "Levels").list(),
    SettingSpec::new("verify", "BOOL", "Check it").switch(),
    SettingSpec::new("token", "TEXT", "A secret").secret(),
];
const ELSEWHERE: &[SettingSpec] = &[SettingSpec::new("data", "DIR", "A folder of another command")];

fn table_args() -> Vec<Arg> {
    args(TABLE)
}

fn resolver(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Resolver {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let mut all = vec!["test".to_owned()];
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
        all.push(format!("--config={}", path.display()));
    }
    all.extend(args.iter().map(ToString::to_string));
    let flags = Command::new("test").args(table_args()).try_get_matches_from(all).unwrap();
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Resolver::new(TABLE, ELSEWHERE, &flags, env)
}

fn threads(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> u32 {
    let mut resolver = resolver(args, env, file);
    let threads = resolver.get::<u32>("threads");
    resolver.finish(threads).unwrap()
}

fn mistakes(resolver: Resolver) -> Vec<String> {
    resolver.finish(None::<()>).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let (env, file) = ([("SAWPIT_THREADS", "6")], Some("threads = 5"));
    assert_eq!(threads(&["--threads", "7"], &env, file), 7);
    assert_eq!(threads(&[], &env, file), 6);
    assert_eq!(threads(&[], &[], file), 5);
    assert_eq!(threads(&[], &[("SAWPIT_THREADS", "")], None), 4);
}

#[test]
fn all_mistakes_are_listed_with_source_value_and_rule() {
    let mut resolver = resolver(
        &["--listen", "8000", "--token", "hunter2"],
        &[("SAWPIT_RETRY_MAX", "5")],
        Some("threads = -1\nlissten = 1\ndata = \"fine\""),
    );
    let _ = resolver.get::<SocketAddr>("listen");
    let _ = resolver.get::<String>("queue");
    let _ = resolver.get::<Duration>("retry-max");
    let _ = resolver.get_in::<u32>("threads", 1..=64);
    let _ = resolver.get::<u32>("token");
    let errors = resolver.finish(Some(())).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 6, "{text}");
    for part in [
        "6 wrong settings:\n",
        "lissten): is no setting; did you mean listen?",
        "listen = \"8000\" (flag --listen): must be an IP address with a port",
        "queue (not set): is required: give --queue, SAWPIT_QUEUE or the key queue in sawpit.toml",
        "retry-max = \"5\" (SAWPIT_RETRY_MAX): needs a unit",
        "t.toml:threads): must be a whole number",
        "token = \"***\" (flag --token): must be a whole number",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn ranges_are_obeyed_and_violated() {
    let range = |value: &str| {
        let mut resolver = resolver(&["--threads", value], &[], None);
        let threads = resolver.get_in::<u32>("threads", 1..=64);
        resolver.finish(threads).map_err(|errors| errors.to_string())
    };
    assert_eq!(range("64"), Ok(64));
    let text = range("65").unwrap_err();
    assert_eq!(text, "1 wrong setting:\n  threads = \"65\" (flag --threads): must be 1 to 64");
    assert!(range("-3").unwrap_err().contains("must be a whole number"));
}

#[test]
fn relations_show_both_values() {
    let mut resolver = resolver(&["--threads", "9"], &[], None);
    resolver.check(true, &["threads"], "unused");
    resolver.check(false, &["threads", "queue"], "threads must fit the queue");
    assert_eq!(
        mistakes(resolver),
        [
            "threads, queue (flag --threads): threads must fit the queue; now threads = 9 (flag --threads), queue (not set)"
        ]
    );
}

#[test]
fn lists_come_from_commas_repeats_and_arrays() {
    let list = |args: &[&str], file| resolver(args, &[], file).list::<String>("level").unwrap();
    assert_eq!(list(&["--level", "a,b", "--level", "c"], None), ["a", "b", "c"]);
    assert_eq!(list(&[], Some("level = [\"a\", \"b\"]")), ["a", "b"]);
    assert!(list(&[], None).is_empty());
}

#[test]
fn switches_need_no_value_and_take_one() {
    let verify = |args: &[&str]| resolver(args, &[], None).get::<bool>("verify");
    assert_eq!(verify(&[]), Some(false));
    assert_eq!(verify(&["--verify"]), Some(true));
    assert_eq!(verify(&["--verify=false"]), Some(false));
}

#[test]
fn optional_settings_and_whether_they_were_given() {
    let mut resolver = resolver(&["--queue", "redis://q"], &[], None);
    assert_eq!(resolver.optional::<String>("queue"), Some(Some("redis://q".to_owned())));
    assert_eq!(resolver.optional::<String>("token"), Some(None));
    assert!(resolver.is_given("queue"));
    assert!(!resolver.is_given("threads"));
}

#[test]
fn a_named_file_must_be_there() {
    let flags = Command::new("test")
        .args(table_args())
        .try_get_matches_from(["test", "--config", "no/such.toml"])
        .unwrap();
    let seen = mistakes(Resolver::new(TABLE, &[], &flags, |_| None));
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("config = \"no/such.toml\" (flag --config): must be a readable file"),
        "{seen:?}"
    );
}

#[test]
fn help_names_variable_and_default() {
    let help = Command::new("test").args(table_args()).render_long_help().to_string();
    assert!(help.contains("[env: SAWPIT_RETRY_MAX] [default: 5s]"), "{help}");
}

//! The folder: files come, change, break and go while the chain serves.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sawpit_plugins::{
    Chain, Ingested, Instead, Mode, PastChain, PluginState, PluginStatus, Registry, RegistrySettings,
    Runtime, Watch,
};
use support::*;
use tempfile::TempDir;

struct Folder {
    _parent: TempDir,
    path: PathBuf,
    registry: Registry,
}

impl Folder {
    fn open(files: &[(&str, &[u8])]) -> Self {
        Self::open_with(files, RegistrySettings::default())
    }

    fn open_with(files: &[(&str, &[u8])], settings: RegistrySettings) -> Self {
        Self::open_in(runtime(), files, settings)
    }

    fn open_in(runtime: Runtime, files: &[(&str, &[u8])], settings: RegistrySettings) -> Self {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("plugins.d");
        fs::create_dir(&path).unwrap();
        for (name, bytes) in files {
            fs::write(path.join(name), bytes).unwrap();
        }
        let registry = Registry::open(runtime, path.clone(), settings).unwrap();
        Self { _parent: parent, path, registry }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path.join(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path.join(name)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.registry
            .chain()
            .members()
            .iter()
            .map(|member| member.plugin().id().split('#').next().unwrap().to_owned())
            .collect()
    }

    fn serves(&self, names: &[&str]) -> Duration {
        eventually(&format!("{names:?} serve"), || self.names() == names)
    }

    fn status(&self, file: &str) -> PluginStatus {
        self.registry.status().into_iter().find(|status| status.file == file).unwrap()
    }

    fn state(&self, file: &str, state: PluginState) {
        eventually(&format!("{file} is {state:?}"), || {
            self.registry.status().iter().any(|status| status.file == file && status.state == state)
        });
    }
}

fn filter(name: &'static str, version: &'static str) -> Vec<u8> {
    Guest::new("filter", on_letter('X', TRAP)).named(name, version).wasm()
}

#[test]
fn a_folder_that_is_missing_is_made_and_empty() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("a/b");
    let registry = Registry::open(runtime(), path.clone(), RegistrySettings::default()).unwrap();
    assert!(path.is_dir());
    assert_eq!((registry.chain().id(), registry.status().len(), registry.generation()), ("none", 0, 0));
}

#[test]
fn a_file_in_place_of_the_folder_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Registry::open(runtime(), file.path().to_owned(), RegistrySettings::default()).unwrap_err();
    assert!(error.to_string().contains("cannot read the plugin folder"), "{error}");
}

#[test]
fn what_is_there_at_the_start_serves_in_the_order_of_file_names() {
    let folder = Folder::open(&[
        ("20-b.wasm", &filter("b", "1.0.0")),
        ("10-a.wasm", &filter("a", "1.0.0")),
        ("broken.wasm", b"text"),
        (".hidden.wasm", b"text"),
        ("notes.txt", b"text"),
    ]);
    assert_eq!(folder.names(), ["a@1.0.0", "b@1.0.0"]);
    let files: Vec<_> =
        folder.registry.status().into_iter().map(|status| (status.file, status.state)).collect();
    assert_eq!(
        files,
        [
            ("10-a.wasm".to_owned(), PluginState::Active),
            ("20-b.wasm".to_owned(), PluginState::Active),
            ("broken.wasm".to_owned(), PluginState::Refused),
        ]
    );
}

#[test]
fn a_file_that_is_dropped_in_replaced_and_removed_takes_effect_within_a_second() {
    let folder = Folder::open(&[]);
    folder.write("a.wasm", filter("a", "1.0.0"));
    let came = folder.serves(&["a@1.0.0"]);
    folder.write("a.wasm", filter("a", "1.1.0"));
    let changed = folder.serves(&["a@1.1.0"]);
    assert_eq!(folder.registry.generation(), 2);
    folder.remove("a.wasm");
    let went = folder.serves(&[]);
    assert!(folder.registry.status().is_empty());
    // Whoever comes later can still tell what each of the chains was made of.
    let versions = |chain: PastChain| chain.versions.into_iter().map(|it| it.version).collect::<Vec<_>>();
    let past: Vec<_> = folder.registry.chains_after(None).into_iter().map(versions).collect();
    assert_eq!(past, [vec![], vec!["1.0.0".to_owned()], vec!["1.1.0".to_owned()], vec![]]);
    for took in [came, changed, went] {
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn a_file_that_is_moved_into_place_serves() {
    let folder = Folder::open(&[]);
    folder.write("a.wasm.part", filter("a", "1.0.0"));
    fs::rename(folder.path.join("a.wasm.part"), folder.path.join("a.wasm")).unwrap();
    folder.serves(&["a@1.0.0"]);
}

#[test]
fn a_bad_version_leaves_the_old_one_serving_and_says_why() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    let chain = folder.registry.chain();
    let bad = Guest::new("filter", "unreachable").named("a", "2.0.0").wasm();
    for (bytes, why) in [(bad, "trial"), (b"text".to_vec(), "text"), (Vec::new(), "empty")] {
        folder.write("a.wasm", bytes);
        eventually("it is refused", || {
            folder.status("a.wasm").refusal.is_some_and(|refusal| refusal.contains(why))
        });
        let status = folder.status("a.wasm");
        assert_eq!(status.state, PluginState::Refused);
        assert!(status.serving);
        assert_eq!(status.version.as_deref(), Some("1.0.0"));
        assert!(Arc::ptr_eq(&chain, &folder.registry.chain()));
    }
    folder.write("a.wasm", filter("a", "1.0.0"));
    folder.state("a.wasm", PluginState::Active);
    assert!(Arc::ptr_eq(&chain, &folder.registry.chain()), "the same bytes are the same plugin, still warm");
    folder.write("a.wasm", filter("a", "3.0.0"));
    folder.serves(&["a@3.0.0"]);
}

#[test]
fn a_new_bad_file_is_listed_and_the_others_serve() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    folder.write("b.wasm", "not wasm");
    folder.state("b.wasm", PluginState::Refused);
    let status = folder.status("b.wasm");
    assert_eq!((status.name.as_str(), status.serving, status.version), ("b", false, None));
    assert_eq!(folder.names(), ["a@1.0.0"]);
    folder.remove("b.wasm");
    eventually("it is not listed any more", || folder.registry.status().len() == 1);
}

#[test]
fn a_change_of_the_manifest_reloads_that_plugin_alone() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0")), ("b.wasm", &filter("b", "1.0.0"))]);
    let (before, id) = (folder.registry.chain(), folder.registry.chain().id().to_owned());
    folder.write("a.toml", "on_error = \"pass\"");
    eventually("the chain is another", || folder.registry.chain().id() != id);
    let after = folder.registry.chain();
    assert!(!Arc::ptr_eq(before.members()[0].plugin(), after.members()[0].plugin()));
    assert!(
        Arc::ptr_eq(before.members()[1].plugin(), after.members()[1].plugin()),
        "the other one stays warm"
    );
    assert!(matches!(after.ingest(logs(&["X"]))[0], Ingested::Failed { .. }), "b still rejects");
    folder.write("a.toml", "on_error = \"explode\"");
    folder.state("a.wasm", PluginState::Refused);
    assert_eq!(folder.names(), ["a@1.0.0", "b@1.0.0"]);
    folder.remove("a.toml");
    folder.state("a.wasm", PluginState::Active);
    eventually("the chain is the first again", || folder.registry.chain().id() == id);
}

#[test]
fn off_and_shadow() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0")), ("a.toml", b"mode = \"off\"")]);
    assert!(folder.names().is_empty());
    assert_eq!((folder.status("a.wasm").state, folder.status("a.wasm").mode), (PluginState::Off, Mode::Off));
    folder.write("a.toml", "mode = \"shadow\"");
    folder.state("a.wasm", PluginState::Shadow);
    let chain = folder.registry.chain();
    assert!(matches!(chain.ingest(logs(&["X"]))[0], Ingested::Accepted(_)));
    eventually("its failure is counted", || folder.status("a.wasm").errors == 1);
    folder.write("a.toml", "mode = \"off\"");
    folder.serves(&[]);
}

#[test]
fn a_touched_file_is_not_loaded_again() {
    let wasm = filter("a", "1.0.0");
    let folder = Folder::open(&[("a.wasm", &wasm)]);
    let chain = folder.registry.chain();
    folder.write("a.wasm", &wasm);
    std::thread::sleep(Duration::from_millis(400));
    assert!(Arc::ptr_eq(&chain, &folder.registry.chain()));
    assert_eq!(folder.registry.generation(), 1);
}

#[test]
fn a_file_that_is_still_being_written_is_waited_for() {
    let settings = RegistrySettings { settle: Duration::from_millis(300), ..RegistrySettings::default() };
    let folder = Folder::open_with(&[], settings);
    let wasm = filter("a", "1.0.0");
    for part in 1..=8 {
        folder.write("a.wasm", &wasm[..wasm.len() * part / 8]);
        std::thread::sleep(Duration::from_millis(40));
        assert!(folder.registry.status().is_empty(), "it was read too early");
    }
    folder.serves(&["a@1.0.0"]);
}

#[test]
fn a_folder_that_is_removed_changes_nothing_until_it_is_back() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    let aside = folder.path.with_extension("old");
    fs::rename(&folder.path, &aside).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(folder.names(), ["a@1.0.0"]);
    fs::create_dir(&folder.path).unwrap();
    folder.serves(&[]);
    folder.write("b.wasm", filter("b", "1.0.0"));
    folder.serves(&["b@1.0.0"]);
    fs::remove_dir_all(&folder.path).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    fs::create_dir(&folder.path).unwrap();
    folder.write("c.wasm", filter("c", "1.0.0"));
    folder.serves(&["c@1.0.0"]);
    // And events come again, not only the poll of a missing folder.
    std::thread::sleep(Duration::from_millis(400));
    folder.write("c.wasm", filter("c", "2.0.0"));
    folder.serves(&["c@2.0.0"]);
}

#[cfg(unix)]
#[test]
fn symbolic_links_that_are_swapped_take_effect() {
    use std::os::unix::fs::symlink;
    let parent = TempDir::new().unwrap();
    let release = |version: &'static str| {
        let path = parent.path().join(version);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("a.wasm"), filter("a", version)).unwrap();
        path
    };
    let (one, two, three) = (release("1.0.0"), release("2.0.0"), release("3.0.0"));
    // Looking seldom as well must not hide the swap.
    let settings = RegistrySettings { poll: Some(Duration::from_secs(3_600)), ..RegistrySettings::default() };
    let swap = |target: &PathBuf, link: &PathBuf| {
        let next = parent.path().join("next");
        symlink(target, &next).unwrap();
        fs::rename(next, link).unwrap();
    };
    // The folder is a link, as a release that is switched.
    let folder = parent.path().join("plugins.d");
    swap(&one, &folder);
    let registry = Registry::open(runtime(), folder.clone(), settings).unwrap();
    let serves = |id: &str| {
        eventually(id, || {
            registry.chain().members().iter().all(|member| member.plugin().id().starts_with(id))
        });
    };
    serves("a@1.0.0");
    swap(&two, &folder);
    serves("a@2.0.0");
    // A file in it is one.
    swap(&three.join("a.wasm"), &two.join("a.wasm"));
    serves("a@3.0.0");
    // What it leads to changes, in a folder that nobody watches.
    let next = parent.path().join("next.wasm");
    fs::write(&next, filter("a", "4.0.0")).unwrap();
    fs::rename(next, three.join("a.wasm")).unwrap();
    serves("a@4.0.0");
}

#[test]
fn what_an_editor_does_to_save_is_one_change() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0")), ("a.toml", b"on_error = \"pass\"")]);
    let toml = folder.path.join("a.toml");
    fs::rename(&toml, folder.path.join("a.toml~")).unwrap();
    folder.write("4913", "");
    folder.remove("4913");
    folder.write("a.toml", "on_error = \"reject\"");
    folder.remove("a.toml~");
    eventually("it serves anew", || folder.registry.generation() == 2);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((folder.registry.generation(), folder.names()), (2, vec!["a@1.0.0".to_owned()]));
    assert!(matches!(folder.registry.chain().ingest(logs(&["X"]))[0], Ingested::Failed { .. }));
}

#[test]
fn what_is_moved_in_whole_does_not_wait() {
    let parent = TempDir::new().unwrap();
    let now = || {
        sawpit_model::Timestamp::from_micros(
            std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64
        )
    };
    let runtime =
        Runtime::new(sawpit_plugins::RuntimeSettings { clock: Arc::new(now), ..settings() }).unwrap();
    let folder = parent.path().join("plugins.d");
    let slow = RegistrySettings { settle: Duration::from_secs(2), ..RegistrySettings::default() };
    let registry = Registry::open(runtime, folder.clone(), slow).unwrap();
    let (whole, fresh) = (parent.path().join("whole"), parent.path().join("fresh"));
    fs::write(&whole, filter("whole", "1.0.0")).unwrap();
    std::thread::sleep(Duration::from_millis(2_100));
    fs::write(&fresh, filter("fresh", "1.0.0")).unwrap();
    fs::rename(fresh, folder.join("fresh.wasm")).unwrap();
    fs::rename(whole, folder.join("whole.wasm")).unwrap();
    let names = || -> Vec<String> { registry.status().into_iter().map(|status| status.name).collect() };
    eventually("the whole one serves", || !names().is_empty());
    assert_eq!(names(), ["whole"], "the other was written just now, so it may be a copy in progress");
    eventually("the other one serves", || names() == ["fresh", "whole"]);
}

/// Without events, as on a network file system.
#[test]
fn by_polling_alone_changes_are_seen_and_not_more_often_than_asked_for() {
    let polling = |every| RegistrySettings { watch: Watch::Poll, poll: every, ..RegistrySettings::default() };
    let slow = Folder::open_with(&[], polling(Some(Duration::from_secs(3_600))));
    for every in [None, Some(Duration::from_millis(50))] {
        let folder = Folder::open_with(&[], polling(every));
        folder.write("a.wasm", filter("a", "1.0.0"));
        folder.serves(&["a@1.0.0"]);
        folder.remove("a.wasm");
        folder.serves(&[]);
    }
    slow.write("a.wasm", filter("a", "1.0.0"));
    std::thread::sleep(Duration::from_secs(1));
    assert!(slow.names().is_empty(), "an event was heard");
}

#[test]
fn a_request_keeps_its_chain_while_the_folder_changes_under_it() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    let chain = folder.registry.chain();
    let id = chain.id().to_owned();
    folder.remove("a.wasm");
    folder.serves(&[]);
    assert_eq!(chain.id(), id);
    assert!(matches!(chain.ingest(logs(&["fine"]))[0], Ingested::Accepted(_)));
}

#[test]
fn the_id_is_the_same_in_every_process_with_the_same_folder() {
    let (one, other) = (filter("a", "1.0.0"), filter("b", "1.0.0"));
    let files: [(&str, &[u8]); 2] = [("a.wasm", &one), ("b.wasm", &other)];
    let (here, there) = (Folder::open(&files), Folder::open(&files));
    assert_eq!(here.registry.chain().id(), there.registry.chain().id());
    assert_ne!(here.registry.chain().id(), Chain::empty().id());
}

#[test]
fn logs_flow_while_plugins_come_and_go() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    let registry = &folder.registry;
    let done = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let results = registry.chain().ingest(logs(&["one", "two"]));
                    assert!(
                        results.iter().all(|result| matches!(result, Ingested::Accepted(_))),
                        "{results:?}"
                    );
                }
            });
        }
        for version in ["1.0.1", "1.0.2", "1.0.3"] {
            folder.write("a.wasm", filter("a", version));
            folder.serves(&[&format!("a@{version}")]);
            folder.write("a.wasm", b"text");
            folder.state("a.wasm", PluginState::Refused);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn counts_are_shown() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0"))]);
    assert_eq!(folder.status("a.wasm").calls, 0, "the trial does not count");
    let chain = folder.registry.chain();
    let _ = chain.ingest(logs(&["one", "two"]));
    let _ = chain.ingest(logs(&["X"]));
    let status = folder.status("a.wasm");
    assert_eq!((status.calls, status.logs, status.errors), (2, 3, 1));
    assert!(status.mean_us > 0.0 && status.p99_us > 0.0 && status.log_mean_us > 0.0);
    assert!(status.last_error.unwrap().contains("unreachable"));
    assert!(
        serde_json::to_value(folder.status("a.wasm")).unwrap()["stages"] == serde_json::json!(["filter"])
    );
}

#[test]
fn a_registry_that_nobody_holds_stops_watching() {
    let folder = TempDir::new().unwrap();
    let runtime = Runtime::new(settings()).unwrap();
    let registry = Registry::open(runtime, folder.path().to_owned(), RegistrySettings::default()).unwrap();
    let chain = registry.chain();
    let (clone, weak) = (registry.clone(), Arc::downgrade(&chain));
    drop((registry, chain));
    assert_eq!(clone.chain().id(), "none");
    drop(clone);
    eventually("the thread let go of the chain", || weak.upgrade().is_none());
}

#[test]
fn what_a_shadow_would_have_done_is_kept_to_look_at() {
    let folder = Folder::open(&[("a.toml", b"mode = \"shadow\"")]);
    let patch = "(i32.store (i32.const 3000) (i32.const 7))".to_owned()
        + &put(0, 2048)
        + &put(4, 7)
        + &put(8, 3000)
        + &put(12, 1);
    let mut guest = Guest::new("enrich", on_letter('X', &patch)).named("a", "1.0.0");
    guest.items = r#"(data (i32.const 2048) "{\"b\":2}")"#.to_owned();
    folder.write("a.wasm", guest.wasm());
    folder.state("a.wasm", PluginState::Shadow);
    assert_eq!(folder.registry.differences("a.wasm"), Some(Vec::new()));
    let out = folder.registry.chain().ingest(logs(&["fine", "X"]).into_iter().skip(1).collect());
    assert_eq!(out, [Ingested::Accepted(log("X"))], "a shadow changes nothing");
    let kept = folder.registry.differences("a.wasm").unwrap();
    assert_eq!((kept.len(), &kept[0].log), (1, &log("X")));
    let Instead::Changed { logs } = &kept[0].instead else { panic!("{kept:?}") };
    assert_eq!(logs[0].log_data.as_str(), r#"{"a":1,"b":2}"#);
    assert_eq!(folder.registry.differences("b.wasm"), None);
}

/// One guest call after the other, each just within its deadline, for as long as the proving may take.
fn slow_cases(folder: &Folder, name: &str) {
    let case = |number: u32| {
        let log = r#"{"device_id":"d","log_level":"INFO","message":"S"}"#;
        format!("{{\"name\":\"{number}\",\"log\":{log},\"expect\":{{\"verdict\":\"fail\"}}}}\n")
    };
    folder.write(&format!("{name}.cases.ndjson"), (0..1_000).map(case).collect::<String>());
    folder.write(&format!("{name}.toml"), "timeout_ms = 60000");
}

/// Never ends where a message has an S.
fn slow(name: &'static str) -> Vec<u8> {
    Guest::new("filter", on_letter('S', ENDLESS)).named(name, "1.0.0").wasm()
}

fn proved_within(proving_timeout: Duration) -> Runtime {
    Runtime::new(sawpit_plugins::RuntimeSettings { proving_timeout, ..settings() }).unwrap()
}

#[test]
fn a_file_that_takes_long_to_prove_delays_no_other_and_is_refused_in_the_end() {
    let files: [(&str, &[u8]); 1] = [("a.wasm", &filter("a", "1.0.0"))];
    let slowly = proved_within(Duration::from_secs(15));
    let folder = Folder::open_in(slowly, &files, RegistrySettings::default());
    // Two of them, so that the second is not proved in the place of the first.
    for name in ["00-slow", "zz-slow"] {
        slow_cases(&folder, name);
        folder.write(&format!("{name}.wasm"), slow("slow"));
    }
    std::thread::sleep(Duration::from_millis(300));
    folder.write("b.wasm", filter("b", "1.0.0"));
    folder.serves(&["a@1.0.0", "b@1.0.0"]);
    folder.write("b.toml", "mode = \"off\"");
    folder.serves(&["a@1.0.0"]);
    folder.remove("b.wasm");
    eventually("b is gone", || folder.registry.status().iter().all(|status| status.file != "b.wasm"));
    // A canary of the other file is judged meanwhile.
    folder.write("a.toml", "[canary]\npercent = 50\nerrors = 1");
    folder.write("a.wasm", Guest::new("filter", on_letter('Y', TRAP)).named("a", "2.0.0").wasm());
    folder.state("a.wasm", PluginState::Canary);
    let device = |number: u32| sawpit_model::Log { device_id: number.to_string(), ..log("Y") };
    let _ = folder.registry.chain().ingest((0..20).map(device).collect());
    folder.state("a.wasm", PluginState::Refused);
    assert!(folder.status("a.wasm").refusal.unwrap().starts_with("this version was rolled back"));
    let listed = folder.registry.status();
    assert!(listed.iter().all(|status| !status.file.contains("slow")), "they are still being proved");
    let started = std::time::Instant::now();
    while folder.registry.status().len() < 3 && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    for file in ["00-slow.wasm", "zz-slow.wasm"] {
        let refusal = folder.status(file).refusal.unwrap();
        let why = "it was not proved within 15000 ms (plugin-proving-timeout): ";
        assert!(
            refusal.starts_with(why) && refusal.contains("cases.ndjson failed, 999 after them were not run"),
            "{refusal}"
        );
    }
}

#[test]
fn a_slow_file_holds_the_start_up_no_longer_than_it_may_take() {
    let parent = TempDir::new().unwrap();
    fs::write(parent.path().join("a.wasm"), slow("a")).unwrap();
    fs::write(parent.path().join("a.toml"), "timeout_ms = 60000").unwrap();
    let case = r#"{"name":"s","log":{"device_id":"d","log_level":"INFO","message":"S"}}"#;
    fs::write(parent.path().join("a.cases.ndjson"), case).unwrap();
    let runtime = proved_within(Duration::from_millis(200));
    let started = std::time::Instant::now();
    let registry = Registry::open(runtime, parent.path().to_owned(), RegistrySettings::default()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(registry.status()[0].refusal.as_ref().unwrap().contains("not proved within 200 ms"));
}

#[test]
fn a_slow_version_that_is_replaced_does_not_hold_up_the_next() {
    let folder = Folder::open_in(proved_within(Duration::from_secs(60)), &[], RegistrySettings::default());
    slow_cases(&folder, "a");
    folder.write("a.wasm", slow("a"));
    std::thread::sleep(Duration::from_millis(300));
    folder.remove("a.cases.ndjson");
    folder.write("a.wasm", filter("a", "2.0.0"));
    folder.serves(&["a@2.0.0"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_and_waited_for_by_nobody() {
    let folder = Folder::open(&[("a.wasm", &filter("a", "1.0.0")), ("b.wasm", &filter("b", "1.0.0"))]);
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(folder.path.join(name)).status().unwrap();
        assert!(made.success());
    };
    for name in ["a.toml", "b.cases.ndjson", "c.wasm"] {
        pipe(name);
    }
    pipe("a.rolled-back");
    fs::create_dir(folder.path.join("d.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path.join("e.wasm")).unwrap();
    for file in ["a.wasm", "b.wasm", "c.wasm", "d.wasm", "e.wasm"] {
        folder.state(file, PluginState::Refused);
        assert!(folder.status(file).refusal.unwrap().starts_with("cannot read "), "{file}");
    }
    assert_eq!(folder.names(), ["a@1.0.0", "b@1.0.0"], "the versions before serve on");
    folder.remove("a.toml");
    folder.state("a.wasm", PluginState::Active);
    folder.write("f.wasm", filter("f", "1.0.0"));
    folder.serves(&["a@1.0.0", "b@1.0.0", "f@1.0.0"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_no_plugin_may_have_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::open(&[("LOUD.WASM", &filter("loud", "1.0.0"))]);
    assert!(folder.status("LOUD.WASM").refusal.unwrap().contains("must end in .wasm, in lower case"));
    fs::write(folder.path.join(std::ffi::OsStr::from_bytes(b"odd-\xff.wasm")), "x").unwrap();
    folder.state("odd-\u{fffd}.wasm", PluginState::Refused);
    assert!(folder.status("odd-\u{fffd}.wasm").refusal.unwrap().contains("must be UTF-8"));
    assert!(folder.names().is_empty());
}

#[test]
fn a_folder_with_as_many_files_as_there_may_be_serves_them_all_and_one_more_is_refused() {
    let settings = RegistrySettings { files: 2, ..RegistrySettings::default() };
    let folder =
        Folder::open_with(&[("b.wasm", &filter("b", "1.0.0")), ("d.wasm", &filter("d", "1.0.0"))], settings);
    assert_eq!(folder.names(), ["b@1.0.0", "d@1.0.0"]);
    // What serves has its place before what comes, whatever it is called.
    folder.write("a.wasm", filter("a", "1.0.0"));
    folder.write("e.wasm", filter("e", "1.0.0"));
    folder.state("a.wasm", PluginState::Refused);
    let refusal = || folder.status("a.wasm").refusal.unwrap();
    eventually("both are counted", || refusal().contains("holds 4 .wasm files, and at most 2 are looked at"));
    assert_eq!(folder.names(), ["b@1.0.0", "d@1.0.0"]);
    folder.remove("d.wasm");
    folder.serves(&["a@1.0.0", "b@1.0.0"]);
}

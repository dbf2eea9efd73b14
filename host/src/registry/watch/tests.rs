use basin_core::event::{BudgetOverride, EventKind, FailureKind, Grants, SinkEntry};
use basin_core::time::Timestamp;
use basin_sinks::{Engine, EngineOptions};
use tempfile::TempDir;

use super::*;
use crate::registry::{Edit, Store};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Setup {
    _dir: TempDir,
    store: Store,
    current: Arc<ArcSwap<Loaded>>,
    watcher: Watcher,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::new(dir.path());
    store.create().expect("the directory is new");
    let engine = Engine::new(EngineOptions { calls_max: 2, ..EngineOptions::default() }).expect("wasmtime starts");
    let current = Arc::new(ArcSwap::from_pointee(Loaded::empty(NOW)));
    let watcher = Watcher::new(Loader::new(store.clone(), engine), current.clone());
    Setup { _dir: dir, store, current, watcher }
}

fn add(store: &Store, name: &str, octets: &[u8]) {
    let digest = store.put_component(octets).expect("the directory is there");
    let mut edit = Edit::begin(store).expect("the registry is right");
    edit.add_sink(&SinkEntry {
        name: name.to_owned(),
        digest,
        source: String::new(),
        grants: Grants::default(),
        budget: BudgetOverride::default(),
        secrets: Default::default(),
        config: Default::default(),
        is_enabled: true,
    });
    let event = EventKind::OnConnect;
    edit.add_binding(&basin_core::event::Binding {
        name: edit.before().free_binding_name(name, event),
        sink: name.to_owned(),
        event,
        rule: Default::default(),
        priority: 1,
        listener: None,
        mode: Default::default(),
        instance: Default::default(),
        on_failure: crate::registry::words::default_policy(event),
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    });
    edit.commit().expect("the registry is right");
}

#[test]
fn a_change_comes_into_force_and_none_is_none() {
    let mut setup = setup();
    assert_eq!(setup.watcher.look(NOW), Some(Change::Applied { generation: 1, problems: vec![] }));
    assert_eq!(setup.watcher.look(NOW), None);
    add(&setup.store, "a", b"no component");
    let change = setup.watcher.look(NOW);
    let Some(Change::Applied { generation: 2, problems }) = change else { unreachable!("{change:?}") };
    assert!(problems[0].starts_with("cannot load sink a: "), "{problems:?}");
    let loaded = setup.current.load();
    let binding = loaded.registry.bindings().next().expect("there is one");
    let failure = loaded.component(binding, binding.event).map(drop).expect_err("this is no component");
    assert_eq!((failure.kind, &failure.detail), (FailureKind::Load, &problems[0]));
    assert_eq!(setup.watcher.look(NOW), None);
}

#[test]
fn a_broken_file_keeps_the_old_one_in_force_until_it_is_mended() {
    let mut setup = setup();
    add(&setup.store, "a", b"no component");
    setup.watcher.look(NOW).expect("there is something to load");
    let right = fs::read_to_string(setup.store.file_path()).expect("the file is there");
    fs::write(setup.store.file_path(), format!("{right}\nbroken")).expect("the file is there");
    let change = setup.watcher.look(NOW);
    let Some(Change::Refused { why }) = change else { unreachable!("{change:?}") };
    assert!(why.contains("registry.toml:") && why.contains("this is no TOML"), "{why}");
    let loaded = setup.current.load_full();
    assert!(loaded.registry.sink("a").is_some(), "the old one stays in force");
    assert_eq!(loaded.broken, Some(Broken { since: NOW, why }));
    assert!(loaded.problems()[0].contains("is not in force since 2023-11-14T22:13:20Z"), "{:?}", loaded.problems());
    assert_eq!(setup.watcher.look(NOW), None);
    fs::write(setup.store.file_path(), format!("{right}\n# mended")).expect("the file is there");
    assert!(matches!(setup.watcher.look(NOW), Some(Change::Applied { generation: 2, .. })));
    assert_eq!(setup.current.load().broken, None);
}

#[test]
fn a_file_that_vanishes_does_not_switch_the_sinks_off() {
    let mut setup = setup();
    add(&setup.store, "a", b"no component");
    setup.watcher.look(NOW).expect("there is something to load");
    let away = setup.store.dir().join("registry.toml~");
    fs::rename(setup.store.file_path(), &away).expect("it is there");
    let change = setup.watcher.look(NOW);
    let Some(Change::Refused { why }) = change else { unreachable!("{change:?}") };
    assert!(why.contains("registry.toml is gone"), "{why}");
    assert!(setup.current.load().registry.sink("a").is_some());
    assert_eq!(setup.watcher.look(NOW), None);
    fs::rename(&away, setup.store.file_path()).expect("it is there");
    assert!(matches!(setup.watcher.look(NOW), Some(Change::Applied { .. })));
    fs::write(setup.store.file_path(), "version = 1\n").expect("the file is there");
    assert!(matches!(setup.watcher.look(NOW), Some(Change::Applied { .. })));
    assert!(setup.current.load().registry.sink("a").is_none(), "an empty registry is meant");
}

#[test]
fn a_component_that_comes_back_is_loaded_without_a_change_of_the_file() {
    let mut setup = setup();
    add(&setup.store, "a", b"no component");
    let digest = crate::registry::digest::of(b"no component");
    fs::remove_file(setup.store.component_path(&digest)).expect("it is there");
    setup.watcher.look(NOW).expect("there is something to load");
    assert!(setup.current.load().failures()["a"].contains("No such file"));
    assert_eq!(setup.watcher.look(NOW), None);
    setup.store.put_component(b"no component").expect("the directory is there");
    assert!(setup.watcher.look(NOW).is_some());
    assert!(!setup.current.load().failures()["a"].contains("No such file"));
}

#[tokio::test]
async fn the_task_applies_what_it_finds() {
    let setup = setup();
    add(&setup.store, "a", b"no component");
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let on_change = move |change: &Change| sender.send(change.clone()).expect("the test listens");
    let (prompt, prompts) = Prompt::channel();
    let task = tokio::spawn(watch(setup.watcher, prompts, || NOW, on_change));
    assert!(matches!(changes.recv().await, Some(Change::Applied { generation: 1, .. })));
    add(&setup.store, "b", b"no component");
    assert!(matches!(changes.recv().await, Some(Change::Applied { generation: 2, .. })));
    assert!(setup.current.load().registry.sink("b").is_some());
    add(&setup.store, "c", b"no component");
    assert!(prompt.look().await);
    assert!(setup.current.load().registry.sink("c").is_some(), "in force when it returns");
    task.abort();
    assert!(task.await.is_err_and(|ended| ended.is_cancelled()));
    assert!(!prompt.look().await, "nobody watches");
}

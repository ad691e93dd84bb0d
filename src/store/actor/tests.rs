use std::path::Path;
use std::sync::Mutex;

use actix::{Addr, Message};
use tokio::sync::Notify;

use actix::Handler;

use super::*;
use crate::bond::{AdapterRecord, BondTable};
use crate::store::files::{Files, Step};
use crate::store::messages::{StoreStateChanged, StoredAdapter};
use crate::store::testing::{ADAPTER, Failing, OTHER, adapter, same_tables, table_of};
use crate::store::{SealChoice, StoreOptions, inspect};

/// A test that waits longer than this has found a fault.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Persisted(AdapterAddress, u64),
    Failed(AdapterAddress, u64, StoreFault),
    State(StoreState),
}

/// Writes down what the store tells.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<Heard>>>,
    news: Arc<Notify>,
}

impl Diary {
    fn note(&self, line: Heard) {
        self.lines.lock().unwrap().push(line);
        self.news.notify_one();
    }

    fn lines(&self) -> Vec<Heard> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until a line is there.
    async fn wait_for(&self, wanted: impl Fn(&Heard) -> bool) {
        let wait = async {
            while !self.lines().iter().any(&wanted) {
                self.news.notified().await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, wait).await;
        assert!(outcome.is_ok(), "never heard; only {:?}", self.lines());
    }

    async fn wait_for_generation(&self, text: &str, generation: u64) {
        let wanted = adapter(text);
        self.wait_for(|line| matches!(line, Heard::Persisted(adapter, up_to) if *adapter == wanted && *up_to >= generation))
            .await;
    }
}

struct Listener(Diary);

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // As small as can be, so that the store has to try again.
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<BondsPersisted> for Listener {
    type Result = ();

    fn handle(&mut self, message: BondsPersisted, _: &mut Self::Context) {
        self.0.note(Heard::Persisted(message.adapter, message.generation));
    }
}

impl Handler<PersistFailed> for Listener {
    type Result = ();

    fn handle(&mut self, message: PersistFailed, _: &mut Self::Context) {
        self.0.note(Heard::Failed(message.adapter, message.generation, message.fault));
    }
}

impl Handler<StoreStateChanged> for Listener {
    type Result = ();

    fn handle(&mut self, message: StoreStateChanged, _: &mut Self::Context) {
        self.0.note(Heard::State(message.state));
    }
}

struct Running {
    store: Addr<StoreActor>,
    diary: Diary,
    stored: Vec<StoredAdapter>,
}

fn start(folder: &Path, files: Files) -> Running {
    start_with(folder, files, StoreOptions::default())
}

fn start_with(folder: &Path, files: Files, options: StoreOptions) -> Running {
    let (store, stored, _) =
        Store::open_with(folder, options, &SealChoice::default(), UnixMillis(1), files).unwrap();
    let diary = Diary::default();
    let listener = Listener(diary.clone()).start();
    let listeners = StoreListeners {
        persisted: vec![listener.clone().recipient()],
        failed: vec![listener.clone().recipient()],
        state: vec![listener.recipient()],
    };
    let store = StoreActor::new(store, listeners, || UnixMillis(2)).start();
    Running { store, diary, stored }
}

impl Running {
    async fn change(&self, text: &str, table: BondTable) {
        let record = AdapterRecord::default();
        self.ask(BondsChanged { adapter: adapter(text), table: table.into(), record }).await;
    }

    async fn ask<M>(&self, message: M) -> M::Result
    where
        M: Message + Send + 'static,
        M::Result: Send,
        StoreActor: Handler<M>,
    {
        self.store.send(message).await.unwrap()
    }
}

fn table_in(folder: &Path, text: &str) -> BondTable {
    let adapters = inspect(folder, None).unwrap().adapters;
    adapters.into_iter().find(|stored| stored.address == adapter(text)).unwrap().table
}

#[actix::test]
async fn a_change_is_durable_when_it_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    running.change(ADAPTER, table_of(1)).await;
    running.diary.wait_for_generation(ADAPTER, 1).await;
    // What a kill at this moment leaves behind.
    let contents = crate::store::open::read_copy(&Files::default(), &folder.path().join("sled")).unwrap();
    assert!(same_tables(&contents.adapters[&adapter(ADAPTER)].table, &table_of(1)));
    assert_eq!(running.diary.lines()[0], Heard::State(StoreState::Ok));
}

#[actix::test]
async fn a_storm_of_changes_is_written_in_few_commits_and_ends_with_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    for count in 1..=200 {
        running.change(ADAPTER, table_of(count)).await;
    }
    running.diary.wait_for_generation(ADAPTER, 200).await;
    let persisted = running.diary.lines().iter().filter(|line| matches!(line, Heard::Persisted(..))).count();
    assert!(persisted < 100, "{persisted} commits for 200 changes");
    assert_eq!(running.ask(Drain).await, Ok(()));
    assert!(same_tables(&table_in(folder.path(), ADAPTER), &table_of(200)));
}

#[actix::test]
async fn the_snapshot_follows_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    running.change(ADAPTER, table_of(2)).await;
    let path = folder.path().join("snapshots/00-1A-7D-DA-71-11.json");
    let wait = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok());
    // The service runs: this is read from the snapshot alone.
    assert!(same_tables(&table_in(folder.path(), ADAPTER), &table_of(2)));
}

#[actix::test]
async fn draining_flushes_past_the_debounce_writes_snapshots_and_lets_the_folder_go() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    for count in 1..=3 {
        running.change(ADAPTER, table_of(count)).await;
    }
    let record = AdapterRecord { last_index: Some(4), ..AdapterRecord::default() };
    running.ask(AdapterRecordChanged { adapter: adapter(OTHER), record: record.clone() }).await.unwrap();
    assert_eq!(running.ask(Drain).await, Ok(()));
    running.diary.wait_for_generation(ADAPTER, 3).await;
    for name in ["00-1A-7D-DA-71-11.json", "00-1A-7D-DA-71-12.json"] {
        assert!(folder.path().join("snapshots").join(name).exists(), "{name}");
    }
    assert_eq!(running.ask(Drain).await, Err(StoreFault::ShuttingDown));
    let checkpoint =
        SaveCheckpoint { adapter: adapter(ADAPTER), table: table_of(1).into(), reason: "manual".into() };
    assert_eq!(running.ask(checkpoint).await, Err(StoreFault::ShuttingDown));

    let again = start(folder.path(), Files::default());
    assert_eq!(again.stored.len(), 2);
    assert!(same_tables(&again.stored[0].table, &table_of(3)));
    assert_eq!(again.stored[1].record, record);
    again.diary.wait_for(|line| *line == Heard::State(StoreState::Ok)).await;
}

#[actix::test]
async fn what_is_known_of_an_adapter_reaches_the_snapshot_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing that follows the first change is due before the end.
    let never = StoreOptions { quiet: 2 * PATIENCE, ceiling: 4 * PATIENCE };
    let running = start_with(folder.path(), Files::default(), never);
    running.change(ADAPTER, table_of(1)).await;
    running.diary.wait_for_generation(ADAPTER, 1).await;
    let wait = async {
        while !folder.path().join("snapshots/00-1A-7D-DA-71-11.json").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok());
    let record = AdapterRecord { last_index: Some(7), ..AdapterRecord::default() };
    running.ask(AdapterRecordChanged { adapter: adapter(ADAPTER), record: record.clone() }).await.unwrap();
    assert_eq!(running.ask(Drain).await, Ok(()));
    std::fs::remove_dir_all(folder.path().join("sled")).unwrap();
    assert_eq!(start(folder.path(), Files::default()).stored[0].record, record);
}

#[actix::test]
async fn while_the_disk_is_full_nothing_is_acknowledged_and_it_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let running = start(folder.path(), Files::with_probe(disk.clone()));
    running.change(ADAPTER, table_of(1)).await;
    running.diary.wait_for_generation(ADAPTER, 1).await;
    disk.fail(libc::ENOSPC, &[]);
    running.change(ADAPTER, table_of(2)).await;
    let failed = Heard::Failed(adapter(ADAPTER), 2, StoreFault::DiskFull);
    running.diary.wait_for(|line| *line == failed).await;
    let failing = Heard::State(StoreState::Failing { fault: StoreFault::DiskFull });
    running.diary.wait_for(|line| *line == failing).await;
    assert!(!running.diary.lines().contains(&Heard::Persisted(adapter(ADAPTER), 2)));
    let begin = running.diary.lines().len();
    disk.mend();
    running.diary.wait_for_generation(ADAPTER, 2).await;
    let diary = running.diary.clone();
    diary.wait_for(|_| diary.lines()[begin..].contains(&Heard::State(StoreState::Ok))).await;
    assert_eq!(running.ask(Drain).await, Ok(()));
    assert!(same_tables(&table_in(folder.path(), ADAPTER), &table_of(2)));
}

#[actix::test]
async fn a_drain_that_cannot_commit_says_so_and_keeps_the_newest_in_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let running = start(folder.path(), Files::with_probe(disk.clone()));
    running.change(ADAPTER, table_of(1)).await;
    running.diary.wait_for_generation(ADAPTER, 1).await;
    disk.fail(libc::EIO, &[Step::Database]);
    running.change(ADAPTER, table_of(2)).await;
    assert!(matches!(running.ask(Drain).await, Err(StoreFault::Io(_))));
    let again = start(folder.path(), Files::default());
    assert!(same_tables(&again.stored[0].table, &table_of(2)));
    again.diary.wait_for(|line| matches!(line, Heard::State(StoreState::Rebuilt { .. }))).await;
}

#[actix::test]
async fn a_table_that_is_already_stored_is_confirmed_and_an_older_one_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    running.change(ADAPTER, table_of(3)).await;
    running.diary.wait_for_generation(ADAPTER, 3).await;
    running.change(ADAPTER, table_of(2)).await;
    running.change(ADAPTER, table_of(3)).await;
    let diary = running.diary.clone();
    let confirmed = Heard::Persisted(adapter(ADAPTER), 3);
    diary.wait_for(|_| diary.lines().iter().filter(|line| **line == confirmed).count() >= 2).await;
    assert_eq!(running.ask(Drain).await, Ok(()));
    assert!(same_tables(&table_in(folder.path(), ADAPTER), &table_of(3)));
}

#[actix::test]
async fn a_dropped_adapter_is_gone_and_may_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    running.change(ADAPTER, table_of(3)).await;
    running.change(OTHER, table_of(1)).await;
    running.diary.wait_for_generation(OTHER, 1).await;
    assert_eq!(running.ask(DropAdapter { adapter: adapter(ADAPTER) }).await, Ok(()));
    assert_eq!(running.ask(DropAdapter { adapter: adapter(OTHER) }).await, Ok(()));
    running.change(OTHER, table_of(2)).await;
    running.diary.wait_for_generation(OTHER, 2).await;
    assert_eq!(running.ask(Drain).await, Ok(()));
    let adapters = inspect(folder.path(), None).unwrap().adapters;
    assert_eq!(adapters.iter().map(|stored| stored.address).collect::<Vec<_>>(), [adapter(OTHER)]);
}

#[actix::test]
async fn a_drop_that_fails_is_said_and_the_adapter_stays() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let running = start(folder.path(), Files::with_probe(disk.clone()));
    running.change(ADAPTER, table_of(2)).await;
    running.diary.wait_for_generation(ADAPTER, 2).await;
    disk.fail(libc::EROFS, &[]);
    let dropped = running.ask(DropAdapter { adapter: adapter(ADAPTER) }).await;
    assert_eq!(dropped, Err(StoreFault::ReadOnly));
    disk.mend();
    assert_eq!(running.ask(Drain).await, Ok(()));
    assert!(same_tables(&table_in(folder.path(), ADAPTER), &table_of(2)));
}

#[actix::test]
async fn a_checkpoint_is_kept_listed_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), Files::default());
    let table: Arc<BondTable> = table_of(2).into();
    let save = SaveCheckpoint { adapter: adapter(ADAPTER), table, reason: "before_forget".into() };
    let saved = running.ask(save).await.unwrap();
    assert_eq!((saved.bond_count, saved.generation, saved.at), (2, 2, UnixMillis(2)));
    assert_eq!(running.ask(ListCheckpoints { adapter: None }).await, Ok(vec![saved.clone()]));
    let content = running.ask(ReadCheckpoint { label: saved.label }).await.ok().unwrap();
    assert!(same_tables(&content.table, &table_of(2)));
    let missing = running.ask(ReadCheckpoint { label: "none".to_owned() }).await.err();
    assert_eq!(missing, Some(StoreFault::NoSuchCheckpoint("none".to_owned())));
}

#[actix::test]
async fn a_store_that_opened_on_a_full_disk_writes_what_it_serves_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path(), Files::default());
    first.change(ADAPTER, table_of(2)).await;
    assert_eq!(first.ask(Drain).await, Ok(()));
    std::fs::remove_dir_all(folder.path().join("sled")).unwrap();
    let disk = Arc::new(Failing::default());
    disk.fail(libc::ENOSPC, &[]);
    let running = start(folder.path(), Files::with_probe(disk.clone()));
    assert!(same_tables(&running.stored[0].table, &table_of(2)));
    let failing = Heard::State(StoreState::Failing { fault: StoreFault::DiskFull });
    running.diary.wait_for(|line| *line == failing).await;
    disk.mend();
    running.diary.wait_for_generation(ADAPTER, 2).await;
}

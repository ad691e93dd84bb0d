//! Builds the actors, wires them, and takes them down in order.
//!
//! Start: store (nothing may be captured that cannot be kept) → management sockets → registry, MQTT,
//! watch → adapters. The watch has seen who else is there before the first adapter asks the gate.
//! Shutdown: MQTT stops taking requests → adapters announce what is waiting → store commits past the debounce →
//! the audit log is written → MQTT says goodbye. Keys stay in the kernel. Each step has a deadline of its own, and all of them fit the ten
//! seconds that a container is given. A panic anywhere ends the process with its message: the state is
//! durable, and a restart costs milliseconds, where a service that lost one of its actors would miss bonds in silence.

mod broker;
pub mod copies;
mod descriptors;
mod error;
pub mod exchange;
pub mod health;
mod panic;
mod probe;
pub mod seal;
mod witness;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;

use self::copies::{CopyKeeper, UseStore};
pub use self::error::AppError;
use self::error::advice;
use self::witness::Witness;
use crate::adapter::actor::AdapterActor;
use crate::adapter::machine::{AdapterMachine, AdapterOptions, Now};
use crate::adapter::messages::{Neighbourhood, NeighbourhoodChanged};
use crate::adapter::ports::AdapterPorts;
use crate::adapter::tables::TableSource;
use crate::audit::AuditActor;
use crate::audit::messages::{AuditListeners, DrainAudit};
use crate::bluez;
use crate::bond::{AdapterAddress, Mode, UnixMillis};
use crate::config::{EndpointSetting, Settings};
use crate::mgmt::{Channel, Endpoint, MgmtSocket, SocketError, filter};
use crate::mqtt::board::ServiceFacts;
use crate::mqtt::messages::{Drain as DrainMqtt, KernelKnown, StopRequests, Wire};
use crate::mqtt::topics::Topics;
use crate::mqtt::{MqttActor, MqttSetup};
use crate::registry::actor::{
    AdapterEntry, AdapterFactory, DrainAdapters, RegistryActor, RegistryPorts, StartRegistry,
};
use crate::registry::appearance::AppearanceSource;
use crate::store::messages::{Drain as DrainStore, StoreListeners, StoredAdapter};
use crate::store::{Store, StoreActor, StoreOptions};
use crate::telemetry::{self, LogControl};
use crate::watch::actor::WatchActor;

/// Threads for work that blocks: two exports or imports, the audit log, copies, the Supervisor's answer, the broker's name.
/// (The store has a thread of its own.) tokio wakes the one that has slept longest, so a trickle of work would keep
/// alive for ever whatever threads one burst has made, each with an arena of the allocator.
const BLOCKING_THREADS_MAX: usize = 6;

/// The store's folder within the data folder: the store sets the permissions of everything in its folder, and
/// Supervisor keeps a file of its own in the data folder.
pub const STORE_FOLDER: &str = "store";

/// How long the kernel may take to say whether it trusts our socket.
const TRUST_PATIENCE: Duration = Duration::from_secs(5);
/// For adapters to announce: they only move messages.
const DRAIN_ADAPTERS_DEADLINE: Duration = Duration::from_secs(1);
/// For the last commit and the snapshots, on a slow SD card.
const DRAIN_STORE_DEADLINE: Duration = Duration::from_secs(5);
/// For the last lines of the audit log.
const DRAIN_AUDIT_DEADLINE: Duration = Duration::from_secs(1);
/// For the goodbye to the broker.
const DRAIN_MQTT_DEADLINE: Duration = Duration::from_secs(2);

/// Runs the service until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> Result<(), AppError> {
    panic::end_process_on_panic();
    descriptors::reserve()?;
    let log = telemetry::start(settings.log_level);
    System::with_tokio_rt(runtime).block_on(async move {
        let stop = signals()?;
        serve(settings, log, stop).await
    })
}

/// One thread for everything that does not block, and few for what does.
fn runtime() -> tokio::runtime::Runtime {
    let made = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    made.unwrap_or_else(|error| panic!("the event loop cannot be made: {error}"))
}

/// Runs the service until `stop` is ready. Must be awaited inside an actix system.
pub async fn serve(
    settings: Settings,
    log: LogControl,
    stop: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let service = Service::start(settings, log).await?;
    stop.await;
    service.stop().await
}

fn signals() -> Result<impl Future<Output = ()>, AppError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The wall clock. Before 1970 is taken as 1970.
pub fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

struct Service {
    store: Addr<StoreActor>,
    audit: Addr<AuditActor>,
    registry: Addr<RegistryActor>,
    mqtt: Addr<MqttActor>,
    health: health::HealthSocket,
}

impl Service {
    async fn start(settings: Settings, log: LogControl) -> Result<Self, AppError> {
        let endpoint = endpoint(&settings);
        make_folder(&settings.data_dir)?;
        make_folder(&settings.export_dir)?;
        let folder = settings.data_dir.join(STORE_FOLDER);
        let seal = seal::choice(&settings.store)?;
        let (opened, stored, _) = Store::open(&folder, store_options(&settings), &seal, wall_clock())?;
        drop(seal);
        let sockets = Sockets::open(&endpoint).await?;

        let registry = RegistryActor::new(appearances(&settings)).start();
        let (exchange, exchange_ports) = exchange::Exchanger::new(&settings);
        let mqtt = MqttActor::launch(mqtt_setup(&settings, &endpoint, log, exchange)?);
        let fingerprint_key = opened.fingerprint_key();
        let copies = CopyKeeper::new(&settings).start();
        let listeners =
            AuditListeners { recorded: mqtt.clone().recipient(), state: mqtt.clone().recipient() };
        let audit = AuditActor::new(settings.data_dir.clone(), listeners).start();
        let witness = Witness::new(audit.clone().recipient()).start();
        let listeners = StoreListeners {
            persisted: vec![registry.clone().recipient(), copies.clone().recipient()],
            failed: vec![registry.clone().recipient()],
            state: vec![mqtt.clone().recipient(), witness.recipient()],
        };
        let store = StoreActor::new(opened, listeners, wall_clock).start();
        exchange_ports.connect(store.clone().recipient(), store.clone().recipient());
        let use_store = UseStore {
            read: store.clone().recipient(),
            save_checkpoint: store.clone().recipient(),
            adapters: stored.iter().map(|adapter| adapter.address).collect(),
        };
        let _ = copies.send(use_store).await;
        let wire = Wire {
            forget_adapter: registry.clone().recipient(),
            save_checkpoint: copies.clone().recipient(),
            audit: audit.clone().recipient(),
        };
        let _ = mqtt.send(wire).await;

        let neighbourhood = sockets.monitor.map(|socket| watch(socket, &registry));
        let _ = registry.send(NeighbourhoodChanged { seen: neighbourhood }).await;
        let ports = AdapterPorts {
            bonds_changed: store.clone().recipient(),
            record_changed: store.clone().recipient(),
            save_checkpoint: copies.clone().recipient(),
            read_checkpoint: store.clone().recipient(),
            audit: audit.clone().recipient(),
            state: mqtt.clone().recipient(),
            bonds: mqtt.clone().recipient(),
            events: mqtt.clone().recipient(),
        };
        let factory = adapter_factory(&settings, endpoint, ports, fingerprint_key);
        let ports = RegistryPorts {
            known: mqtt.clone().recipient(),
            forgotten: mqtt.clone().recipient(),
            drop_adapter: store.clone().recipient(),
            save_checkpoint: copies.recipient(),
        };
        let told = mqtt.clone();
        let version_known = Box::new(move |version: u8, revision: u16| {
            // A nicety of bridge/info: not worth waiting for.
            let _ = told.try_send(KernelKnown { mgmt_version: format!("{version}.{revision}") });
        });
        let start = StartRegistry { socket: sockets.control, stored, factory, ports, version_known };
        let _ = registry.send(start).await;
        if asks_bluetoothd(&settings) {
            tokio::task::spawn_local(bluez::watch(registry.clone().recipient()));
        }
        let health = health::HealthSocket::listen(&settings.data_dir, registry.clone());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), node = %settings.node, "bondkeeper is running");
        Ok(Self { store, audit, registry, mqtt, health })
    }

    async fn stop(self) -> Result<(), AppError> {
        tracing::info!("stopping");
        drop(self.health);
        let _ = self.mqtt.send(StopRequests).await;
        let _ = tokio::time::timeout(DRAIN_ADAPTERS_DEADLINE, self.registry.send(DrainAdapters)).await;
        let committed = tokio::time::timeout(DRAIN_STORE_DEADLINE, self.store.send(DrainStore)).await;
        // What the commit released to be said has to reach MQTT before it leaves.
        let _ = tokio::time::timeout(DRAIN_ADAPTERS_DEADLINE, self.registry.send(DrainAdapters)).await;
        let _ = tokio::time::timeout(DRAIN_AUDIT_DEADLINE, self.audit.send(DrainAudit)).await;
        let goodbye = self.mqtt.send(DrainMqtt { deadline: DRAIN_MQTT_DEADLINE });
        // Its own deadline comes first.
        let _ = tokio::time::timeout(DRAIN_MQTT_DEADLINE * 2, goodbye).await;
        match committed {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(fault))) => Err(AppError::LastCommit(fault.to_string())),
            Ok(Err(closed)) => Err(AppError::LastCommit(closed.to_string())),
            Err(_) => Err(AppError::LastCommit("the disk did not answer in time".to_owned())),
        }
    }
}

struct Sockets {
    control: MgmtSocket,
    /// None without CAP_NET_RAW.
    monitor: Option<MgmtSocket>,
}

impl Sockets {
    async fn open(endpoint: &Endpoint) -> Result<Self, AppError> {
        let socket = |source| AppError::Socket { source };
        let mut control =
            MgmtSocket::open(endpoint, Channel::Control, &filter::registry()).map_err(socket)?;
        control.check_trust(TRUST_PATIENCE).await.map_err(socket)?;
        let monitor = match MgmtSocket::open(endpoint, Channel::Monitor, &filter::monitor()) {
            Ok(monitor) => Some(monitor),
            Err(source @ SocketError::MissingNetRaw) => {
                tracing::warn!("{source}{}. Adapters in mode auto are held", advice(&source));
                None
            }
            Err(source) => return Err(AppError::Socket { source }),
        };
        Ok(Self { control, monitor })
    }
}

fn watch(socket: MgmtSocket, registry: &Addr<RegistryActor>) -> Neighbourhood {
    let watch = WatchActor::new(socket, registry.clone().recipient(), registry.clone().recipient());
    let neighbourhood = watch.neighbourhood();
    watch.start();
    neighbourhood
}

fn endpoint(settings: &Settings) -> Endpoint {
    match &settings.mgmt_endpoint {
        EndpointSetting::Kernel => Endpoint::Kernel,
        EndpointSetting::Simulated(folder) => {
            tracing::warn!(folder = %folder.display(), "the kernel is simulated: no real adapter is kept");
            Endpoint::Unix(folder.clone())
        }
    }
}

/// The host's own bluetoothd knows nothing of a simulated kernel: there, only a bus that was named is asked.
fn asks_bluetoothd(settings: &Settings) -> bool {
    let real = settings.mgmt_endpoint == EndpointSetting::Kernel;
    settings.dbus && (real || std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some())
}

fn appearances(settings: &Settings) -> AppearanceSource {
    match &settings.mgmt_endpoint {
        EndpointSetting::Kernel => AppearanceSource::of_kernel(),
        EndpointSetting::Simulated(folder) => AppearanceSource::of_simulation(folder),
    }
}

fn tables(settings: &Settings) -> TableSource {
    match &settings.mgmt_endpoint {
        EndpointSetting::Kernel => TableSource::of_kernel(),
        EndpointSetting::Simulated(folder) => TableSource::of_simulation(folder),
    }
}

fn store_options(settings: &Settings) -> StoreOptions {
    StoreOptions { quiet: settings.store.quiet, ceiling: settings.store.ceiling }
}

/// For its owner only, whatever it was made as. One that is so already may lie on a read-only disk.
fn make_folder(path: &std::path::Path) -> Result<(), AppError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    const MODE: u32 = 0o700;
    let make = || {
        if !path.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(MODE).create(path)?;
        }
        if std::fs::metadata(path)?.permissions().mode() & 0o777 == MODE {
            return Ok(());
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
    };
    make().map_err(|source| AppError::Folder { path: path.to_owned(), source })
}

fn adapter_factory(
    settings: &Settings,
    endpoint: Endpoint,
    ports: AdapterPorts,
    fingerprint_key: crate::bond::FingerprintKey,
) -> AdapterFactory {
    let adapters = settings.adapters.clone();
    let default_mode = move |address: AdapterAddress| -> Mode {
        adapters.modes.get(&address).copied().unwrap_or(adapters.default_mode)
    };
    let learn = settings.learn;
    let tables = tables(settings);
    Box::new(move |stored: StoredAdapter| {
        let address = stored.address;
        let now = Now { instant: std::time::Instant::now(), wall: wall_clock() };
        let options = AdapterOptions { default_mode: default_mode(address), learn };
        let machine = AdapterMachine::new(stored, options, fingerprint_key.clone(), now);
        let (endpoint, tables, ports) = (endpoint.clone(), tables.clone(), ports.clone());
        let actor = AdapterActor::new(address, endpoint, tables, machine, ports, wall_clock).start();
        AdapterEntry {
            handle: AdapterActor::handle(address, &actor),
            attach: actor.clone().recipient(),
            detach: actor.clone().recipient(),
            neighbours: actor.clone().recipient(),
            paired: actor.clone().recipient(),
            observed: actor.clone().recipient(),
            persisted: actor.clone().recipient(),
            persist_failed: actor.clone().recipient(),
            drain: actor.clone().recipient(),
            stop: actor.recipient(),
        }
    })
}

fn mqtt_setup(
    settings: &Settings,
    endpoint: &Endpoint,
    log: LogControl,
    exchange: Arc<exchange::Exchanger>,
) -> Result<MqttSetup, AppError> {
    let started_at = wall_clock();
    Ok(MqttSetup {
        topics: Topics::new(&settings.base_topic, &settings.node)?,
        broker: broker::source(settings)?,
        facts: ServiceFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: if matches!(endpoint, Endpoint::Kernel) { "kernel" } else { "simulated" },
            started_at,
            config: settings.to_public_json(),
            commands: settings.commands,
            log_level: settings.log_level,
        },
        exchange,
        set_log_level: Arc::new(move |level| {
            log.set(level);
            Ok(())
        }),
        discovery: settings.discovery,
        random: crate::mqtt::random,
        probe: Rc::new(move || probe::probe(started_at)),
        clock: wall_clock,
    })
}

//! The connection to the system bus, and the questions over it.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::time::{Duration, Instant};

use actix::Recipient;
use futures_core::Stream;
use zbus::fdo::ManagedObjects;
use zbus::{Connection, MessageStream, OwnedVariant, Variant, connection};

use super::objects::{Objects, Property, paired};
use super::schedule::Schedule;
use crate::adapter::messages::BluetoothdSeen;

const BLUEZ: &str = "org.bluez";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// Interfaces whose properties are read.
const INTERFACES: [&str; 2] = ["org.bluez.Adapter1", "org.bluez.Device1"];

/// How long an answer may take. bluetoothd answers within milliseconds; a stuck one must not hold the connection.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to reach a bus that is not there. Hosts without one never get it.
const RETRY: Duration = Duration::from_secs(5 * 60);

/// Watches bluetoothd for as long as the service runs, and tells what it says after each asking. The bus is where
/// D-Bus's own rules say: `DBUS_SYSTEM_BUS_ADDRESS`, or the usual socket.
pub async fn watch(told: Recipient<BluetoothdSeen>) {
    let mut reported = false;
    loop {
        match follow(&told).await {
            Ok(()) => tracing::info!("the connection to the system bus has ended"),
            // Hosts without a bus are common, and nothing is wrong with them.
            Err(error) if !reported => {
                tracing::info!(%error, "bluetoothd cannot be asked over D-Bus, and what it calls paired is not known");
                reported = true;
            }
            Err(error) => tracing::debug!(%error, "asking over D-Bus"),
        }
        if told.send(BluetoothdSeen { adapters: None }).await.is_err() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Until the connection ends.
async fn follow(told: &Recipient<BluetoothdSeen>) -> zbus::Result<()> {
    let connection = connection::Builder::system().method_timeout(ANSWER_PATIENCE).build().await?;
    let mut owners = MessageStream::for_match_rule(
        format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{BLUEZ}'")
            .as_str(),
        &connection,
        None,
    )
    .await?;
    let mut schedule = Schedule::default();
    let mut owner = current_owner(&connection).await;
    if owner.is_some() {
        schedule.appeared(Instant::now());
    }
    loop {
        let due = schedule.next();
        tokio::select! {
            signal = poll_fn(|context| std::pin::Pin::new(&mut owners).poll_next(context)) => {
                let Some(signal) = signal else { return Ok(()) };
                let signal = signal?;
                let (_, _, new_owner): (String, String, String) = signal.body().deserialize()?;
                owner = Some(new_owner).filter(|name| !name.is_empty());
                match owner {
                    Some(_) => schedule.appeared(Instant::now()),
                    None => {
                        schedule.vanished();
                        let _ = told.send(BluetoothdSeen { adapters: None }).await;
                    }
                }
            }
            () = sleep_until(due) => {
                if let Some(owner) = &owner {
                    ask(&connection, owner, told).await;
                }
                schedule.asked(Instant::now());
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn current_owner(connection: &Connection) -> Option<String> {
    let answer = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetNameOwner", &(BLUEZ,)).await;
    answer.ok()?.body().deserialize().ok()
}

/// Asks by the owner's own name: by bluetoothd's, a bus would start it.
async fn ask(connection: &Connection, owner: &str, told: &Recipient<BluetoothdSeen>) {
    let manager = Some("org.freedesktop.DBus.ObjectManager");
    let answer = connection.call_method(Some(owner), "/", manager, "GetManagedObjects", &()).await;
    let objects = answer.and_then(|answer| answer.body().deserialize::<ManagedObjects>());
    match objects {
        Ok(objects) => {
            let mut adapters = paired(&plain(objects));
            for paired in adapters.values_mut() {
                owner.clone_into(&mut paired.instance);
            }
            let counts: Vec<String> = adapters
                .iter()
                .map(|(adapter, paired)| {
                    format!("{adapter}: {}", paired.peers.len() + paired.unreadable_count)
                })
                .collect();
            tracing::debug!(adapters = counts.join(", "), "bluetoothd calls peers paired");
            let _ = told.send(BluetoothdSeen { adapters: Some(adapters) }).await;
        }
        Err(error) => tracing::debug!(%error, "asking bluetoothd for its devices"),
    }
}

fn plain(objects: ManagedObjects) -> Objects {
    let wanted = |interface: &str| INTERFACES.contains(&interface);
    let objects = objects.into_iter().map(|(path, interfaces)| {
        let interfaces = interfaces
            .into_iter()
            .filter(|(interface, _)| wanted(interface.as_str()))
            .map(|(interface, properties)| (interface.as_str().to_owned(), plain_properties(properties)));
        (path.as_str().to_owned(), interfaces.collect())
    });
    objects.collect()
}

fn plain_properties(properties: HashMap<String, OwnedVariant>) -> BTreeMap<String, Property> {
    properties.into_iter().map(|(name, value)| (name, property(&value))).collect()
}

fn property(value: &OwnedVariant) -> Property {
    match &**value {
        Variant::Bool(flag) => Property::Flag(*flag),
        Variant::Str(text) => Property::Text(text.as_str().to_owned()),
        Variant::ObjectPath(path) => Property::Text(path.as_str().to_owned()),
        _ => Property::Other,
    }
}

//! The Load commands: each replaces a whole list of one controller.

use std::collections::BTreeSet;

use super::controller::Controller;
use super::records::{ConnectionParameters, Irk, LinkKey, Ltk};
use super::wire::{op, read_u16, status};

/// A blocked key: kind u8 (0 link key, 1 LTK, 2 IRK), value 16.
const BLOCKED_KEY_OCTETS: usize = 17;
const BLOCKED_LINK_KEY: u8 = 0;
const BLOCKED_LTK: u8 = 1;
const BLOCKED_IRK: u8 = 2;

/// Carries out a Load command. `lenient`: a bad record is skipped, as the newer
/// kernels do; otherwise it costs the whole list. An error is the status, and
/// leaves the tables as they were.
pub(super) fn load(
    controller: &mut Controller,
    opcode: u16,
    parameters: &[u8],
    lenient: bool,
) -> Result<(), u8> {
    match opcode {
        op::LOAD_LTKS => load_ltks(controller, parameters, lenient),
        op::LOAD_IRKS => load_irks(controller, parameters),
        op::LOAD_LINK_KEYS => load_link_keys(controller, parameters, lenient),
        op::LOAD_CONNECTION_PARAMETERS => load_connection_parameters(controller, parameters),
        _ => set_blocked_keys(controller, parameters),
    }
}

/// The records of a list: a count, then that many, exactly.
fn records(parameters: &[u8], octets: usize) -> Result<Vec<&[u8]>, u8> {
    let count = read_u16(parameters, 0).ok_or(status::INVALID_PARAMETERS)?;
    let rest = &parameters[2..];
    if rest.len() != usize::from(count) * octets {
        return Err(status::INVALID_PARAMETERS);
    }
    Ok(rest.chunks(octets).collect())
}

fn load_ltks(controller: &mut Controller, parameters: &[u8], lenient: bool) -> Result<(), u8> {
    let list: Vec<Ltk> = records(parameters, Ltk::OCTETS)?.into_iter().filter_map(Ltk::read).collect();
    if !lenient && list.iter().any(Ltk::is_malformed) {
        return Err(status::INVALID_PARAMETERS);
    }
    controller.ltks.clear();
    for ltk in list {
        if !ltk.is_skipped() && !controller.is_blocked(BLOCKED_LTK, &ltk.value) {
            ltk.file_into(&mut controller.ltks);
        }
    }
    Ok(())
}

/// The one list that old and new kernels refuse as a whole.
fn load_irks(controller: &mut Controller, parameters: &[u8]) -> Result<(), u8> {
    let list: Vec<Irk> = records(parameters, Irk::OCTETS)?.into_iter().filter_map(Irk::read).collect();
    if list.iter().any(|irk| !irk.address.is_le_identity()) {
        return Err(status::INVALID_PARAMETERS);
    }
    controller.irks.clear();
    for irk in list {
        if !controller.is_blocked(BLOCKED_IRK, &irk.value) {
            irk.file_into(&mut controller.irks);
        }
    }
    controller.asks_for_irks = true;
    Ok(())
}

fn load_link_keys(controller: &mut Controller, parameters: &[u8], lenient: bool) -> Result<(), u8> {
    if controller.le_only {
        return Err(status::NOT_SUPPORTED);
    }
    let (debug_keys, rest) = parameters.split_first().ok_or(status::INVALID_PARAMETERS)?;
    let list = records(rest, LinkKey::OCTETS)?;
    if *debug_keys > 1 {
        return Err(status::INVALID_PARAMETERS);
    }
    let list: Vec<LinkKey> = list.into_iter().filter_map(LinkKey::read).collect();
    if !lenient && list.iter().any(LinkKey::is_malformed) {
        return Err(status::INVALID_PARAMETERS);
    }
    controller.link_keys.clear();
    for key in list {
        if !key.is_skipped() && !controller.is_blocked(BLOCKED_LINK_KEY, &key.value) {
            key.file_into(&mut controller.link_keys);
        }
    }
    Ok(())
}

fn load_connection_parameters(controller: &mut Controller, parameters: &[u8]) -> Result<(), u8> {
    let list = records(parameters, ConnectionParameters::OCTETS)?;
    controller.connection_parameters.clear();
    for record in list.into_iter().filter_map(ConnectionParameters::read) {
        if !record.is_skipped() {
            controller.connection_parameters.retain(|held| held.address != record.address);
            controller.connection_parameters.insert(0, record);
        }
    }
    Ok(())
}

fn set_blocked_keys(controller: &mut Controller, parameters: &[u8]) -> Result<(), u8> {
    let list = records(parameters, BLOCKED_KEY_OCTETS)?;
    let mut blocked = BTreeSet::new();
    for record in list {
        let (kind, value) = (record[0], record[1..].try_into().map_err(|_| status::INVALID_PARAMETERS)?);
        if kind > BLOCKED_IRK {
            return Err(status::INVALID_PARAMETERS);
        }
        blocked.insert((kind, value));
    }
    controller.blocked = blocked;
    Ok(())
}

//! The fields of a record that come from other systems.

use zeroize::Zeroizing;

use super::{Writer, key, number, tag, take, text};
use crate::bond::details::OPAQUE_ITEMS_MAX;
use crate::bond::{
    AdapterRecord, Appearance, EncryptionSize, Fingerprint, IdentityRecord, Irk, KeySecurity, LocalIdentity,
    OpaqueItem, PeerDetails, Privacy, RolePreference, ServiceUuid, UnixMillis,
};

/// Stands for a yes-or-no that is not known.
const UNKNOWN: u8 = 2;
/// Stands for limited privacy, as 2 is taken.
const LIMITED: u8 = 3;

impl Writer {
    pub(super) fn details(&mut self, details: &PeerDetails) {
        for (tag, value) in [(tag::ALIAS, &details.alias), (tag::MANAGER, &details.manager)] {
            if let Some(value) = value {
                self.text(tag, value);
            }
        }
        if details.trusted.is_some() || details.blocked.is_some() {
            self.field(tag::USER_WORD, &[&[flag(details.trusted), flag(details.blocked)]]);
        }
        if details.orphaned {
            self.field(tag::ORPHANED, &[]);
        }
        if let Some(outdated) = details.outdated {
            self.field(tag::OUTDATED, &[&outdated.to_octets()]);
        }
        for (tag, services) in
            [(tag::SERVICES, &details.services), (tag::BREDR_SERVICES, &details.bredr_services)]
        {
            if !services.is_empty() {
                self.field(tag, &[services.as_flattened()]);
            }
        }
        if let Some(role) = details.role_preference {
            self.text(tag::ROLE_PREFERENCE, role.as_str());
        }
        if let Some(identifier) = details.identifier {
            self.number(tag::IDENTIFIER, identifier);
        }
        for (tag, security) in
            [(tag::IRK_SECURITY, details.irk_security), (tag::CSRK_SECURITY, details.csrk_security)]
        {
            if let Some(security) = security {
                let octets = [
                    u8::from(security.authenticated),
                    u8::from(security.secure_connections),
                    security.encryption_size.octets(),
                ];
                self.field(tag, &[&octets]);
            }
        }
        if let Some(size) = details.link_key_size {
            self.field(tag::LINK_KEY_SIZE, &[&[size.octets()]]);
        }
        self.opaque(&details.opaque);
    }

    pub(super) fn local_identity(&mut self, identity: &LocalIdentity) {
        let privacy = match identity.privacy {
            None => UNKNOWN,
            Some(Privacy::Limited) => LIMITED,
            Some(privacy) => privacy.code(),
        };
        self.field(tag::LOCAL_IDENTITY, &[identity.irk.key.expose(), &[privacy]]);
    }

    /// Restored (1), time (8), inode (8), boot id.
    pub(super) fn identity_held(&mut self, held: &IdentityRecord) {
        let IdentityRecord { appearance, at, restored } = held;
        let numbers = [at.0, appearance.inode].map(u64::to_le_bytes);
        let parts: [&[u8]; 3] =
            [&[u8::from(*restored)], numbers.as_flattened(), appearance.boot_id.as_bytes()];
        self.field(tag::IDENTITY_HELD, &parts);
    }

    /// Each item as: length of the format's word (1), the word, length of the name (1), the name, the value.
    pub(super) fn opaque(&mut self, items: &[OpaqueItem]) {
        for item in items.iter().take(OPAQUE_ITEMS_MAX) {
            let (Ok(format), Ok(name)) = (u8::try_from(item.format.len()), u8::try_from(item.name.len()))
            else {
                continue;
            };
            let parts: [&[u8]; 5] =
                [&[format], item.format.as_bytes(), &[name], item.name.as_bytes(), &item.value];
            self.field(tag::OPAQUE, &parts);
        }
    }
}

pub(super) fn field(details: &mut PeerDetails, tag: u8, octets: &[u8]) -> Option<()> {
    match tag {
        tag::ALIAS => details.alias = Some(text(octets)?.to_owned()),
        tag::MANAGER => details.manager = Some(text(octets)?.to_owned()),
        tag::ORPHANED => details.orphaned = true,
        tag::OUTDATED => details.outdated = Some(Fingerprint::from_octets(take(octets)?)),
        tag::USER_WORD => {
            let [trusted, blocked] = take(octets)?;
            (details.trusted, details.blocked) = (read_flag(trusted)?, read_flag(blocked)?);
        }
        tag::SERVICES => details.services = services(octets)?,
        tag::BREDR_SERVICES => details.bredr_services = services(octets)?,
        tag::ROLE_PREFERENCE => {
            details.role_preference = Some(RolePreference::from_word(text(octets)?)?);
        }
        tag::IDENTIFIER => details.identifier = Some(number(octets)?),
        tag::IRK_SECURITY => details.irk_security = Some(security(octets)?),
        tag::CSRK_SECURITY => details.csrk_security = Some(security(octets)?),
        tag::LINK_KEY_SIZE => {
            let [size] = take(octets)?;
            details.link_key_size = Some(EncryptionSize::new(size).ok()?);
        }
        tag::OPAQUE => details.opaque.push(opaque(octets)?),
        _ => {}
    }
    Some(())
}

pub(super) fn adapter_field(record: &mut AdapterRecord, tag: u8, octets: &[u8]) -> Option<()> {
    match tag {
        tag::LOCAL_IDENTITY => {
            let (irk, rest) = octets.split_at_checked(16)?;
            let privacy = match take(rest)? {
                [UNKNOWN] => None,
                [LIMITED] => Some(Privacy::Limited),
                [code] => Some(Privacy::from_code(code)?),
            };
            record.local_identity = Some(LocalIdentity { irk: Irk { key: key(irk)? }, privacy });
        }
        tag::IDENTITY_HELD => {
            let (head, boot_id) = octets.split_at_checked(17)?;
            let (restored, numbers) = head.split_first()?;
            let (at, inode) = numbers.split_at(8);
            let appearance =
                Appearance { boot_id: text(boot_id)?.to_owned(), inode: u64::from_le_bytes(take(inode)?) };
            let at = UnixMillis(u64::from_le_bytes(take(at)?));
            let held = IdentityRecord { appearance, at, restored: read_flag(*restored)?? };
            record.identity_held = Some(Box::new(held));
        }
        tag::OPAQUE => record.opaque.push(opaque(octets)?),
        _ => {}
    }
    Some(())
}

fn flag(value: Option<bool>) -> u8 {
    value.map_or(UNKNOWN, u8::from)
}

const fn read_flag(octet: u8) -> Option<Option<bool>> {
    match octet {
        0 => Some(Some(false)),
        1 => Some(Some(true)),
        UNKNOWN => Some(None),
        _ => None,
    }
}

fn services(octets: &[u8]) -> Option<Vec<ServiceUuid>> {
    let (services, rest) = octets.as_chunks::<16>();
    rest.is_empty().then(|| services.to_vec())
}

fn security(octets: &[u8]) -> Option<KeySecurity> {
    let [authenticated, secure_connections, size] = take(octets)?;
    Some(KeySecurity {
        authenticated: read_flag(authenticated)??,
        secure_connections: read_flag(secure_connections)??,
        encryption_size: EncryptionSize::new(size).ok()?,
    })
}

fn opaque(octets: &[u8]) -> Option<OpaqueItem> {
    let (format, rest) = counted(octets)?;
    let (name, value) = counted(rest)?;
    Some(OpaqueItem { format, name, value: Zeroizing::new(value.to_vec()) })
}

fn counted(octets: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = octets.split_first()?;
    let (word, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((text(word)?.to_owned(), rest))
}

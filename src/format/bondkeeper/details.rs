//! What came from other systems, in the project's own format.
//!
//! Fields are declared in the order of their names, as everywhere under `adapters`.

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::write::Hex;
use crate::bond::details::{OPAQUE_ITEM_OCTETS_MAX, OPAQUE_ITEMS_MAX, OPAQUE_NAME_OCTETS_MAX, SERVICES_MAX};
use crate::bond::{
    Fingerprint, Irk, KeySecurity, LocalIdentity, OpaqueItem, PeerDetails, Privacy, RolePreference,
    ServiceUuid,
};
use crate::format::check;
use crate::format::json::{Bad, Json};

/// Stands for privacy that ends while the adapter is discoverable.
const LIMITED: &str = "limited";

const DETAILS_FIELDS: [&str; 12] = [
    "alias",
    "blocked",
    "bredr_services",
    "csrk_security",
    "identifier",
    "irk_security",
    "link_key_size",
    "manager",
    "opaque",
    "role_preference",
    "services",
    "trusted",
];

#[derive(Serialize)]
pub(super) struct DetailsDto<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bredr_services: Vec<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrk_security: Option<SecurityDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    irk_security: Option<SecurityDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_key_size: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opaque: Vec<OpaqueDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_preference: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<bool>,
}

#[derive(Serialize)]
struct SecurityDto {
    authenticated: bool,
    enc_size: u8,
    secure_connections: bool,
}

#[derive(Serialize)]
pub(super) struct OpaqueDto<'a> {
    format: &'a str,
    name: &'a str,
    value: LongHex<'a>,
}

/// What this node has seen of a bond: in its own copies only.
#[derive(Serialize)]
pub(super) struct ObservedDto {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    orphaned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outdated: Option<String>,
}

#[derive(Serialize)]
pub(super) struct LocalIdentityDto<'a> {
    irk: Hex<'a>,
    #[serde(serialize_with = "privacy_word")]
    privacy: Option<Privacy>,
}

fn privacy_word<S: Serializer>(privacy: &Option<Privacy>, serializer: S) -> Result<S::Ok, S::Error> {
    match privacy {
        None => serializer.serialize_none(),
        Some(Privacy::Limited) => serializer.serialize_str(LIMITED),
        Some(privacy) => serializer.serialize_bool(*privacy == Privacy::On),
    }
}

/// Octets of any number as hexadecimal digits.
struct LongHex<'a>(&'a [u8]);

impl Serialize for LongHex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(self.0)))
    }
}

impl<'a> DetailsDto<'a> {
    pub fn of(details: &'a PeerDetails) -> Self {
        let services = |list: &'a [ServiceUuid]| list.iter().map(|uuid| Hex(uuid)).collect();
        Self {
            alias: details.alias.as_deref().map(check::shortened),
            blocked: details.blocked,
            bredr_services: services(&details.bredr_services),
            csrk_security: details.csrk_security.map(SecurityDto::of),
            identifier: details.identifier,
            irk_security: details.irk_security.map(SecurityDto::of),
            link_key_size: details.link_key_size.map(crate::bond::EncryptionSize::octets),
            manager: details.manager.as_deref().map(check::shortened),
            opaque: details.opaque.iter().map(OpaqueDto::of).collect(),
            role_preference: details.role_preference.map(RolePreference::as_str),
            services: services(&details.services),
            trusted: details.trusted,
        }
    }
}

impl ObservedDto {
    /// None where there is nothing to say.
    pub fn of(details: &PeerDetails) -> Option<Self> {
        let outdated = details.outdated.map(|outdated| hex::encode(outdated.to_octets()));
        (details.orphaned || outdated.is_some()).then_some(Self { orphaned: details.orphaned, outdated })
    }
}

impl SecurityDto {
    const fn of(security: KeySecurity) -> Self {
        Self {
            authenticated: security.authenticated,
            enc_size: security.encryption_size.octets(),
            secure_connections: security.secure_connections,
        }
    }
}

impl<'a> OpaqueDto<'a> {
    pub fn of(item: &'a OpaqueItem) -> Self {
        Self { format: &item.format, name: &item.name, value: LongHex(&item.value) }
    }
}

impl<'a> LocalIdentityDto<'a> {
    pub fn of(identity: &'a LocalIdentity) -> Self {
        Self { irk: Hex(identity.irk.key.expose()), privacy: identity.privacy }
    }
}

pub(super) fn peer_details(json: &Json) -> Result<PeerDetails, Bad> {
    let fields = json.as_fields()?;
    if let Some(name) = fields.unknown(&DETAILS_FIELDS).next() {
        return Err(Bad::new("is not known to this release").in_field(name));
    }
    let role = |json: &Json| {
        RolePreference::from_word(json.as_text()?).ok_or_else(|| Bad::new("is neither leader nor follower"))
    };
    Ok(PeerDetails {
        alias: fields.optional("alias", check::name)?,
        blocked: fields.optional("blocked", Json::as_bool)?,
        bredr_services: fields.optional("bredr_services", services)?.unwrap_or_default(),
        csrk_security: fields.optional("csrk_security", security)?,
        identifier: fields.optional("identifier", Json::as_integer)?,
        irk_security: fields.optional("irk_security", security)?,
        link_key_size: fields.optional("link_key_size", check::encryption_size)?,
        manager: fields.optional("manager", check::name)?,
        opaque: fields.optional("opaque", opaque)?.unwrap_or_default(),
        // See [`observe`].
        orphaned: false,
        outdated: None,
        role_preference: fields.optional("role_preference", role)?,
        services: fields.optional("services", services)?.unwrap_or_default(),
        trusted: fields.optional("trusted", Json::as_bool)?,
    })
}

/// Takes what this node has seen. It is no property of the bond: on another host, or after the user's own word in
/// an import, it says nothing.
pub(super) fn observe(json: &Json, details: &mut PeerDetails) -> Result<(), Bad> {
    let fields = json.as_fields()?;
    details.orphaned = fields.optional("orphaned", Json::as_bool)?.unwrap_or_default();
    details.outdated = fields.optional("outdated", check::octets)?.map(Fingerprint::from_octets);
    Ok(())
}

pub(super) fn local_identity(json: &Json) -> Result<LocalIdentity, Bad> {
    let fields = json.as_fields()?;
    Ok(LocalIdentity {
        irk: Irk { key: fields.required("irk", check::key)? },
        privacy: fields.nullable("privacy", privacy)?,
    })
}

fn privacy(json: &Json) -> Result<Privacy, Bad> {
    if json.as_text().is_ok_and(|word| word == LIMITED) {
        return Ok(Privacy::Limited);
    }
    let on = json.as_bool().map_err(|_| Bad::new("is neither true, false nor \"limited\""))?;
    Ok(if on { Privacy::On } else { Privacy::Off })
}

pub(super) fn opaque(json: &Json) -> Result<Vec<OpaqueItem>, Bad> {
    let list = json.as_list()?;
    if list.len() > OPAQUE_ITEMS_MAX {
        return Err(Bad::new(format!("has more than {OPAQUE_ITEMS_MAX} entries")));
    }
    let bounded = |json: &Json| {
        let text = json.as_text()?;
        if text.len() > OPAQUE_NAME_OCTETS_MAX {
            return Err(Bad::new(format!("is longer than {OPAQUE_NAME_OCTETS_MAX} octets")));
        }
        Ok(text.to_owned())
    };
    let item = |json: &Json| {
        let fields = json.as_fields()?;
        Ok(OpaqueItem {
            format: fields.required("format", bounded)?,
            name: fields.required("name", bounded)?,
            value: fields.required("value", opaque_value)?,
        })
    };
    list.iter().enumerate().map(|(at, json)| item(json).map_err(|bad: Bad| bad.in_item(at))).collect()
}

fn opaque_value(json: &Json) -> Result<Zeroizing<Vec<u8>>, Bad> {
    let text = json.as_text()?;
    if text.len() > OPAQUE_ITEM_OCTETS_MAX * 2 {
        return Err(Bad::new(format!("is longer than {OPAQUE_ITEM_OCTETS_MAX} octets")));
    }
    hex::decode(text).map(Zeroizing::new).map_err(|_| Bad::new("is not an even number of hexadecimal digits"))
}

fn services(json: &Json) -> Result<Vec<ServiceUuid>, Bad> {
    let list = json.as_list()?;
    if list.len() > SERVICES_MAX {
        return Err(Bad::new(format!("has more than {SERVICES_MAX} entries")));
    }
    list.iter().enumerate().map(|(at, json)| check::octets(json).map_err(|bad| bad.in_item(at))).collect()
}

fn security(json: &Json) -> Result<KeySecurity, Bad> {
    let fields = json.as_fields()?;
    Ok(KeySecurity {
        authenticated: fields.required("authenticated", Json::as_bool)?,
        secure_connections: fields.required("secure_connections", Json::as_bool)?,
        encryption_size: fields.required("enc_size", check::encryption_size)?,
    })
}

//! The stable words that errors carry, and the error itself.

use std::fmt;

use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a request was not carried out. The words are part of the public contract: one is
        /// never renamed and never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in the error.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word),+
                }
            }
        }
    };
}

codes! {
    /// The body is no JSON, or no JSON object, or names a field twice.
    BadJson = "bad_json",
    /// The body, or the answer that it asks for, is larger than the limit.
    TooLarge = "too_large",
    /// There is no such verb.
    UnknownVerb = "unknown_verb",
    /// The verb has no such field.
    UnknownField = "unknown_field",
    /// A field that the verb needs is not there.
    MissingField = "missing_field",
    /// A field holds something that it cannot hold.
    InvalidValue = "invalid_value",
    /// The request was published as retained: it would run again at every start.
    RetainedRequest = "retained_request",
    /// The service's options switch this verb off.
    NotPermitted = "not_permitted",
    /// This version cannot do it.
    NotSupported = "not_supported",
    /// The service is shutting down.
    ShuttingDown = "shutting_down",
    /// Too much is being carried out at the moment.
    Busy = "busy",
    /// No adapter of that address is known.
    AdapterUnknown = "adapter_unknown",
    /// The adapter is not plugged in.
    AdapterAbsent = "adapter_absent",
    /// The adapter is plugged in, and the verb is for absent ones.
    AdapterPresent = "adapter_present",
    /// The bonds were made by another adapter.
    AdapterMismatch = "adapter_mismatch",
    /// The adapter has no bond with that peer.
    PeerUnknown = "peer_unknown",
    /// A public and a random peer have the same address: name the type.
    PeerAmbiguous = "peer_ambiguous",
    /// There is no such format, or the input is of none that is known.
    FormatUnknown = "format_unknown",
    /// The input does not follow its format; the message names the place.
    FormatInvalid = "format_invalid",
    /// The format cannot hold everything there is to export, and that was not allowed.
    ExportLossy = "export_lossy",
    /// Keys go over MQTT only when they are sealed.
    SealRequired = "seal_required",
    /// The sealed input was not opened: the passphrase is wrong or missing, or the file is damaged.
    SealNotOpened = "seal_not_opened",
    /// The export folder has no such file.
    FileUnknown = "file_unknown",
    /// A file in the export folder could not be read or written.
    FileFailed = "file_failed",
    /// There is no such checkpoint.
    CheckpointUnknown = "checkpoint_unknown",
    /// The bonds have changed since the plan was made.
    PlanStale = "plan_stale",
    /// There is no operation to undo, or nothing is left of it.
    NothingToUndo = "nothing_to_undo",
    /// The restore may lose more than its input says: look at the plan first, and send its id.
    PlanNeeded = "plan_needed",
    /// The gate holds the adapter: nothing is loaded into the kernel.
    Held = "held",
    /// The kernel refused.
    KernelRefused = "kernel_refused",
    /// The kernel, or the adapter on its behalf, did not answer in time.
    KernelTimeout = "kernel_timeout",
    /// The adapter holds as many bonds as are kept.
    TableFull = "table_full",
    /// The store cannot be read.
    StoreUnreadable = "store_unreadable",
    /// The store cannot be written: the disk or the folder is read-only.
    StoreReadOnly = "store_read_only",
    /// The store cannot be written.
    StoreFailed = "store_failed",
    /// The disk is full.
    DiskFull = "disk_full",
    /// A fault of the service itself; the log says more.
    Internal = "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was not carried out, as the client is told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: Code,
    /// For people: what is wrong and what they can do. Never holds a value of the request.
    pub message: String,
    /// What a program may want to know besides; mostly empty.
    pub data: Map<String, Value>,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Map::new() }
    }

    /// Adds a field to `data`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_snake_case_word_of_its_own() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for word in &words {
            assert!(word.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'), "{word}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }
}

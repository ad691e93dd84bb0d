//! What somebody hands over, whatever it is: a file or a folder, sealed or not, in a format that is named or has
//! to be found out.

use zeroize::Zeroizing;

use super::sealed::{self, Openers, SealError};
use super::tree::TAR_OCTETS_MAX;
use super::{BONDKEEPER_OCTETS_MAX, Content, FormatError, FormatId, ImportOptions, Imported, detect, import};

/// Longest file that is worth reading: the largest of any format, sealed.
pub const PARCEL_OCTETS_MAX: usize = sealed::sealed_octets_max(OPENED_OCTETS_MAX);

/// Longest content of a sealed file.
const OPENED_OCTETS_MAX: usize =
    if TAR_OCTETS_MAX > BONDKEEPER_OCTETS_MAX { TAR_OCTETS_MAX } else { BONDKEEPER_OCTETS_MAX };

/// Why something was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    #[error("opening the sealed file")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Something that was read and can be imported.
pub struct Parcel {
    pub format: FormatId,
    pub was_sealed: bool,
    content: Content,
}

impl Parcel {
    /// Opens what is sealed and finds out the format, unless it is named.
    pub fn new(content: Content, format: Option<FormatId>, openers: &Openers) -> Result<Self, ParcelError> {
        let (content, was_sealed) = match content {
            Content::Document(bytes) if sealed::is_sealed(&bytes) => {
                let opened: Zeroizing<Vec<u8>> = sealed::open(&bytes, openers, OPENED_OCTETS_MAX)?;
                (Content::Document(opened), true)
            }
            content => (content, false),
        };
        let format = match format {
            Some(format) => format,
            None => detect(content.as_input())?,
        };
        Ok(Self { format, was_sealed, content })
    }

    /// Reads the bonds.
    pub fn import(&self, options: &ImportOptions) -> Result<Imported, FormatError> {
        import(self.format, self.content.as_input(), options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sealed::{Form, Passphrase, SealFor};

    fn document(bytes: &[u8]) -> Content {
        Content::Document(Zeroizing::new(bytes.to_vec()))
    }

    #[test]
    fn a_sealed_file_is_opened_and_its_format_found_inside() {
        let clear = br#"[{"encryption_size":16,"value":""}]"#;
        let passphrase = Passphrase::new("correct horse battery staple");
        let sealed = sealed::seal(clear, &SealFor::Passphrase(passphrase.clone()), Form::Armored).unwrap();
        let openers = Openers::of_passphrase(Some(passphrase));
        let parcel = Parcel::new(document(&sealed), None, &openers).ok().unwrap();
        assert_eq!((parcel.format, parcel.was_sealed), (FormatId::Habluetooth, true));
        let parcel = Parcel::new(document(clear), None, &openers).ok().unwrap();
        assert_eq!((parcel.format, parcel.was_sealed), (FormatId::Habluetooth, false));
    }

    #[test]
    fn a_folder_goes_through_a_seal_as_one_file() {
        let mut tree = crate::format::Tree::default();
        let info = b"[General]\nAddressType=public\n\n[IdentityResolvingKey]\nKey=1BA2753C4920413345FA76A0B44F6083\n";
        tree.insert("00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info", Zeroizing::new(info.to_vec())).unwrap();
        let passphrase = Passphrase::new("correct horse battery staple");
        let file = Content::Tree(tree).as_file().unwrap();
        let sealed = sealed::seal(&file, &SealFor::Passphrase(passphrase.clone()), Form::Binary).unwrap();
        let openers = Openers::of_passphrase(Some(passphrase));
        let parcel = Parcel::new(document(&sealed), None, &openers).ok().unwrap();
        assert_eq!(parcel.format, FormatId::Bluez);
        assert_eq!(parcel.import(&ImportOptions::default()).ok().unwrap().adapters[0].bonds.len(), 1);
    }

    #[test]
    fn a_seal_within_a_seal_and_an_unknown_content_are_refused() {
        let passphrase = Passphrase::new("correct horse battery staple");
        let seal = |bytes: &[u8]| {
            sealed::seal(bytes, &SealFor::Passphrase(passphrase.clone()), Form::Binary).unwrap()
        };
        let openers = Openers::of_passphrase(Some(passphrase.clone()));
        for content in [seal(&seal(b"[]")), seal(b"?")] {
            let refused = Parcel::new(document(&content), None, &openers).err().unwrap();
            assert_eq!(refused, ParcelError::Format(FormatError::Undetected(Vec::new())));
        }
    }
}

//! Sealed files: the age format, which the standard `age` program writes and opens, too.
//!
//! A file is sealed with a passphrase or for recipients (`age1…`), and may be armored, that is text.
//! What is inside is any file of the other formats. Sealing takes its randomness from the operating
//! system; apart from that nothing here touches anything outside. Must never let a passphrase or an
//! identity into an error, and must never give out a part of a file whose end is missing.
//! Driven by `app/` and `cli/`.

use std::fmt;
use std::io::{Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};
use zeroize::Zeroizing;

/// Ending of a sealed file, without the dot.
pub const EXTENSION: &str = "age";

/// Work that a passphrase is hardened with, as a power of two: 64 MiB of memory and about half a second on a
/// Raspberry Pi 4. One more would take 128 MiB, on hosts that have a gigabyte in all.
pub const WORK_FACTOR: u8 = 16;

/// Unit tests seal by the hundred; the whole program is tested with the real one.
const TEST_WORK_FACTOR: u8 = 10;

/// Most work that is done to open a file: what the `age` program writes, 256 MiB. A file that asks for more is
/// refused before anything is done, since the number is the writer's own choice.
pub const WORK_FACTOR_MAX: u8 = 18;

/// Shortest passphrase that is sealed with. The work above slows a guess down; it does not make a short word safe.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 12;

/// Recipients of one file: a household's, with room.
pub const RECIPIENTS_MAX: usize = 64;

/// Octets of the part before the content: a recipient takes about 100. It bounds the recipients that are tried.
const HEADER_OCTETS_MAX: usize = 16 << 10;

/// Octets that sealing adds at most: the header, and 16 to each 64 KiB.
const OVERHEAD_OCTETS_MAX: usize = HEADER_OCTETS_MAX + (2 << 20);

/// What the first line of each form is.
const BINARY_START: &[u8] = b"age-encryption.org/";
const ARMOR_START: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A passphrase; never shown, wiped on drop.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Long enough to be sealed with.
    pub fn is_long_enough(&self) -> bool {
        self.0.chars().count() >= PASSPHRASE_CHARACTERS_MIN
    }

    fn secret(&self) -> SecretString {
        SecretString::from(self.0.as_str())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(passphrase)")
    }
}

/// Somebody's public key.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl std::str::FromStr for Recipient {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        text.trim().parse().map(Self).map_err(|_| SealError::NotARecipient)
    }
}

/// A key pair of age, for files that nobody types a passphrase for. Never shown, wiped on drop.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl Identity {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// As the age program takes it: one line, `AGE-SECRET-KEY-1…`.
    pub fn to_text(&self) -> Zeroizing<String> {
        use age::secrecy::ExposeSecret;
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// Back from a file with one identity: one a line, and comments.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let mut openers = Openers::default();
        openers.add_identities(text)?;
        openers.identities.pop().map(Self).ok_or(SealError::NoIdentities)
    }

    /// Seals for nobody but this identity.
    pub fn seal_for(&self) -> SealFor {
        SealFor::Recipients(vec![Recipient(self.0.to_public())])
    }

    /// Opens what was sealed for it.
    pub fn openers(&self) -> Openers {
        Openers { passphrase: None, identities: vec![self.0.clone()] }
    }
}

/// Whom a file is sealed for.
#[derive(Clone)]
pub enum SealFor {
    Passphrase(Passphrase),
    /// Each of them alone can open it.
    Recipients(Vec<Recipient>),
}

/// How a sealed file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Binary,
    /// Text, a third longer.
    Armored,
}

/// What sealed files may be opened with.
#[derive(Clone, Default)]
pub struct Openers {
    pub passphrase: Option<Passphrase>,
    identities: Vec<x25519::Identity>,
}

impl Openers {
    pub const fn of_passphrase(passphrase: Option<Passphrase>) -> Self {
        Self { passphrase, identities: Vec::new() }
    }

    /// Adds the identities (`AGE-SECRET-KEY-1…`) of a file as `age-keygen` writes it: one a line, and comments.
    pub fn add_identities(&mut self, text: &str) -> Result<(), SealError> {
        let before = self.identities.len();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = line.parse().map_err(|_| SealError::NotAnIdentity { line: number + 1 })?;
            self.identities.push(identity);
        }
        if self.identities.len() == before { Err(SealError::NoIdentities) } else { Ok(()) }
    }
}

/// Why a file was not sealed or not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the file is sealed with a passphrase, and none is given here")]
    PassphraseNeeded,
    #[error("the passphrase does not open the file")]
    WrongPassphrase,
    #[error("the file is sealed for recipients, and none of the identities given here is one of them")]
    IdentityNeeded,
    #[error(
        "opening the file would take 2^{required} steps of work, and at most 2^{WORK_FACTOR_MAX} are done here: open it with the age program"
    )]
    TooMuchWork { required: u8 },
    #[error("what is sealed in the file is longer than the {max} octets that are read")]
    TooLarge { max: usize },
    #[error("the sealed file is damaged or its end is missing")]
    Damaged,
    #[error("the file is sealed in a way that is not known here")]
    Unknown,
    #[error("a recipient is no public key of age, as in age1…")]
    NotARecipient,
    #[error("line {line} of the identities is no secret key of age, as in AGE-SECRET-KEY-1…")]
    NotAnIdentity { line: usize },
    #[error("there is no identity in the file")]
    NoIdentities,
    #[error("there is nobody to seal for")]
    NoRecipients,
    #[error("a file is sealed for at most {RECIPIENTS_MAX} recipients")]
    TooManyRecipients,
    #[error(
        "a passphrase to seal with has at least {PASSPHRASE_CHARACTERS_MIN} characters; six random words are better"
    )]
    ShortPassphrase,
    #[error("the file could not be sealed")]
    Seal,
}

/// Whether these are the first octets of a sealed file.
pub fn is_sealed(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    bytes.starts_with(BINARY_START) || text.starts_with(ARMOR_START)
}

/// Longest sealed file of something that has `octets_max` octets at most: armored, with line ends.
pub const fn sealed_octets_max(octets_max: usize) -> usize {
    (octets_max + OVERHEAD_OCTETS_MAX) / 2 * 3
}

/// Seals a file.
pub fn seal(content: &[u8], seal_for: &SealFor, form: Form) -> Result<Vec<u8>, SealError> {
    let encryptor = match seal_for {
        SealFor::Passphrase(passphrase) => {
            if !passphrase.is_long_enough() {
                return Err(SealError::ShortPassphrase);
            }
            let mut recipient = scrypt::Recipient::new(passphrase.secret());
            recipient.set_work_factor(if cfg!(test) { TEST_WORK_FACTOR } else { WORK_FACTOR });
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        }
        SealFor::Recipients(recipients) if recipients.len() > RECIPIENTS_MAX => {
            return Err(SealError::TooManyRecipients);
        }
        SealFor::Recipients(recipients) => {
            let recipients = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
            Encryptor::with_recipients(recipients)
        }
    };
    let encryptor = encryptor.map_err(|error| match error {
        age::EncryptError::MissingRecipients => SealError::NoRecipients,
        _ => SealError::Seal,
    })?;
    let format = match form {
        Form::Binary => Format::Binary,
        Form::Armored => Format::AsciiArmor,
    };
    let mut sealed = Vec::new();
    let write = || -> std::io::Result<()> {
        let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(&mut sealed, format)?)?;
        writer.write_all(content)?;
        writer.finish()?.finish().map(drop)
    };
    write().map_err(|_| SealError::Seal)?;
    Ok(sealed)
}

/// Opens a sealed file.
pub fn open(sealed: &[u8], openers: &Openers, octets_max: usize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    if sealed.len() > sealed_octets_max(octets_max) {
        return Err(SealError::TooLarge { max: octets_max });
    }
    let binary = unarmored(sealed)?;
    let header = &binary[..binary.len().min(HEADER_OCTETS_MAX)];
    if !header.windows(5).any(|window| window == b"\n--- ") {
        return Err(SealError::Damaged);
    }
    let decryptor = Decryptor::new_buffered(&binary[..]).map_err(|error| refusal(&error))?;
    let with_passphrase = decryptor.is_scrypt();
    let reader = if with_passphrase {
        let passphrase = openers.passphrase.as_ref().ok_or(SealError::PassphraseNeeded)?;
        let mut identity = scrypt::Identity::new(passphrase.secret());
        identity.set_max_work_factor(WORK_FACTOR_MAX);
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
    } else {
        let identities = openers.identities.iter().map(|identity| identity as &dyn age::Identity);
        decryptor.decrypt(identities)
    };
    let reader = reader.map_err(|error| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys
            if with_passphrase =>
        {
            SealError::WrongPassphrase
        }
        error => refusal(&error),
    })?;
    // As long as it can get, so that no copy is left behind by a buffer that grows.
    let mut content = Zeroizing::new(Vec::with_capacity(binary.len().min(octets_max + 1)));
    reader.take(octets_max as u64 + 1).read_to_end(&mut content).map_err(|_| SealError::Damaged)?;
    if content.len() > octets_max { Err(SealError::TooLarge { max: octets_max }) } else { Ok(content) }
}

fn unarmored(sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let sealed = if sealed.starts_with(BINARY_START) { sealed } else { sealed.trim_ascii() };
    let mut binary = Vec::with_capacity(sealed.len());
    ArmoredReader::new(sealed).read_to_end(&mut binary).map_err(|_| SealError::Damaged)?;
    Ok(binary)
}

fn refusal(error: &DecryptError) -> SealError {
    match error {
        DecryptError::NoMatchingKeys => SealError::IdentityNeeded,
        DecryptError::ExcessiveWork { required, .. } => SealError::TooMuchWork { required: *required },
        DecryptError::UnknownFormat => SealError::Unknown,
        _ => SealError::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"{\"format\":\"bondkeeper\"}";

    fn passphrase() -> Passphrase {
        Passphrase::new("correct horse battery staple")
    }

    fn openers(passphrase: Passphrase) -> Openers {
        Openers::of_passphrase(Some(passphrase))
    }

    /// A new identity, and its text as `age-keygen` writes it.
    fn identity() -> (Recipient, String) {
        use age::secrecy::ExposeSecret;
        let identity = x25519::Identity::generate();
        let text = format!("# created: today\n\n{}\n", identity.to_string().expose_secret());
        (Recipient(identity.to_public()), text)
    }

    #[test]
    fn a_passphrase_seals_and_opens_in_both_forms() {
        for form in [Form::Binary, Form::Armored] {
            let sealed = seal(CONTENT, &SealFor::Passphrase(passphrase()), form).unwrap();
            assert!(is_sealed(&sealed), "{form:?}");
            assert!(!sealed.windows(6).any(|window| window == &CONTENT[..6]));
            assert_eq!(std::str::from_utf8(&sealed).is_ok(), form == Form::Armored);
            assert_eq!(&**open(&sealed, &openers(passphrase()), 100).unwrap(), CONTENT);
        }
    }

    #[test]
    fn a_wrong_or_missing_passphrase_is_said_so() {
        let sealed = seal(CONTENT, &SealFor::Passphrase(passphrase()), Form::Binary).unwrap();
        let wrong = open(&sealed, &openers(Passphrase::new("incorrect horse")), 100);
        assert_eq!(wrong.unwrap_err(), SealError::WrongPassphrase);
        assert_eq!(open(&sealed, &Openers::default(), 100).unwrap_err(), SealError::PassphraseNeeded);
    }

    #[test]
    fn each_recipient_alone_opens_what_is_sealed_for_several() {
        let ((one, one_text), (two, two_text), (_, other_text)) = (identity(), identity(), identity());
        let sealed = seal(CONTENT, &SealFor::Recipients(vec![one, two]), Form::Armored).unwrap();
        for text in [&one_text, &two_text] {
            let mut openers = Openers::default();
            openers.add_identities(text).unwrap();
            assert_eq!(&**open(&sealed, &openers, 100).unwrap(), CONTENT);
        }
        let mut other = openers(passphrase());
        other.add_identities(&other_text).unwrap();
        assert_eq!(open(&sealed, &other, 100).unwrap_err(), SealError::IdentityNeeded);
    }

    #[test]
    fn what_is_sealed_for_a_key_pair_opens_with_its_text_and_with_no_other() {
        let made = Identity::generate();
        let sealed = seal(CONTENT, &made.seal_for(), Form::Binary).unwrap();
        let read = Identity::from_text(&format!("# of a store\n{}\n", *made.to_text())).unwrap();
        assert_eq!(&**open(&sealed, &read.openers(), 100).unwrap(), CONTENT);
        let other = Identity::generate().openers();
        assert_eq!(open(&sealed, &other, 100).unwrap_err(), SealError::IdentityNeeded);
        assert!(Identity::from_text("# nothing\n").is_err());
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_is_refused_before_any_is_done() {
        let sealed = seal(CONTENT, &SealFor::Passphrase(passphrase()), Form::Binary).unwrap();
        let text = String::from_utf8_lossy(&sealed);
        let line = text.lines().find(|line| line.starts_with("-> scrypt ")).unwrap().len();
        let at = sealed.iter().position(|octet| *octet == b'\n').unwrap() + 1 + line;
        for work in [b"19", b"63"] {
            let mut hostile = sealed.clone();
            hostile[at - 2..at].copy_from_slice(work);
            let required = std::str::from_utf8(work).unwrap().parse().unwrap();
            let refused = open(&hostile, &openers(passphrase()), 100).unwrap_err();
            assert_eq!(refused, SealError::TooMuchWork { required });
        }
    }

    #[test]
    fn a_file_that_was_cut_or_changed_gives_nothing() {
        let (recipient, text) = identity();
        let content = vec![7; 200_000];
        let sealed = seal(&content, &SealFor::Recipients(vec![recipient]), Form::Binary).unwrap();
        let mut openers = Openers::default();
        openers.add_identities(&text).unwrap();
        assert!(open(&sealed, &openers, 200_000).is_ok());
        for length in [0, 10, 50, 150, sealed.len() / 2, sealed.len() - 1] {
            assert!(open(&sealed[..length], &openers, 200_000).is_err(), "{length}");
        }
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(open(&changed, &openers, 200_000).unwrap_err(), SealError::Damaged);
    }

    #[test]
    fn what_is_inside_and_the_list_of_recipients_are_bounded() {
        let (recipient, text) = identity();
        let mut openers = Openers::default();
        openers.add_identities(&text).unwrap();
        let sealed = seal(&[7; 101], &SealFor::Recipients(vec![recipient.clone()]), Form::Armored).unwrap();
        assert_eq!(open(&sealed, &openers, 100).unwrap_err(), SealError::TooLarge { max: 100 });
        let crowd = |count| SealFor::Recipients(vec![recipient.clone(); count]);
        let full = seal(CONTENT, &crowd(RECIPIENTS_MAX), Form::Binary).unwrap();
        assert!(open(&full, &openers, 100).is_ok());
        let refused = seal(CONTENT, &crowd(RECIPIENTS_MAX + 1), Form::Binary).unwrap_err();
        assert_eq!(refused, SealError::TooManyRecipients);
        let text = b"age-encryption.org/v1\n".to_vec();
        let hostile = [text, b"-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n".repeat(200)].concat();
        assert_eq!(open(&hostile, &openers, 100_000).unwrap_err(), SealError::Damaged);
        assert_eq!(open(&sealed, &openers, usize::MAX / 4).map(|content| content.len()), Ok(101));
    }

    #[test]
    fn a_short_passphrase_nobody_and_no_keys_are_refused() {
        let short = SealFor::Passphrase(Passphrase::new("elevenchars"));
        assert_eq!(seal(CONTENT, &short, Form::Binary).unwrap_err(), SealError::ShortPassphrase);
        let nobody = SealFor::Recipients(Vec::new());
        assert_eq!(seal(CONTENT, &nobody, Form::Binary).unwrap_err(), SealError::NoRecipients);
        assert!("age1nonsense".parse::<Recipient>().is_err());
        let mut openers = Openers::default();
        assert_eq!(openers.add_identities("# nothing\n"), Err(SealError::NoIdentities));
        let not_one = openers.add_identities("# a\nAGE-SECRET-KEY-1NONSENSE\n");
        assert_eq!(not_one, Err(SealError::NotAnIdentity { line: 2 }));
        assert_eq!(format!("{:?}", passphrase()), "(passphrase)");
    }
}

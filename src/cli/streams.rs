//! Where the commands read from and write to: files, folders and pipes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::arguments::WriteArguments;
use super::error::CliError;
use crate::format::sealed::{self, Form, SealFor};
use crate::format::{Content, PARCEL_OCTETS_MAX};
use crate::store::exchange::{read_at, write_at};

/// The name of a pipe.
const PIPE: &str = "-";

/// Octets of a file with a passphrase or identities.
const SECRET_OCTETS_MAX: u64 = 64 << 10;

/// Octets that a pipe's buffer begins with. One that grows leaves copies behind; this holds real files whole.
const PIPE_OCTETS_EXPECTED: usize = 1 << 20;

pub fn is_pipe(path: &Path) -> bool {
    path.as_os_str() == PIPE
}

/// A folder is wanted as one file.
fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "tar")
}

/// A file, a folder, or what comes through a pipe.
pub fn read_input(path: &Path) -> Result<Content, CliError> {
    if !is_pipe(path) {
        return Ok(read_at(path, PARCEL_OCTETS_MAX)?);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(PIPE_OCTETS_EXPECTED));
    let mut input = io::stdin().lock().take(PARCEL_OCTETS_MAX as u64 + 1);
    input.read_to_end(&mut bytes).map_err(CliError::StandardInput)?;
    if bytes.len() > PARCEL_OCTETS_MAX {
        return Err(CliError::LongInput(PARCEL_OCTETS_MAX));
    }
    Ok(Content::Document(bytes))
}

/// Writes an export, sealed or in clear text, and says on standard error which of them it is.
pub fn write_output(
    path: &Path,
    content: Content,
    seal: Option<(SealFor, Form)>,
    arguments: &WriteArguments,
) -> Result<(), CliError> {
    let sealed = seal.is_some();
    let content = match seal {
        Some((seal, form)) => {
            let file = content.as_file().map_err(CliError::Export)?;
            Content::Document(Zeroizing::new(sealed::seal(&file, &seal, form)?))
        }
        None if is_pipe(path) || is_archive(path) => {
            Content::Document(content.as_file().map_err(CliError::Export)?)
        }
        None => content,
    };
    match content {
        Content::Document(bytes) if is_pipe(path) => print(&bytes)?,
        content => write_at(path, &content, arguments.force)?,
    }
    let name = if is_pipe(path) { "standard output".into() } else { path.display().to_string() };
    if sealed {
        eprintln!("written: {name}, sealed");
    } else {
        eprintln!(
            "written: {name}. It holds keys in clear text: whoever reads it can unlock what they unlock. Delete it when it \
             has served, or seal it (--seal-to, --seal-passphrase-file)"
        );
    }
    Ok(())
}

/// To standard output, whole.
pub fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(CliError::StandardOutput)
}

/// A small file with secrets.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |source| CliError::Secret { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(String::with_capacity(SECRET_OCTETS_MAX as usize + 1));
    file.take(SECRET_OCTETS_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SECRET_OCTETS_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

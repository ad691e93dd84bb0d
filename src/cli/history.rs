//! Prints the audit log.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::{self, Line};
use crate::bond::AdapterAddress;

/// Which lines, and how.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only what concerns this adapter.
    #[arg(long, value_name = "ADDRESS")]
    adapter: Option<AdapterAddress>,
    /// Only what concerns this peer.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    peer: Option<String>,
    /// The lines as they are stored, one JSON object each.
    #[arg(long)]
    json: bool,
    /// Only the latest so many.
    #[arg(short = 'n', long, value_name = "COUNT")]
    number: Option<usize>,
}

/// A peer may be public or random: only the form is checked.
fn address(text: &str) -> Result<String, String> {
    let octets: Vec<&str> = text.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(is_octet) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("an address is six pairs of hexadecimal digits with colons between".to_owned())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no data folder {0}")]
    NoFolder(PathBuf),
    #[error("reading the audit log in {folder}")]
    Read {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("printing")]
    Print(#[source] io::Error),
}

impl Filter {
    fn takes(&self, line: &Line) -> bool {
        let of_adapter =
            self.adapter.is_none_or(|adapter| line.adapter.as_deref() == Some(&adapter.to_string()));
        // A command names its peer in its detail.
        let of_peer = self.peer.as_ref().is_none_or(|peer| {
            line.bonds.iter().any(|bond| bond.peer == *peer) || line.detail.as_ref() == Some(peer)
        });
        of_adapter && of_peer
    }
}

/// Prints the log of a data folder, the oldest line first.
pub fn print(folder: &Path, filter: &Filter) -> Result<(), HistoryError> {
    if !folder.is_dir() {
        return Err(HistoryError::NoFolder(folder.to_owned()));
    }
    let history =
        audit::read(folder).map_err(|source| HistoryError::Read { folder: folder.to_owned(), source })?;
    for place in &history.damaged {
        eprintln!("bondkeeper: {place} cannot be read and was passed over");
    }
    let lines: Vec<&Line> = history.lines.iter().filter(|line| filter.takes(line)).collect();
    let surplus = filter.number.map_or(0, |number| lines.len().saturating_sub(number));
    match write(&lines[surplus..], filter.json, &mut io::stdout().lock()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(HistoryError::Print),
    }
}

fn write(lines: &[&Line], json: bool, out: &mut impl Write) -> io::Result<()> {
    for line in lines {
        if json {
            serde_json::to_writer(&mut *out, line)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", words(line))?;
        }
    }
    out.flush()
}

/// One line for people. What a client has sent is shown escaped: it must not steer their terminal.
fn words(line: &Line) -> String {
    let mut text = format!("{}  {}", line.at, line.action);
    let mut add = |part: String| {
        text.push(' ');
        text.push_str(&part);
    };
    if let Some(verb) = &line.verb {
        add(verb.escape_debug().to_string());
    } else {
        add(format!("({})", line.cause.escape_debug()));
    }
    if let Some(adapter) = &line.adapter {
        add(format!("adapter {}", adapter.escape_debug()));
    }
    for bond in &line.bonds {
        let shown = |fingerprint: &Option<String>| fingerprint.clone().unwrap_or_else(|| "none".to_owned());
        add(format!("{} {} → {}", bond.peer, shown(&bond.before), shown(&bond.after))
            .escape_debug()
            .to_string());
    }
    if line.more > 0 {
        add(format!("and {} more", line.more));
    }
    if let Some(checkpoint) = &line.checkpoint {
        add(format!("checkpoint {}", checkpoint.escape_debug()));
    }
    if let Some(transaction) = &line.transaction {
        add(format!("transaction {}", transaction.to_string().escape_debug()));
    }
    if line.verb.is_some() {
        add(format!("→ {}", line.outcome.escape_debug()));
    }
    if let Some(detail) = &line.detail {
        add(format!("({})", detail.escape_debug()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, BondChange, Entry};
    use crate::bond::testing::peer;
    use crate::bond::{FingerprintKey, UnixMillis};

    fn line() -> Line {
        let fingerprint = FingerprintKey::new([1; 32])
            .fingerprint(&crate::bond::testing::secure_bond("C0:FF:EE:00:00:01", 1));
        let mut entry = Entry::new(UnixMillis(0), Action::BondRemoved, "forget");
        entry.adapter = Some("00:1A:7D:DA:71:11".parse().unwrap());
        entry.bonds =
            vec![BondChange { peer: peer("C0:FF:EE:00:00:01"), before: Some(fingerprint), after: None }];
        entry.line()
    }

    fn filter(adapter: Option<&str>, peer: Option<&str>) -> Filter {
        Filter {
            adapter: adapter.map(|adapter| adapter.parse().unwrap()),
            peer: peer.map(|peer| address(peer).unwrap()),
            json: false,
            number: None,
        }
    }

    #[test]
    fn a_filter_takes_what_concerns_its_adapter_and_its_peer() {
        let line = line();
        assert!(filter(None, None).takes(&line));
        assert!(filter(Some("00:1A:7D:DA:71:11"), Some("c0:ff:ee:00:00:01")).takes(&line));
        assert!(!filter(Some("00:1A:7D:DA:71:12"), None).takes(&line));
        assert!(!filter(None, Some("C0:FF:EE:00:00:02")).takes(&line));
        assert!(address("C0:FF:EE:00:00").is_err());
    }

    #[test]
    fn a_line_for_people_cannot_steer_a_terminal() {
        let mut line = line();
        line.transaction = Some("\u{1b}[2J".into());
        line.detail = Some("a\nb\u{7}".to_owned());
        let words = words(&line);
        assert!(
            words.starts_with("1970-01-01T00:00:00.000Z  bond_removed (forget) adapter 00:1A:7D:DA:71:11")
        );
        assert!(words.chars().all(|letter| !letter.is_control()), "{words:?}");
    }
}

//! The last run, for programs: `target/bench/result.json`. Each part is the last one that was measured.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Table;
use crate::machine::Machine;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The functions under the Runtime API emulator.
    pub lambda: Option<Half>,
    /// Virtual keys.
    #[serde(default)]
    pub keys: Option<Half>,
    /// `keyturn serve` and its peers.
    pub server: Option<Half>,
}

/// One part of the benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Half {
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it was done, RFC 3339.
    pub finished_at: String,
    /// Whether it was a short run.
    pub quick: bool,
    /// Where it ran.
    pub machine: Machine,
    /// What was measured.
    pub tables: Vec<Table>,
}

impl Record {
    /// Reads the file; an empty record when there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is of another version.
    pub fn read(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file, and its directory first.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        fs::write(file, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Row, Unit};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bench").join("result.json");
        assert_eq!(Record::read(&file).unwrap(), Record::default());
        let row = Row::new("x", Unit::PerSecond, vec![Some(1.0), None]).bar(Bar::AtLeast(0.5));
        let table =
            Table { title: "T".into(), columns: vec!["a".into()], rows: vec![row], notes: Vec::new() };
        let half = Half {
            started_at: "2026-11-20T12:00:00Z".into(),
            finished_at: "2026-11-20T12:05:00Z".into(),
            quick: true,
            machine: Machine::describe(),
            tables: vec![table],
        };
        let record = Record { lambda: Some(half), ..Record::default() };
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
        fs::write(&file, "{").unwrap();
        assert!(Record::read(&file).is_err());
    }
}

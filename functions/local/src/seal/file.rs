//! Sealed values in a file, whatever its format: they are found by their form.

use std::fs;
use std::io::Write;
use std::path::Path;

use keyturn_sealed::{SealError, Sealed, find};
use keyturn_secrets::stores::{SaltKeyError, SaltKeys};
use zeroize::Zeroizing;

use super::{Counts, SealCommandError};

/// What was done to a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewrapped {
    /// The version that all have now.
    pub(super) to: keyturn_sealed::Version,
    /// How many had which version before.
    pub(super) changed: Counts,
    /// How many had it already.
    pub(super) already: usize,
}

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many open, by version.
    pub(super) open: Counts,
    /// The others: line, and why they do not open.
    pub(super) closed: Vec<(usize, SaltKeyError)>,
}

/// Brings every sealed value to the newest version: all, or none.
///
/// # Errors
///
/// [`SealCommandError`]; then the file is as it was.
pub(super) async fn rewrap(path: &Path, keys: &SaltKeys) -> Result<Rewrapped, SealCommandError> {
    let newest = keys.newest().await?.ok_or(SaltKeyError::Unset)?;
    let text = read(path)?;
    let mut done = Rewrapped { to: newest.version(), changed: Counts::new(), already: 0 };
    // Other secrets may stand in the file as well.
    let mut rewritten = Zeroizing::new(String::with_capacity(text.len() * 2));
    let mut copied = 0;
    for range in find(&text) {
        let stuck = |source: SaltKeyError| SealCommandError::Stuck {
            path: path.to_owned(),
            line: line(&text, range.start),
            source,
        };
        let of = |error: SealError| stuck(error.into());
        let sealed: Sealed = text[range.clone()].parse().map_err(of)?;
        if sealed.version() == newest.version() {
            done.already += 1;
            continue;
        }
        let old = keys.version(sealed.version()).await.map_err(stuck)?;
        let again = sealed.rewrap(&old, &newest).map_err(of)?;
        rewritten.push_str(&text[copied..range.start]);
        rewritten.push_str(&again.to_string());
        copied = range.end;
        *done.changed.entry(sealed.version()).or_default() += 1;
    }
    if !done.changed.is_empty() {
        rewritten.push_str(&text[copied..]);
        replace(path, &rewritten).map_err(|source| failed(path, source))?;
    }
    Ok(done)
}

/// Opens every sealed value, and forgets it.
///
/// # Errors
///
/// [`SealCommandError::File`].
pub(super) async fn check(path: &Path, keys: &SaltKeys) -> Result<Report, SealCommandError> {
    let text = read(path)?;
    let mut report = Report::default();
    for range in find(&text) {
        let found = &text[range.clone()];
        match (keys.open(found).await, found.parse::<Sealed>()) {
            (Ok(_), Ok(sealed)) => *report.open.entry(sealed.version()).or_default() += 1,
            (Err(error), _) => report.closed.push((line(&text, range.start), error)),
            (Ok(_), Err(error)) => report.closed.push((line(&text, range.start), error.into())),
        }
    }
    Ok(report)
}

/// Gives a file another content at once, and leaves it its permissions; a link goes on pointing at it.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = fs::canonicalize(path)?;
    let permissions = fs::metadata(&path)?.permissions();
    let beside = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(beside)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(&path).map(drop).map_err(|error| error.error)
}

fn read(path: &Path) -> Result<Zeroizing<String>, SealCommandError> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: std::io::Error) -> SealCommandError {
    SealCommandError::File { path: path.to_owned(), source }
}

/// The line that a place is in, from 1 on.
fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

//! Files: `file:/mnt/secrets/openai-api-key`, `file:/vault/secrets/providers.env#OPENAI_API_KEY`.
//!
//! Authentication: the file system's. Naming: the path of one file, which is the secret without its trailing
//! newlines, as `$(cat file)` has it. That is one key in one file, as Kubernetes mounts a secret, or a file
//! of `KEY=value` lines as a Vault Agent template writes it, whose field the reference picks. Versions: a
//! digest of the contents ([`VersionId::of_value`](crate::VersionId::of_value)); there are no stages.
//!
//! Every read looks at the file's inode, size and change time, and reads the contents again when one of them
//! differs, so a change is seen at the next use. Kubernetes swaps a symbolic link: the new target is another
//! inode. A writer that does not replace the file by a rename may be met half-way: quote the values of a
//! `KEY=value` file, so that a value cut short is seen to be one.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_ambient::{Clock, SystemClock};

use crate::{Secret, SecretError, SecretStore, Stage};

/// The largest file that is read, in bytes. Kubernetes and Secrets Manager stop far below it.
const MAX_SIZE: u64 = 1024 * 1024;

/// How often a file that changes under the reader is read before that is an error.
const ATTEMPTS: u32 = 3;

/// Two writes closer together than the file system's clock ticks leave the same change time: a file that
/// changed this recently is read again rather than trusted. Two seconds is the coarsest tick in use (FAT).
const TICK: SignedDuration = SignedDuration::from_secs(2);

/// Files as a store.
pub struct Files {
    clock: Arc<dyn Clock>,
    /// By path: what was read last. The paths are the configuration's, so there are few.
    seen: Mutex<HashMap<String, Seen>>,
}

/// A file's contents and what it looked like when they were read.
struct Seen {
    mark: Mark,
    /// Whether a later write must change the mark.
    settled: bool,
    secret: Secret,
}

/// What tells a changed file from an unchanged one. The change time covers the modification time, and unlike
/// that cannot be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the change is long enough ago for the next one to look different.
    fn settled(&self, now: Timestamp) -> bool {
        let changed = Timestamp::new(self.changed.0, i32::try_from(self.changed.1).unwrap_or(0));
        changed.is_ok_and(|changed| now.duration_since(changed) > TICK)
    }
}

impl Files {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "file";

    /// The store. Its clock is the machine's own, because it is compared with the file system's.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock), seen: Mutex::default() }
    }

    /// Reads `path`, or answers from what was read before when the file has not changed.
    fn read(&self, path: &str) -> Result<Secret, Failure> {
        let metadata = fs::metadata(path)?;
        // Opening a pipe would wait for its writer.
        if !metadata.is_file() {
            return Err(Failure::Contents("not a regular file"));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get(path)
            && seen.settled
            && seen.mark == Mark::of(&metadata)
        {
            return Ok(seen.secret.clone());
        }
        // The clock first: a write after it is newer than the mark can tell.
        let now = self.clock.now();
        let (mark, secret) = contents(path)?;
        seen.insert(path.to_owned(), Seen { mark, settled: mark.settled(now), secret: secret.clone() });
        Ok(secret)
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SecretStore for Files {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        if *stage != Stage::Current {
            return Err(Failure::Stage.named(name));
        }
        // Small local files: handing them to another thread would cost more than reading them.
        self.read(name).map_err(|failure| failure.named(name))
    }

    fn always_fresh(&self) -> bool {
        true
    }
}

/// Why a file gave no secret.
enum Failure {
    Io(io::Error),
    Contents(&'static str),
    Stage,
    Unsteady,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn named(self, path: &str) -> SecretError {
        let reference = format!("{}:{path}", Files::SCHEME);
        match self {
            Self::Stage => SecretError::not_found(reference, "files have no stages"),
            Self::Contents(what) => SecretError::malformed(reference, what),
            Self::Unsteady => SecretError::unavailable(reference, "the file changes while it is read"),
            Self::Io(error) => {
                let cause = error.to_string();
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
                        SecretError::not_found(reference, &cause)
                    }
                    ErrorKind::PermissionDenied => SecretError::denied(reference, &cause),
                    _ => SecretError::unavailable(reference, &cause),
                }
            }
        }
    }
}

/// The whole file, and what it looked like throughout the reading.
fn contents(path: &str) -> Result<(Mark, Secret), Failure> {
    for _ in 0..ATTEMPTS {
        let mut file = File::open(path)?;
        let before = Mark::of(&file.metadata()?);
        // One byte more than there should be: a file that grew, or whose size the file system does not tell.
        let expected = usize::try_from(before.size.min(MAX_SIZE)).unwrap_or(0) + 1;
        let mut bytes = Vec::with_capacity(expected);
        file.by_ref().take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
        if Mark::of(&file.metadata()?) == before {
            return Ok((before, secret(bytes)?));
        }
    }
    Err(Failure::Unsteady)
}

fn secret(bytes: Vec<u8>) -> Result<Secret, Failure> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_SIZE) {
        return Err(Failure::Contents("larger than 1 MiB"));
    }
    let mut value = String::from_utf8(bytes).map_err(|_| Failure::Contents("not UTF-8"))?;
    value.truncate(value.trim_end_matches(['\r', '\n']).len());
    if value.is_empty() {
        // Also what a file looks like between being cut and being written.
        return Err(Failure::Contents("empty"));
    }
    Ok(Secret::unversioned(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read answers when the file was seen before with `change` to its mark.
    fn after(settled: bool, change: impl Fn(&mut Mark)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "in the file").unwrap();
        let path = path.to_str().unwrap();
        let mut mark = Mark::of(&fs::metadata(path).unwrap());
        change(&mut mark);
        let store = Files::new();
        let secret = secret(b"seen before".to_vec()).ok().unwrap();
        store.seen.lock().unwrap().insert(path.to_owned(), Seen { mark, settled, secret });
        store.read(path).ok().unwrap().value.expose().to_owned()
    }

    #[test]
    fn a_file_that_looks_the_same_is_not_read_again() {
        assert_eq!(after(true, |_| ()), "seen before");
    }

    #[test]
    fn a_file_that_changed_just_before_it_was_read_is_read_again() {
        assert_eq!(after(false, |_| ()), "in the file");
    }

    #[test]
    fn anything_that_looks_different_is_read_again() {
        let changes: [fn(&mut Mark); 5] = [
            |mark| mark.device += 1,
            |mark| mark.inode += 1,
            |mark| mark.size += 1,
            |mark| mark.changed.0 -= 1,
            |mark| mark.changed.1 ^= 1,
        ];
        for change in changes {
            assert_eq!(after(true, change), "in the file");
        }
    }

    #[test]
    fn a_change_is_settled_after_two_seconds() {
        let mark = Mark { device: 1, inode: 1, size: 1, changed: (1_000, 500) };
        let at = |second, nanosecond| Timestamp::new(second, nanosecond).unwrap();
        assert!(!mark.settled(at(1_000, 500)));
        assert!(!mark.settled(at(1_002, 500)));
        assert!(mark.settled(at(1_002, 501)));
        assert!(!mark.settled(at(900, 0)), "a clock behind the file system's");
    }
}

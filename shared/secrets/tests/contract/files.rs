//! Files.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::stores::Files;
use keyturn_secrets::{CacheSettings, CredentialCache, SecretError, SecretStore, Stage, Stores};
use tempfile::TempDir;

use crate::promises::{Seed, keeps_its_promises};

/// A directory with a file per secret.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

#[async_trait]
impl Seed for Directory {
    async fn put(&self, name: &str, value: &str) -> String {
        self.write(name, value.as_bytes())
    }

    fn has_stages(&self) -> bool {
        false
    }
}

async fn get(store: &Files, path: &str) -> Result<String, SecretError> {
    Ok(store.get(path, &Stage::Current).await?.value.expose().to_owned())
}

#[tokio::test]
async fn files_keep_their_promises() {
    keeps_its_promises(Arc::new(Files::new()), &Directory::new()).await;
}

#[tokio::test]
async fn the_newlines_at_the_end_are_not_part_of_it() {
    let (store, files) = (Files::new(), Directory::new());
    for (name, contents) in [("none", "k"), ("unix", "k\n"), ("windows", "k\r\n"), ("many", "k\n\n")] {
        let path = files.write(name, contents.as_bytes());
        assert_eq!(get(&store, &path).await.unwrap(), "k", "{name}");
    }
    assert_eq!(get(&store, &files.write("spaces", b" k \n")).await.unwrap(), " k ");
}

/// Kubernetes mounts `key -> ..data/key`, `..data -> ..<time>`, and swaps `..data` by a rename
/// (<https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go>).
#[tokio::test]
async fn a_kubernetes_swap_is_seen_at_once() {
    let (store, files) = (Files::new(), Directory::new());
    let mount = |version: &str, value: &str| {
        fs::create_dir(files.path(version)).unwrap();
        fs::write(Path::new(&files.path(version)).join("key"), value).unwrap();
        symlink(version, files.path("..data_tmp")).unwrap();
        fs::rename(files.path("..data_tmp"), files.path("..data")).unwrap();
    };
    mount("..1", "one");
    symlink("..data/key", files.path("key")).unwrap();
    assert_eq!(get(&store, &files.path("key")).await.unwrap(), "one");
    for value in ["two", "six", "ten"] {
        mount(&format!("..{value}"), value);
        assert_eq!(get(&store, &files.path("key")).await.unwrap(), value);
    }
}

#[tokio::test]
async fn a_change_of_the_same_length_is_seen_at_once_in_place_or_renamed() {
    let (store, files) = (Files::new(), Directory::new());
    for number in 100..200 {
        let path = files.write("key", number.to_string().as_bytes());
        assert_eq!(get(&store, &path).await.unwrap(), number.to_string());
        let new = files.write("new", (number + 500).to_string().as_bytes());
        fs::rename(new, &path).unwrap();
        assert_eq!(get(&store, &path).await.unwrap(), (number + 500).to_string());
    }
}

#[tokio::test]
async fn what_is_no_secret_is_an_error_of_its_kind() {
    let (store, files) = (Files::new(), Directory::new());
    let _listener = UnixListener::bind(files.path("socket")).unwrap();
    let binary = files.write("binary", b"\xff\xfe");
    let empty = files.write("empty", b"\n");
    let large = files.write("large", &vec![b'k'; 1024 * 1024 + 1]);
    for path in [files.path("."), files.path("socket"), "/dev/zero".to_owned(), binary, empty, large] {
        let error = get(&store, &path).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{path}: {error:?}");
    }
    let fits = files.write("fits", &vec![b'k'; 1024 * 1024]);
    assert_eq!(get(&store, &fits).await.unwrap().len(), 1024 * 1024);
    symlink("nowhere", files.path("dangling")).unwrap();
    let below = format!("{fits}/key");
    for path in [files.path("absent"), files.path("dangling"), below, "x".repeat(5000)] {
        let error = get(&store, &path).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{path}: {error:?}");
    }
    symlink("loop", files.path("loop")).unwrap();
    let error = get(&store, &files.path("loop")).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn through_the_cache_a_half_written_file_costs_nothing_and_a_change_is_seen_at_once() {
    let files = Directory::new();
    let stores = Stores::none().with(Arc::new(Files::new()));
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    let path = files.write("providers.env", b"A='one'\nB='two'\n");
    let reference: SecretRef = format!("file:{path}#B").parse().unwrap();
    let value = async || cache.get(&reference).await.unwrap().value.expose().to_owned();
    assert_eq!(value().await, "two");
    for half in ["", "A='o", "A='one'\n", "A='one'\nB='t", "A='one'\nB="] {
        files.write("providers.env", half.as_bytes());
        assert_eq!(value().await, "two", "{half}");
    }
    files.write("providers.env", b"A='one'\nB='new'\n");
    assert_eq!(value().await, "new");
    fs::remove_file(&path).unwrap();
    assert_eq!(value().await, "new");
    assert!(cache.previous(&reference).await.unwrap().is_none());
    let stats = cache.stats().total();
    assert_eq!((stats.failures, stats.stale_serves), (2 + 1, 6), "{stats:?}");
}

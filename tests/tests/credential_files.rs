//! Credentials in files, as a Vault Agent writes them and as Kubernetes mounts them: a change counts from the
//! next request on, without a restart and without a failed request.

use std::os::unix::fs::symlink;
use std::path::Path;

use keyturn_tests::gateway::Gateway;

use crate::stack::{Model, NO_RETRIES, Stack, chat};

const KEYS: [&str; 3] = ["sk-proj-file-first", "sk-proj-file-second", "sk-proj-file-third"];

async fn start(stack: &Stack, reference: &str) -> Gateway {
    let extra = format!("api_key: file:{reference}");
    let config = stack.config(&[Model { name: "gpt", model: "openai/gpt-4o-mini", extra }], NO_RETRIES);
    stack.gateway(&config, &[]).await
}

/// Asks, and expects the upstream to be called with `key`, and with no other before it.
async fn assert_uses(stack: &Stack, gateway: &Gateway, key: &str) {
    let before = stack.upstream.count();
    let answer = gateway.post("/v1/chat/completions", &chat("gpt", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stack.upstream.count() - before, 1);
    let sent = stack.upstream.requests().pop().unwrap().headers["authorization"].clone();
    assert_eq!(sent, format!("Bearer {key}"));
}

/// The provider forgets all keys but one.
fn only(stack: &Stack, key: &str) {
    KEYS.iter().for_each(|key| stack.upstream.revoke(key));
    stack.upstream.allow(key);
}

fn env_file(path: &Path, key: &str) {
    std::fs::write(path, format!("# Written by an agent.\nOTHER=\"x\"\nOPENAI_API_KEY=\"{key}\"\n")).unwrap();
}

#[tokio::test]
async fn an_env_file_that_changes_counts_at_the_next_request() {
    let stack = Stack::start().await;
    let path = stack.path().join("providers.env");
    env_file(&path, KEYS[0]);
    only(&stack, KEYS[0]);
    let gateway = start(&stack, &format!("{}#OPENAI_API_KEY", path.display())).await;
    assert_uses(&stack, &gateway, KEYS[0]).await;

    // Written in place.
    env_file(&path, KEYS[1]);
    only(&stack, KEYS[1]);
    assert_uses(&stack, &gateway, KEYS[1]).await;

    // Replaced.
    let new = stack.path().join("providers.env.new");
    env_file(&new, KEYS[2]);
    std::fs::rename(&new, &path).unwrap();
    only(&stack, KEYS[2]);
    assert_uses(&stack, &gateway, KEYS[2]).await;
    assert_eq!(stack.upstream.refused(), 0, "an old credential was tried");
}

#[tokio::test]
async fn a_mounted_secret_whose_link_is_swapped_counts_at_the_next_request() {
    let stack = Stack::start().await;
    // `openai-api-key` → `..data/openai-api-key`, `..data` → a directory with a version's files.
    let mount = stack.path().join("secrets");
    let version = |number: usize, key: &str| {
        let directory = mount.join(format!("..version-{number}"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("openai-api-key"), key).unwrap();
        symlink(&directory, mount.join("..data.new")).unwrap();
        std::fs::rename(mount.join("..data.new"), mount.join("..data")).unwrap();
    };
    version(0, KEYS[0]);
    symlink("..data/openai-api-key", mount.join("openai-api-key")).unwrap();
    let gateway = start(&stack, &mount.join("openai-api-key").to_string_lossy()).await;
    for (number, key) in KEYS.iter().enumerate() {
        version(number, key);
        only(&stack, key);
        assert_uses(&stack, &gateway, key).await;
    }
    assert_eq!(stack.upstream.refused(), 0, "an old credential was tried");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_503_until_it_is() {
    let stack = Stack::start().await;
    let path = stack.path().join("providers.env");
    only(&stack, KEYS[0]);
    let gateway = start(&stack, &format!("{}#OPENAI_API_KEY", path.display())).await;
    for content in [None, Some("OTHER=\"x\"\n"), Some("")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let answer = gateway.post("/v1/chat/completions", &chat("gpt", false)).await;
        assert_eq!(answer.status, 503, "{content:?}: {}", answer.text());
    }
    assert_eq!(stack.upstream.count(), 0, "a request went out without its credential");
    env_file(&path, KEYS[0]);
    assert_uses(&stack, &gateway, KEYS[0]).await;
}

//! `keyturn env`: a real program gets the secrets, signals and nothing else; it is restarted when a value changes.

use keyturn_tests::process::{Line, Process};
use keyturn_tests::python;

use crate::commands::{ANTHROPIC, Bench, NEXT, OPENAI, assert_clean};

/// Tells which of the secrets a variable has, and stays until a signal ends it.
const CHILD: &str = r"
import os, signal, sys
# Signals wait until they are asked for: none interrupts a line or comes too early.
heard = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
known = open('known').read().split()
def tell(*what): print(os.getpid(), *what, flush=True)
for name in sys.argv[1].split(','):
    value = os.environ.get(name)
    tell(name, 'unset' if value is None else known.index(value))
tell('arguments', sys.argv[2:])
while True:
    number = signal.sigwait(heard)
    tell('got', number.name)
    if number == signal.SIGTERM: sys.exit(9)
";

const CONFIG: &str = "
model_list:
  - {model_name: gpt, litellm_params: {model: openai/gpt-5, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-haiku-4-5}}
environment_variables: {OPENAI_API_KEY: 'file:openai', PLAIN: text, EMPTY: ''}
litellm_settings: {callbacks: [nobody-knows-this], cache_params: {password: os.environ/REDIS_PASSWORD}}
";

fn bench() -> Bench {
    let bench = Bench::new(CONFIG);
    bench.write("openai", &format!("{OPENAI}\n"));
    bench.write("known", &format!("{OPENAI} {ANTHROPIC} {NEXT} text"));
    bench.write("child.py", CHILD);
    bench
        .with("ANTHROPIC_API_KEY", ANTHROPIC)
        .with("REDIS_PASSWORD", "text")
        .with("EMPTY", "text")
        .with("KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS", "1")
}

/// The names that the child tells of.
const NAMES: &str = "OPENAI_API_KEY,ANTHROPIC_API_KEY,PLAIN,EMPTY,REDIS_PASSWORD";

/// Starts the child through `keyturn env`, with these options.
fn start(bench: &Bench, options: &[&str]) -> Process {
    let python = python::program("python3");
    let python = python.to_string_lossy();
    bench.start(&[&["env"], options, &["--", &python, "child.py", NAMES, "one", "two words"]].concat())
}

/// Waits for a line of a child's that ends so; its process id.
async fn told(process: &Process, end: &str) -> String {
    let line = process.line(end, |line: &Line| line.text.ends_with(end)).await;
    line.text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The same, of another child than this one.
async fn told_by_another(process: &Process, than: &str, end: &str) -> String {
    let is_it = |line: &Line| line.text.ends_with(end) && !line.text.starts_with(than);
    let line = process.line(end, is_it).await;
    line.text.split_whitespace().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_command_takes_the_place_of_keyturn_and_has_the_secrets() {
    let bench = bench();
    let mut process = start(&bench, &[]);
    let pid = told(&process, "arguments ['one', 'two words']").await;
    assert_eq!(pid, process.pid().to_string(), "it is the same process");
    for line in ["OPENAI_API_KEY 0", "ANTHROPIC_API_KEY 1", "PLAIN 3", "EMPTY unset", "REDIS_PASSWORD 3"] {
        assert_eq!(told(&process, line).await, pid);
    }
    process.signal("TERM").await;
    let (status, all) = process.exit().await;
    assert_eq!(status.code(), Some(9), "{all}");
    assert_clean(&all, "what is said");
}

#[tokio::test]
async fn nothing_is_started_without_a_secret_and_each_is_named() {
    let mut bench = bench();
    std::fs::remove_file(bench.path("openai")).unwrap();
    bench.environment.retain(|(name, _)| name != "ANTHROPIC_API_KEY");
    let run = ["env", "--", "/bin/sh", "-c", "echo started"];
    let told = bench.run(&run).await;
    told.says(
        125,
        &[
            "nothing was started: 2 secrets cannot be read",
            "OPENAI_API_KEY (model_list[0].litellm_params.api_key): secret `file:openai` not found",
            "ANTHROPIC_API_KEY (model_list[1].litellm_params.api_key, absent): secret `env:ANTHROPIC_API_KEY`",
        ],
    );
    assert_eq!(told.stdout, "");
    // Neither is asked for.
    let only = ["env", "--only", "PLAIN,REDIS_PASSWORD", "--", "/bin/sh", "-c", "echo $PLAIN"];
    let told = bench.run(&only).await;
    assert_eq!((told.code, told.stdout.as_str()), (0, "text\n"), "{told:?}");
}

#[tokio::test]
async fn a_dry_run_lists_and_starts_nothing() {
    let bench = bench();
    let told = bench
        .run(&["env", "--dry-run", "--also", "EXTRA=file:known", "--", "/bin/sh", "-c", "echo no"])
        .await;
    told.says(0, &["environment_variables.PLAIN", "(unset)"]);
    told.line(&["OPENAI_API_KEY", "file:openai", "model_list[0].litellm_params.api_key"]);
    told.line(&["ANTHROPIC_API_KEY", "env:ANTHROPIC_API_KEY", "absent"]);
    told.line(&["EXTRA", "file:known", "--also"]);
    assert!(!told.stdout.contains("no\n"), "{told:?}");
    std::fs::remove_file(bench.path("openai")).unwrap();
    bench.run(&["env", "--dry-run"]).await.says(125, &["OPENAI_API_KEY", "nothing was started"]);
}

#[tokio::test]
async fn mistakes_have_the_codes_of_env_and_repeat_no_key() {
    let bench = bench();
    bench.run(&["env", "--", "/nonesuch/program"]).await.says(127, &["cannot run /nonesuch/program"]);
    bench.run(&["env", "--", "/etc/passwd"]).await.says(126, &["cannot run /etc/passwd"]);
    bench.run(&["env", "--watch", "restart", "--", "/nonesuch/program"]).await.says(127, &["cannot run"]);
    bench.run(&["env", "--config", "nonesuch.yaml", "--", "true"]).await.says(125, &["nonesuch.yaml"]);
    bench.run(&["env"]).await.says(2, &["COMMAND"]);
    let pasted = format!("OPENAI_API_KEY={OPENAI}");
    bench.run(&["env", "--also", &pasted, "--", "true"]).await.says(2, &["--also", "NAME=scheme:name"]);
    bench.run(&["env", "--only", OPENAI, "--", "true"]).await.says(125, &["--only: "]);
    bench.write("config.yaml", "general_settings: {key_management_system: nonesuch}");
    bench.run(&["env", "--", "true"]).await.says(125, &["general_settings.key_management_system"]);
}

#[tokio::test]
async fn a_changed_file_restarts_the_command_and_a_missing_one_does_not() {
    let bench = bench();
    let mut process = start(&bench, &["--watch", "restart"]);
    let first = told(&process, "arguments ['one', 'two words']").await;
    assert_ne!(first, process.pid().to_string(), "keyturn stays in front");
    told(&process, "OPENAI_API_KEY 0").await;
    std::fs::remove_file(bench.path("openai")).unwrap();
    process.line("what is wrong", |line| line.text.contains("goes on with the values")).await;
    bench.write("openai", &format!("{NEXT}\n"));
    let second = told_by_another(&process, &first, "OPENAI_API_KEY 2").await;
    told(&process, "got SIGTERM").await;
    told_by_another(&process, &first, "arguments ['one', 'two words']").await;

    // Signals go on to the command, and its end is ours.
    process.signal("HUP").await;
    assert_eq!(told(&process, "got SIGHUP").await, second);
    process.signal("TERM").await;
    let (status, all) = process.exit().await;
    assert_eq!(status.code(), Some(9), "{all}");
    for part in ["changed: OPENAI_API_KEY", "restarts the command", "every secret can be read again"] {
        assert!(all.contains(part), "{part:?} is not in {all}");
    }
    assert_clean(&all, "what is said");
}

#[tokio::test]
async fn a_changed_file_is_told_by_a_signal() {
    let bench = bench();
    let mut process = start(&bench, &["--watch", "signal=USR1"]);
    let child = told(&process, "arguments ['one', 'two words']").await;
    bench.write("openai", NEXT);
    assert_eq!(told(&process, "got SIGUSR1").await, child);
    let status = tokio::process::Command::new("kill").args(["-KILL", &child]).status().await.unwrap();
    assert!(status.success());
    let (status, all) = process.exit().await;
    assert_eq!(status.code(), Some(128 + 9), "{all}");
    assert_clean(&all, "what is said");
}

//! The peers, installed from their registries as tests/bench/peers pins them, and started as their documentation says.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::gateways::{bearer, config, variables};
use super::subject::{Subject, free_address};
use super::upstream::{self, Upstream};

const LITELLM: &str = include_str!("../../peers/litellm/requirements.txt");
const PORTKEY: &str = include_str!("../../peers/portkey/package-lock.json");

/// Installs LiteLLM's proxy into `directory`, and says how it is started: with the settings of
/// <https://docs.litellm.ai/docs/proxy/prod> that need no database and no Redis, and with a worker process for each
/// core: that page's one worker per pod, with a pod per core.
///
/// # Errors
///
/// Why it cannot be installed.
pub(super) fn litellm(directory: &Path, upstream: Upstream) -> Result<Subject, String> {
    installed(directory, LITELLM, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory))?;
        run(Command::new(directory.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
            .arg(super::peers_directory().join("litellm/requirements.txt")))
    })?;
    let program = directory.join("bin/litellm");
    if !program.exists() {
        return Err("it has no wheels for this Python or this system".to_owned());
    }
    let version = LITELLM.lines().find_map(|line| line.strip_prefix("litellm==")?.split(' ').next());
    let address = free_address();
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut environment = variables(upstream);
    environment.extend([
        ("LITELLM_MODE", "PRODUCTION".to_owned()),
        ("LITELLM_LOG", "ERROR".to_owned()),
        // The price list that comes with it, in place of a download at every start.
        ("LITELLM_LOCAL_MODEL_COST_MAP", "True".to_owned()),
        // A worker says in time that it is ready.
        ("PYTHONUNBUFFERED", "1".to_owned()),
    ]);
    let arguments = [
        format!("--config={}", config()),
        "--host=127.0.0.1".to_owned(),
        format!("--port={}", address.port()),
        format!("--num_workers={workers}"),
    ];
    Ok(Subject {
        name: format!("LiteLLM {}", version.unwrap_or_default()),
        program,
        arguments: arguments.into(),
        environment,
        address,
        headers: bearer(super::gateways::MASTER_KEY),
        processes: Some(("Proxy initialized with Config", workers)),
    })
}

/// Installs Portkey's gateway into `directory`, and says how it is started: as
/// <https://github.com/Portkey-AI/gateway/blob/main/docs/installation-deployments.md> says for Node.js, which is one
/// process. It has no keys of its own: the client sends the upstream's.
///
/// # Errors
///
/// Why it cannot be installed.
pub(super) fn portkey(directory: &Path, upstream: Upstream) -> Result<Subject, String> {
    installed(directory, PORTKEY, || {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        for file in ["package.json", "package-lock.json"] {
            let pinned = super::peers_directory().join("portkey").join(file);
            fs::copy(pinned, directory.join(file)).map_err(|error| error.to_string())?;
        }
        run(Command::new("npm")
            .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
            .current_dir(directory))
    })?;
    let version = PORTKEY.lines().find_map(|line| line.trim().strip_prefix(r#""@portkey-ai/gateway": ""#));
    let server = directory.join("node_modules/@portkey-ai/gateway/build/start-server.js");
    let address = free_address();
    let mut headers = bearer(upstream::KEY);
    headers.extend([("x-portkey-provider", "openai".to_owned()), ("x-portkey-custom-host", upstream.base())]);
    Ok(Subject {
        name: format!("Portkey {}", version.unwrap_or_default().trim_end_matches('"')),
        program: PathBuf::from("node"),
        arguments: vec![
            server.to_string_lossy().into_owned(),
            "--headless".to_owned(),
            format!("--port={}", address.port()),
        ],
        environment: vec![("NODE_ENV", "production".to_owned())],
        address,
        headers,
        processes: None,
    })
}

/// Installs what is pinned, unless it was installed before.
fn installed(directory: &Path, pinned: &str, install: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let mark = directory.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == pinned) {
        return Ok(());
    }
    install()?;
    fs::write(&mark, pinned).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("{program}: {}: {last}", output.status))
}

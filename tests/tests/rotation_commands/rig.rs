//! The program, Secrets Manager and a provider; and what may not be seen.

use keyturn_tests::binaries;
use keyturn_tests::moto::{self, Moto};
use keyturn_tests::process::{Pipe, Process, Start};
use keyturn_tests::upstream::Upstream;
use keyturn_tests::upstream::admin::OpenAiAdministration;

/// The value that a secret has at first.
pub(super) const CURRENT: &str = "sk-proj-wren-current-tailQw3E";
/// The value of a version that is pending.
pub(super) const PENDING: &str = "sk-proj-lark-pending-tailRt5Y";
/// The administrator's.
pub(super) const ADMIN: &str = "sk-admin-finch-all-rights-tailUi8O";
/// A key that stands where a setting belongs.
pub(super) const MISPLACED: &str = "sk-proj-heron-misplaced-tailAs6D";

/// What tells of those, whole or masked.
const PARTS: &[&str] = &["wren", "Qw3E", "lark", "Rt5Y", "finch", "Ui8O", "heron", "As6D"];

/// The steps of a rotation.
pub(super) const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// No canary is in a text.
pub(super) fn assert_clean(text: &str, place: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{part} shows up in {place}:\n{text}");
    }
}

/// What a run of the program said, and how it ended.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Told {
    pub(super) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// It did what it was asked.
    pub(super) fn works(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }

    /// It did not, and says why.
    pub(super) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:?}");
        }
    }

    pub(super) fn hides(&self, value: &str) {
        assert!(!self.all().contains(value), "a value is shown: {self:?}");
    }
}

pub(super) struct Rig {
    pub(super) moto: Moto,
    pub(super) upstream: Upstream,
}

impl Rig {
    pub(super) async fn start() -> Self {
        // Nothing calls a function here: the program leads its rotations itself.
        let moto = Moto::start_leading("http://127.0.0.1:1", &[]).await;
        let upstream = Upstream::start(&[CURRENT]).await;
        upstream.administer(OpenAiAdministration { admin: ADMIN.to_owned() });
        Self { moto, upstream }
    }

    /// Makes a secret.
    pub(super) async fn secret(&self, name: &str, value: &str, tags: &[(&str, &str)]) {
        self.moto.create_secret(name, value).await;
        if !tags.is_empty() {
            self.moto.tag(name, tags).await;
        }
    }

    /// Makes a secret that the rotator `openai` replaces at our upstream, with these settings too, or instead.
    pub(super) async fn openai(&self, name: &str, value: &str, more: &[(&str, &str)]) {
        let api_base = self.upstream.openai_base();
        let usual = [
            ("keyturn:rotator", "openai"),
            ("keyturn:project", "proj_1"),
            ("keyturn:service_account", "svc_1"),
            ("keyturn:admin_key", "env:OPENAI_ADMIN_KEY"),
            ("keyturn:api_base", api_base.as_str()),
        ];
        let stays = |(name, _): &(&str, &str)| more.iter().all(|(other, _)| other != name);
        let tags: Vec<_> = usual.into_iter().filter(stays).chain(more.iter().copied()).collect();
        self.secret(name, value, &tags).await;
    }

    /// The version that has a stage.
    pub(super) async fn version(&self, name: &str, stage: &str) -> Option<String> {
        let there = self.moto.describe(name).await;
        let versions = there["VersionIdsToStages"].as_object().unwrap().iter();
        let mut with =
            versions.filter(|(_, stages)| stages.as_array().unwrap().iter().any(|one| one == stage));
        with.next().map(|(version, _)| version.clone())
    }

    /// The values of the provider's keys.
    pub(super) fn keys(&self) -> Vec<String> {
        self.upstream.keys(|keys| keys.there().map(|key| key.value.clone()).collect())
    }

    /// Runs `keyturn`. Whatever it does, no canary is seen, and a pipe gets plain text.
    pub(super) async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Told {
        let told = self.spawn(binaries::keyturn(), arguments, environment).await;
        assert_clean(&told.all(), &format!("what {arguments:?} says with {environment:?}"));
        assert!(!told.all().contains(['\u{1b}', '\r']), "not plain: {told:?}");
        told
    }

    /// Runs it by a shell's script, as `"$0" "$@"`.
    pub(super) async fn run_through(&self, script: &str, arguments: &[&str]) -> Told {
        let program = binaries::keyturn();
        let program = program.to_string_lossy();
        let arguments = [&["-c", script, &program], arguments].concat();
        self.spawn("/bin/sh".into(), &arguments, &[]).await
    }

    async fn spawn(
        &self,
        program: std::path::PathBuf,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Told {
        let secrets = self.moto.url();
        let usual = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("AWS_REGION", moto::REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets),
            ("OPENAI_ADMIN_KEY", ADMIN),
        ];
        let mut process = Process::start(&Start {
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            // Of two variables with a name, the latter counts; an empty one is as good as none.
            environment: usual
                .iter()
                .chain(environment)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            directory: std::env::temp_dir(),
        });
        let (status, _) = process.exit().await;
        let text = |pipe| {
            let lines = process.lines();
            let lines = lines.iter().filter(|line| line.pipe == pipe);
            lines.map(|line| format!("{}\n", line.text)).collect::<String>()
        };
        Told {
            code: status.code().expect("no signal ended it"),
            stdout: text(Pipe::Stdout),
            stderr: text(Pipe::Stderr),
        }
    }
}

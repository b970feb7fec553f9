//! Everything together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{join, join_all};
use keyturn_keys::manage::{Caller, Whose};
use keyturn_tests::binaries;
use keyturn_tests::faults::{Fault, Faults};
use keyturn_tests::invocations::Invocations;
use keyturn_tests::moto::Moto;
use keyturn_tests::openbao::{OpenBao, ROOT};
use keyturn_tests::response::FunctionError;
use keyturn_tests::upstream::Upstream;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use crate::aws::{self, Accounts};
use crate::fleet::{Fleet, Question};
use crate::lane::{HARD_TTL, LONGEST_CALL, Lane, OVERLAP, Secret};
use crate::options::Options;
use crate::providers::{ADMINS, Kind, Provider};
use crate::stack::{self, Stack};
use crate::tally::{self, Line};

/// Environments of the request function.
const ENVIRONMENTS: u64 = 3;
/// Clients of AWS.
const AWS_CLIENTS: usize = 2;
/// Load without rotations, before and after.
const CALM: Duration = Duration::from_secs(3);
/// The secret with a virtual key.
const VIRTUAL_KEY: &str = "prove/virtual-key";

/// What Secrets Manager rotates.
struct Led {
    lanes: Vec<Arc<Lane>>,
    moto: Arc<Moto>,
}

/// The servers.
struct World {
    options: Options,
    moto: Arc<Moto>,
    stack: Stack,
    vault: &'static OpenBao,
    accounts: Accounts,
    /// Set once all credentials are there.
    led: Arc<OnceLock<Led>>,
    _invocations: Invocations,
}

/// What a credential is for.
enum Use {
    Provider(Box<Provider>),
    Aws,
    VirtualKey,
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn seconds(time: Duration) -> String {
    time.as_secs().to_string()
}

/// Secrets Manager calls a step: of whose secret?
async fn lead(led: Arc<OnceLock<Led>>, event: Value) -> Result<Value, FunctionError> {
    let arn = event["SecretId"].as_str().unwrap_or_default().to_owned();
    let is_it = |lane: &&Arc<Lane>| match &lane.secret {
        Secret::Led(name) => arn.contains(&format!(":secret:{name}-")),
        Secret::Scheduled(_) => false,
    };
    let led = led.get().expect("nothing is rotated before all is there");
    let lane = led.lanes.iter().find(is_it).unwrap_or_else(|| panic!("whose is {arn}?"));
    lane.lead(event, &led.moto).await
}

impl World {
    async fn start(options: &Options) -> Self {
        let led = Arc::new(OnceLock::new());
        let leading = Arc::clone(&led);
        let invocations = Invocations::start(move |event| lead(Arc::clone(&leading), event)).await;
        Self {
            options: options.clone(),
            moto: Arc::new(Moto::start_leading(&invocations.url(), &[]).await),
            stack: Stack::start().await,
            vault: OpenBao::shared(),
            accounts: Accounts::start().await,
            led,
            _invocations: invocations,
        }
    }

    /// A credential, and the rotation function for it, all of whose calls go through proxies that can fail.
    async fn lane(&self, number: u64, name: &'static str, secret: Secret, mut faults: Faults) -> Arc<Lane> {
        let (hard_ttl, longest_call) = if self.options.hasty {
            ("1".to_owned(), "0".to_owned())
        } else {
            (seconds(HARD_TTL), seconds(LONGEST_CALL))
        };
        let mut variables = owned(&[
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &faults.before("secrets", self.moto.direct_url()).await),
            ("AWS_ENDPOINT_URL_DYNAMODB", &faults.before("table", &self.stack.dynamo.url()).await),
            ("HCP_VAULT_ADDR", &faults.before("vault", self.vault.url()).await),
            ("HCP_VAULT_TOKEN", ROOT),
            ("AWS_ACCESS_KEY_ID", &self.accounts.admin.id),
            ("AWS_SECRET_ACCESS_KEY", &self.accounts.admin.secret),
            ("AWS_SESSION_TOKEN", ""),
            ("KEYTURN_TABLE", stack::TABLE),
            ("KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS", "1"),
            ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", &hard_ttl),
            ("KEYTURN_LONGEST_CALL_SECONDS", &longest_call),
        ]);
        variables.extend(owned(&ADMINS));
        Lane::new(name, secret, binaries::rotation(), variables, faults, &self.options, number)
    }

    /// All credentials, each with its secret made.
    async fn credentials(&self) -> Vec<(Arc<Lane>, Use)> {
        let wanted = |name: &str| self.options.only.as_deref().is_none_or(|only| only == name);
        let mut all = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| wanted(kind.name())) {
            let mut faults = Faults::default();
            let upstream = Upstream::start(&[]).await;
            let base = faults.before("provider", &upstream.url()).await;
            let provider = Provider::start(kind, upstream, &base, &self.moto, &self.options).await;
            let number = u64::try_from(all.len()).unwrap_or_default();
            let lane = self.lane(number, kind.name(), provider.secret.clone(), faults).await;
            all.push((lane, Use::Provider(Box::new(provider))));
        }
        if wanted("aws_access_key") {
            let mut faults = Faults::default();
            let base = faults.before("provider", self.accounts.moto.direct_url()).await;
            self.moto.create_secret(aws::NAME, &self.accounts.secret(&base).to_string()).await;
            let lane = self.lane(11, "aws_access_key", Secret::Led(aws::NAME.to_owned()), faults).await;
            all.push((lane, Use::Aws));
        }
        // The clients of the others need no secret for theirs.
        let key = self.stack.virtual_key(None, stack::with_budget_of(1e6)).await;
        self.moto.create_secret(VIRTUAL_KEY, &key).await;
        if wanted("virtual_key") {
            self.moto.tag(VIRTUAL_KEY, &[("keyturn:rotator", "keyturn_virtual_key")]).await;
            let secret = Secret::Led(VIRTUAL_KEY.to_owned());
            let lane = self.lane(12, "virtual_key", secret, Faults::default()).await;
            all.push((lane, Use::VirtualKey));
        }
        assert!(!all.is_empty(), "there is no such credential");
        all
    }

    /// The gateway's configuration, and its environment.
    fn gateway(&self, credentials: &[(Arc<Lane>, Use)]) -> Vec<(String, String)> {
        let models = credentials.iter().map(|(_, user)| match user {
            Use::Provider(provider) => provider.models(),
            Use::Aws | Use::VirtualKey => String::new(),
        });
        let models: String = models.collect();
        let demo = format!(
            "- model_name: demo\n  litellm_params:\n    model: openai/demo\n    mock_response: {}\n",
            stack::DEMO
        );
        let path = self.stack.path().join("config.yaml");
        std::fs::write(&path, format!("model_list:\n{models}{demo}{}", stack::NO_RETRIES)).unwrap();
        let more = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.moto.url()),
            ("HCP_VAULT_ADDR", self.vault.url().to_owned()),
            ("HCP_VAULT_TOKEN", ROOT.to_owned()),
            ("KEYTURN_CREDENTIAL_SOFT_TTL_SECONDS", "1".to_owned()),
            ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", seconds(HARD_TTL)),
        ];
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        owned(&stack::variables(&path.to_string_lossy(), &self.stack.dynamo.url(), &more))
    }

    async fn fleet(&self, credentials: &[(Arc<Lane>, Use)]) -> Fleet {
        let questions = credentials.iter().filter_map(|(lane, user)| {
            let model = match user {
                Use::Provider(provider) => Some(provider.kind.model()),
                Use::VirtualKey => None,
                Use::Aws => return None,
            };
            Some(Question { lane: Arc::clone(lane), model })
        });
        Fleet {
            binary: binaries::request(),
            variables: self.gateway(credentials),
            questions: questions.collect(),
            moto: Arc::clone(&self.moto),
            key: self.stack.virtual_key(None, stack::with_budget_of(1e6)).await,
            virtual_key: VIRTUAL_KEY,
            stop: AtomicBool::new(false),
            cold_starts: AtomicU64::new(0),
            lived: AtomicU64::new(0),
        }
    }

    /// Rotates everything until the time is over, then lets the load go on for a while.
    async fn rotate(&self, fleet: &Fleet, credentials: &[(Arc<Lane>, Use)]) {
        tokio::time::sleep(CALM).await;
        let until = Instant::now() + self.options.time;
        join_all(credentials.iter().map(|(lane, _)| async {
            while Instant::now() < until {
                lane.rotate(&self.moto).await;
                lane.rest().await;
            }
        }))
        .await;
        tokio::time::sleep(CALM).await;
        fleet.stop.store(true, Ordering::Relaxed);
    }

    async fn load(&self, fleet: &Fleet, credentials: &[(Arc<Lane>, Use)]) {
        let environments: u64 = if fleet.questions.is_empty() { 0 } else { ENVIRONMENTS };
        let gateway =
            join_all((0..environments).map(|number| fleet.ask(self.options.seed.wrapping_add(number))));
        let lane = credentials.iter().find(|(_, user)| matches!(user, Use::Aws)).map(|(lane, _)| lane);
        let lanes = lane.into_iter().flat_map(|lane| std::iter::repeat_n(lane, AWS_CLIENTS));
        join(gateway, join_all(lanes.map(|lane| aws::client(&self.accounts, lane, fleet)))).await;
    }

    /// Asserts that a credential's rotations left everything as it should be.
    async fn must_be_settled(&self, lane: &Lane, user: &Use) {
        match user {
            Use::Provider(provider) => provider.must_be_settled(&self.moto).await,
            Use::Aws => self.accounts.must_be_settled(&self.moto).await,
            Use::VirtualKey => {
                let current = SecretString::from(self.moto.read_secret(VIRTUAL_KEY).await);
                let keys = &self.stack.keys;
                assert!(keys.has_value(Whose::Key, &current).await.unwrap(), "the current key does not work");
                let values = keys.named_values(&Caller::admin(None), &current, "keyturn-").await.unwrap();
                assert_eq!(values.len(), 1, "values of the virtual key are left behind");
            }
        }
        lane.must_have_what_was_written(&self.moto).await;
        if let Secret::Led(name) = &lane.secret {
            let stages = self.moto.describe(name).await["VersionIdsToStages"].clone();
            for stages in stages.as_object().unwrap().values().filter_map(Value::as_array) {
                let has = |stage: &str| stages.iter().any(|label| label == stage);
                assert!(!has("AWSPENDING") || has("AWSCURRENT"), "{name}: a rotation is half done");
            }
        }
    }
}

/// Runs the proof.
pub(crate) async fn prove(options: &Options) {
    let world = World::start(options).await;
    let credentials = world.credentials().await;
    let lanes = credentials.iter().map(|(lane, _)| Arc::clone(lane)).collect();
    let led = Led { lanes, moto: Arc::clone(&world.moto) };
    assert!(world.led.set(led).is_ok(), "set once");
    let fleet = world.fleet(&credentials).await;
    join(world.load(&fleet, &credentials), world.rotate(&fleet, &credentials)).await;
    // What was used last was used an overlap ago.
    tokio::time::sleep(OVERLAP + Duration::from_secs(1)).await;
    join_all(credentials.iter().map(|(lane, _)| lane.settle())).await;

    let mut table = tally::head();
    for (lane, user) in &credentials {
        let (revoked, healed) = match user {
            Use::Provider(provider) => (provider.upstream.revoked(), provider.upstream.refused_answers()),
            // Their clients see every refusal.
            Use::Aws | Use::VirtualKey => (0, 0),
        };
        table += &tally::line(&Line { name: lane.name, revoked, healed }, &lane.tally);
    }
    println!(
        "\n{table}\nmilliseconds at p50/p99; {} environments of the gateway lived {:.0} s in all and read Secrets \
         Manager {} times; seed {}",
        fleet.cold_starts.load(Ordering::Relaxed),
        Duration::from_millis(fleet.lived.load(Ordering::Relaxed)).as_secs_f64(),
        world.moto.reads(),
        options.seed
    );
    let came = |fault: &Fault| {
        let came = |lane: &Lane| lane.tally.note(|counts| counts.faults.contains_key(fault));
        credentials.iter().any(|(lane, _)| came(lane))
    };
    let missing: Vec<&Fault> = Fault::ALL.iter().filter(|fault| !came(fault)).collect();
    // One credential alone, or a run shorter than the short form, need not see all of them.
    let is_whole = options.only.is_none() && options.time >= Options::short().time;
    assert!(missing.is_empty() || !is_whole, "these faults never came: {missing:?}");
    for (lane, user) in &credentials {
        let (failed, rotations) =
            lane.tally.note(|counts| (counts.failed.first().cloned(), counts.rotations));
        assert!(failed.is_none(), "{}: a request failed: {}", lane.name, failed.unwrap_or_default());
        if let Use::Provider(provider) = user {
            assert_eq!(provider.upstream.revoked(), 0, "{}: a key was revoked while it was used", lane.name);
        }
        assert!(rotations > 0, "{}: no rotation", lane.name);
        world.must_be_settled(lane, user).await;
    }
}

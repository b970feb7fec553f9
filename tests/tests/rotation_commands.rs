//! `keyturn rotate` and `keyturn rotation …`, on Secrets Manager and on Vault, as a script runs them.

mod canaries;
mod rig;

use keyturn_tests::openbao::{OpenBao, ROOT};
use serde_json::{Value, json};

use rig::{ADMIN, CURRENT, PENDING, Rig, STEPS};

const HOOK: &str = "prod/hook";
const NAMED: &str = "aws-secretsmanager:prod/hook";

/// A secret of one text that the rotator `random` replaces.
async fn hook() -> Rig {
    let rig = Rig::start().await;
    rig.secret(HOOK, CURRENT, &[("keyturn:rotator", "random")]).await;
    rig
}

#[tokio::test]
async fn rotate_tells_each_step_and_moves_the_current_stage() {
    let rig = hook().await;
    let before = rig.version(HOOK, "AWSCURRENT").await.unwrap();
    let told = rig.run(&["rotate", NAMED], &[]).await;
    assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{told:?}");
    let lines: Vec<&str> = told.stdout.lines().collect();
    let [steps @ .., last] = lines.as_slice() else { panic!("{told:?}") };
    let names: Vec<_> = steps.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, STEPS);
    assert!(steps.iter().all(|line| line.starts_with("  ✓ ")), "{told:?}");

    let after = rig.version(HOOK, "AWSCURRENT").await.unwrap();
    assert_eq!(*last, format!("{NAMED} is at version {after}"));
    assert_eq!(rig.version(HOOK, "AWSPREVIOUS").await, Some(before));
    let value = rig.moto.read_secret(HOOK).await;
    assert_eq!(value.chars().count(), 32);
    told.hides(&value);

    // Somebody may still use what was just replaced.
    let again = rig.run(&["rotate", NAMED], &[]).await;
    again.fails(1, &[NAMED, "createSecret", "too fresh", "keyturn:overlap"]);
    again.hides(&value);
    assert_eq!(rig.version(HOOK, "AWSCURRENT").await, Some(after));
    assert_eq!(rig.moto.read_secret(HOOK).await, value);
}

#[tokio::test]
async fn a_rotation_goes_on_when_nobody_reads_what_is_told() {
    let rig = hook().await;
    rig.run_through("\"$0\" \"$@\" | true", &["rotate", NAMED]).await;
    assert_ne!(rig.moto.read_secret(HOOK).await, CURRENT);
}

/// What changes a secret.
const WRITES: &[&str] =
    &["PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "TagResource", "UntagResource"];

#[tokio::test]
async fn a_dry_run_changes_nothing_and_names_what_is_in_the_way() {
    let rig = hook().await;
    let dry = async |secret: &str, code: i32, parts: &[&str]| {
        let (name, _) = secret.split_once('#').unwrap_or((secret, ""));
        let before = rig.moto.describe(name).await;
        let keys = rig.keys();
        let writes = || WRITES.iter().map(|write| rig.moto.requests(write)).sum::<u64>();
        let written = writes();
        let told = rig.run(&["rotate", &format!("aws-secretsmanager:{secret}"), "--dry-run"], &[]).await;
        assert_eq!(told.code, code, "{secret}: {told:?}");
        for part in parts {
            assert!(told.all().contains(part), "{part:?} is not told of {secret}: {told:?}");
        }
        assert_eq!(rig.moto.describe(name).await, before, "{secret}");
        assert_eq!((rig.keys(), writes()), (keys, written), "{secret}");
    };
    dry(HOOK, 0, &["by random", "nothing would stop a rotation"]).await;
    rig.run(&["rotate", NAMED], &[]).await.works();
    dry(HOOK, 1, &["too fresh: wait until 20", "a rotation would not work now"]).await;

    rig.openai("prod/openai", CURRENT, &[]).await;
    dry("prod/openai", 0, &["by openai", "nothing would stop a rotation"]).await;
    let nobody = [("keyturn:admin_key", "env:NOBODYS_KEY")];
    rig.openai("prod/nobody", CURRENT, &nobody).await;
    dry("prod/nobody", 1, &["cannot be listed", "env:NOBODYS_KEY", "not found"]).await;
    rig.upstream.revoke(CURRENT);
    dry("prod/openai", 1, &["the current credential", "refuses the credential (HTTP 401"]).await;

    // It broke off: what is pending would be gone on with.
    let pending = rig.moto.put_secret("prod/openai", PENDING, &["AWSPENDING"]).await;
    dry("prod/openai", 1, &[&format!("broke off would be gone on with: version {pending}")]).await;

    let value = json!({"A": CURRENT, "B": CURRENT}).to_string();
    rig.secret("prod/fields", &value, &[("keyturn:rotator", "random")]).await;
    dry("prod/fields", 1, &["keyturn:field must say which field"]).await;
    let value = json!({"A": CURRENT, "B": CURRENT, "keyturn:rotator":
        {"A": {"rotator": "random"}, "B": {"rotator": "random"}}});
    rig.secret("prod/several", &value.to_string(), &[("keyturn:rotator", "in-secret")]).await;
    dry("prod/several#B", 0, &["the credential of B, by random"]).await;
    dry("prod/several#C", 1, &["no setting names that field"]).await;
}

#[tokio::test]
async fn status_lists_secrets_and_shows_the_others_when_one_is_broken() {
    let rig = hook().await;
    rig.run(&["rotate", NAMED], &[]).await.works();
    let value = json!({"A": CURRENT, "B": CURRENT, "keyturn:rotator":
        {"A": {"rotator": "random"}, "B": {"rotator": "random", "overlap": "2h"}}});
    rig.secret("prod/several", &value.to_string(), &[("keyturn:rotator", "in-secret")]).await;
    rig.secret("prod/untouched", CURRENT, &[]).await;
    let current = rig.version(HOOK, "AWSCURRENT").await.unwrap();
    let previous = rig.version(HOOK, "AWSPREVIOUS").await.unwrap();

    // Without names: what has the tag.
    let told = rig.run(&["rotation", "status"], &[]).await;
    told.works();
    let row = |name: &str| {
        let line = told.stdout.lines().find(|line| line.contains(name));
        line.unwrap_or_else(|| panic!("no {name}: {told:?}")).to_owned()
    };
    for part in ["(all of it)", "random", &current[..8], &previous[..8], " in 7"] {
        assert!(row(NAMED).contains(part), "{part:?} is not in {}", row(NAMED));
    }
    assert!(row("aws-secretsmanager:prod/several").contains(" A "), "{told:?}");
    assert!(row("aws-secretsmanager:prod/several").contains("never"), "{told:?}");
    assert!(!told.stdout.contains("untouched"), "{told:?}");

    let told = rig.run(&["rotation", "status", "aws-secretsmanager:prod/untouched"], &[]).await;
    told.works();
    assert!(told.stdout.contains("prod/untouched is not rotated"), "{told:?}");

    rig.secret("prod/broken", CURRENT, &[("keyturn:rotator", "randon")]).await;
    let told = rig.run(&["rotation", "status"], &[]).await;
    told.fails(1, &["1 did not work"]);
    for part in [NAMED, "prod/several", "aws-secretsmanager:prod/broken", "keyturn:rotator is unknown"] {
        assert!(told.stdout.contains(part), "{part:?} is not in {told:?}");
    }

    // For scripts, and of these alone.
    let told = rig.run(&["rotation", "status", "--json", NAMED, "aws-secretsmanager:prod/broken"], &[]).await;
    told.fails(1, &["1 did not work"]);
    let rows: Value = serde_json::from_str(&told.stdout).unwrap();
    let [hook, broken] = rows.as_array().unwrap().as_slice() else { panic!("{rows}") };
    assert_eq!(
        (&hook["secret"], &hook["current"], &hook["previous"]),
        (&json!(NAMED), &json!(current), &json!(previous))
    );
    let target = &hook["credentials"][0];
    assert_eq!((&hook["pending"], &target["rotator"]), (&Value::Null, &json!("random")));
    assert!(target["retires_at"].as_str().unwrap() > hook["current_since"].as_str().unwrap(), "{rows}");
    assert_eq!(broken["secret"], "aws-secretsmanager:prod/broken");
    assert!(broken["error"].as_str().unwrap().contains("keyturn:rotator is unknown"), "{rows}");
}

#[tokio::test]
async fn a_stuck_rotation_is_abandoned_and_the_next_one_begins_anew() {
    let rig = hook().await;
    let stuck = rig.moto.put_secret(HOOK, PENDING, &["AWSPENDING"]).await;
    let told = rig.run(&["rotation", "status", NAMED], &[]).await;
    told.works();
    assert!(told.stdout.contains(&stuck[..8]), "{told:?}");

    let told = rig.run(&["rotation", "abandon", NAMED], &[]).await;
    told.works();
    assert!(told.stdout.contains(&format!("Given up: version {stuck}")), "{told:?}");
    assert_eq!(rig.version(HOOK, "AWSPENDING").await, None);
    assert_eq!(rig.moto.read_secret(HOOK).await, CURRENT);

    rig.run(&["rotate", NAMED], &[]).await.works();
    let value = rig.moto.read_secret(HOOK).await;
    assert!(value != CURRENT && value != PENDING);
    // A rotation that is over is none that could be abandoned, wherever the pending stage was left.
    let told = rig.run(&["rotation", "abandon", NAMED], &[]).await;
    told.works();
    assert_eq!(told.stdout, "No rotation is under way.\n");
    assert_eq!(rig.moto.read_secret(HOOK).await, value);
}

#[tokio::test]
async fn a_rotation_that_broke_off_is_gone_on_with() {
    let rig = hook().await;
    let stuck = rig.moto.put_secret(HOOK, PENDING, &["AWSPENDING"]).await;
    let told = rig.run(&["rotate", NAMED], &[]).await;
    told.works();
    assert!(told.stdout.ends_with(&format!("is at version {stuck}\n")), "{told:?}");
    assert_eq!(rig.moto.read_secret(HOOK).await, PENDING);
}

#[tokio::test]
async fn retire_takes_back_what_nobody_holds() {
    let rig = Rig::start().await;
    rig.openai("prod/openai", CURRENT, &[("keyturn:overlap", "0s")]).await;
    let secret = "aws-secretsmanager:prod/openai";
    let at_once = [("KEYTURN_LONGEST_CALL_SECONDS", "0")];
    for _ in 0..2 {
        rig.run(&["rotate", secret], &at_once).await.works();
    }
    let current = rig.moto.read_secret("prod/openai").await;
    let former = rig.keys()[1].clone();
    assert_eq!(rig.keys().len(), 3);

    // The service refuses: that is told, and tried again by whoever calls next.
    let wrong = [at_once[0], ("OPENAI_ADMIN_KEY", "sk-admin-another")];
    let told = rig.run(&["rotation", "retire", secret], &wrong).await;
    told.fails(1, &["1 did not work"]);
    assert!(told.stdout.contains("not taken back: the service refuses the administrator's"), "{told:?}");
    assert_eq!(rig.keys().len(), 3);

    let told = rig.run(&["rotation", "retire", secret], &at_once).await;
    told.works();
    assert_eq!(told.stdout.trim(), "former credential key_2: deleted");
    assert_eq!(rig.keys(), [CURRENT, &current], "the one that a person made stays");
    let told = rig.run(&["rotation", "retire", secret], &at_once).await;
    told.works();
    assert_eq!(told.stdout, "Nothing is to be taken back now.\n");

    // A rotation does it on the way, and tells.
    for rotation in 0..2 {
        let told = rig.run(&["rotate", secret], &at_once).await;
        told.works();
        assert_eq!(told.stdout.contains("former credential key_3: deleted"), rotation == 1, "{told:?}");
        for value in [&current, &former] {
            told.hides(value);
        }
    }
}

#[tokio::test]
async fn a_secret_in_vault_is_rotated_field_by_field() {
    let vault = OpenBao::shared();
    let name = vault.fresh("commands");
    let path = format!("secret/data/{name}");
    let fields = json!({"HOOK": CURRENT, "SIGNING": CURRENT, "OTHER": "stays", "keyturn:rotator":
        {"HOOK": {"rotator": "random"}, "SIGNING": {"rotator": "random", "test_url": "http://127.0.0.1:1/"}}});
    vault.write(&path, &json!({"data": fields})).await;
    let rig = Rig::start().await;
    let (secret, listed) = (format!("vault:secret/{name}#HOOK"), format!("vault:secret/{name}"));
    let environment = [
        ("HCP_VAULT_ADDR", vault.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("KEYTURN_ROTATED_SECRETS", listed.as_str()),
    ];
    let run = async |arguments: &[&str]| rig.run(arguments, &environment).await;
    let read = async || vault.read(&path).await["data"]["data"].clone();

    let before = read().await;
    let told = run(&["rotate", &secret, "--dry-run"]).await;
    told.works();
    assert!(told.stdout.contains("the credential of HOOK, by random"), "{told:?}");
    let broken = run(&["rotate", &format!("{listed}#SIGNING"), "--dry-run"]).await;
    broken.fails(1, &["a rotation would not work"]);
    assert!(broken.stdout.contains("the current credential: the service is unavailable"), "{broken:?}");
    assert_eq!(read().await, before);

    let told = run(&["rotate", &secret]).await;
    told.works();
    assert!(told.stdout.contains("(HOOK)"), "{told:?}");
    let after = read().await;
    let value = after["HOOK"].as_str().unwrap();
    assert!(value != CURRENT && after["SIGNING"] == CURRENT && after["OTHER"] == "stays");
    told.hides(value);
    // Who was refused may try again at once.
    for _ in 0..2 {
        run(&["rotate", &secret]).await.fails(1, &[&listed, "createSecret", "too fresh"]);
    }
    let told = run(&["rotation", "status"]).await;
    told.works();
    let row = |field: &str| told.stdout.lines().find(|line| line.contains(field)).expect("a row").to_owned();
    let (hook, signing) = (row("HOOK"), row("SIGNING"));
    assert!(hook.contains(&listed) && hook.contains(" s ago") && hook.contains(" in 7"), "{told:?}");
    assert!(signing.contains("random") && signing.contains("never"), "{told:?}");

    // The refused rotation is still under way; given up, it lets others begin.
    run(&["rotation", "abandon", &listed]).await.works();
    let told = run(&["rotation", "abandon", &listed]).await;
    assert_eq!(told.stdout, "No rotation is under way.\n");
    let told = run(&["rotation", "retire", &listed]).await;
    assert_eq!((told.code, told.stdout.as_str()), (0, "Nothing is to be taken back now.\n"), "{told:?}");
    run(&["rotate", "vault:secret/nowhere#HOOK"]).await.fails(1, &["vault:secret/nowhere", "not found"]);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let rig = hook().await;
    let run = async |arguments: &[&str], environment: &[(&str, &str)], code: i32, parts: &[&str]| {
        rig.run(arguments, environment).await.fails(code, parts);
    };
    // The command line.
    for (reference, problem) in [
        ("prod/hook", "<SECRET> is not a secret reference: expected scheme:name"),
        ("aws-secretsmanager:", "<SECRET> names no secret"),
        ("aws-secretsmanager:a#", "<SECRET> names no field"),
        ("aws-secretsmanager:a?stage=AWSPREVIOUS", "<SECRET> names a stage"),
    ] {
        run(&["rotate", reference], &[], 2, &[problem]).await;
        run(&["rotation", "abandon", reference], &[], 2, &[problem]).await;
    }
    for reference in ["env:OPENAI_API_KEY", "hashicorp-vault:a"] {
        let problem = "there is no such secret store: expected aws-secretsmanager:";
        run(&["rotate", reference], &[], 1, &[problem]).await;
    }
    // The environment.
    for (variable, value) in [
        ("KEYTURN_LONGEST_CALL_SECONDS", "soon"),
        ("KEYTURN_LONGEST_CALL_SECONDS", "-1"),
        ("KEYTURN_KEY_STORE", "redis:keys"),
        ("KEYTURN_ROTATED_SECRETS", "prod/hook"),
        ("KEYTURN_CREDENTIAL_HARD_TTL_SECONDS", "soon"),
        ("AWS_REGION", ""),
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ] {
        run(&["rotate", NAMED], &[(variable, value)], 1, &[variable]).await;
        run(&["rotation", "status"], &[(variable, value)], 1, &[variable]).await;
    }
    run(&["rotate", "vault:secret/hook"], &[], 1, &["vault:secret/hook", "HCP_VAULT_TOKEN"]).await;
    // The secret, and what stands beside it.
    run(&["rotate", "aws-secretsmanager:prod/nowhere"], &[], 1, &["prod/nowhere", "not found"]).await;
    rig.secret("prod/untouched", CURRENT, &[]).await;
    let untouched = "aws-secretsmanager:prod/untouched";
    run(&["rotate", untouched], &[], 1, &["nothing says how", "keyturn:rotator"]).await;
    for (name, tags, problem) in [
        (
            "prod/a",
            &[("keyturn:rotator", "randon")][..],
            "keyturn:rotator is unknown: expected one of anthropic",
        ),
        ("prod/b", &[("keyturn:rotator", "openai")], "keyturn:project is required"),
        ("prod/c", &[("keyturn:rotator", "random"), ("keyturn:lenght", "8")], "keyturn:lenght is no setting"),
        ("prod/d", &[("keyturn:rotator", "random"), ("keyturn:length", "7")], "keyturn:length must be"),
        (
            "prod/e",
            &[("keyturn:rotator", "random"), ("keyturn:overlap", "soon")],
            "keyturn:overlap is no duration",
        ),
        ("prod/f", &[("keyturn:rotator", "random"), ("keyturn:field", "A")], "keyturn:field is set"),
    ] {
        rig.secret(name, CURRENT, tags).await;
        let secret = format!("aws-secretsmanager:{name}");
        run(&["rotate", &secret], &[], 1, &[&secret, problem]).await;
        let told = rig.run(&["rotate", &secret, "--dry-run"], &[]).await;
        assert!(told.code == 1 && told.all().contains(problem), "{told:?}");
    }
    let one = json!({"A": CURRENT, "B": CURRENT, "keyturn:rotator": {"A": {"rotator": "random"}}});
    rig.secret("prod/one", &one.to_string(), &[("keyturn:rotator", "in-secret")]).await;
    run(&["rotate", "aws-secretsmanager:prod/one#B"], &[], 1, &["no setting names that field"]).await;
    assert_eq!(rig.moto.read_secret("prod/one").await, one.to_string());
    // The administrator's credential.
    rig.openai("prod/openai", CURRENT, &[]).await;
    let openai = ["rotate", "aws-secretsmanager:prod/openai"];
    run(&openai, &[("OPENAI_ADMIN_KEY", "")], 1, &["createSecret", "env:OPENAI_ADMIN_KEY"]).await;
    let refused = ["createSecret", "refuses the administrator's credential (HTTP 401", "docs/rotation.md"];
    run(&openai, &[("OPENAI_ADMIN_KEY", "sk-admin-another")], 1, &refused).await;
    assert_eq!(rig.moto.read_secret("prod/openai").await, CURRENT);
    assert_eq!(rig.keys(), [CURRENT], "{ADMIN} made none");
}

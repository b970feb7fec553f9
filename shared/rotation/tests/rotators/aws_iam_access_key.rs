//! `aws_iam_access_key`, against a part of AWS that checks signatures, and against moto.

use keyturn_rotation::{Credential, Issued, RotationError, Rotator};
use keyturn_tests::http::Client;
use keyturn_tests::moto::Moto;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::aws::{ADMIN_ID, CANARIES, Cloud, Key, USER};
use crate::rig::{Asking, By, Fault, Reply, Rig, document, faults, tells_nothing, time};

const NAME: &str = "aws_iam_access_key";
const MODELS: &str = "us.anthropic.claude-sonnet-4-6-v1:0 \
                      arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.x";

fn settings(cloud: &Cloud) -> Value {
    json!({
        "user": USER, "test_pause": "0s", "verify_models": MODELS,
        "sts_base": cloud.sts.url(), "bedrock_runtime_base": cloud.bedrock.url(),
    })
}

fn of(key: &Key) -> Credential {
    parts(&key.id, &key.secret)
}

fn parts(id: &str, secret: &str) -> Credential {
    Credential::default().with("access_key_id", id.into()).with("secret_access_key", secret.into())
}

fn asking(rig: &Rig, current: Credential) -> Asking {
    Asking { current, document: document("{}"), ..Asking::of(rig, "") }
}

fn find<'a>(issued: &'a [Issued], rotator: &dyn Rotator, credential: &Credential) -> Vec<&'a str> {
    issued
        .iter()
        .filter(|issued| rotator.may_be(issued, credential))
        .map(|issued| issued.id.as_str())
        .collect()
}

#[tokio::test]
async fn settings_must_fit() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    rig.hold_to_settings(NAME, &settings(&cloud), &["user"]);
    let with = |name: &str, value: &str| {
        let mut settings = settings(&cloud);
        settings[name] = json!(value);
        rig.wrong(NAME, settings)
    };
    assert_eq!(with("region", "eu/../1"), "keyturn:region is not the name of a region");
    assert_eq!(with("iam_base", "sk-canary"), "keyturn:iam_base is not the address of an HTTP service");
    assert_eq!(with("sts_base", "ftp://x"), "keyturn:sts_base is not the address of an HTTP service");
    assert!(with("test_pause", "soon").starts_with("keyturn:test_pause is no duration"));
    let nowhere = Rig::new(&[]);
    assert_eq!(
        nowhere.wrong(NAME, json!({"user": "u"})),
        "keyturn:region is required where AWS_REGION is not set"
    );
    let own =
        nowhere.rotator(NAME, json!({"user": "u", "region": "eu-central-1", "iam_base": cloud.iam.url()}));
    let error = own.issued("", &parts("a", "b")).await.unwrap_err();
    assert!(matches!(&error, RotationError::Denied(why) if why.contains("no AWS credentials")), "{error:?}");
    // The parts have places in a JSON secret.
    let fields: Vec<_> = own.parts().iter().map(|part| (part.name, part.field)).collect();
    assert_eq!(
        fields,
        [("access_key_id", Some("AWS_ACCESS_KEY_ID")), ("secret_access_key", Some("AWS_SECRET_ACCESS_KEY"))]
    );
}

#[tokio::test]
async fn the_administrator_may_be_a_container_role() {
    let (cloud, agent) = (Cloud::start().await, Cloud::agent().await);
    let rig = Rig::new(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.url()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL_IAM", &cloud.iam.url()),
    ]);
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.access_key();
    for _ in 0..2 {
        let issued = rotator.issued("keyturn-", &of(&first)).await.unwrap();
        assert_eq!(find(&issued, &*rotator, &of(&first)), [first.id.as_str()]);
    }
    assert_eq!(agent.take_log().len(), 1, "the role's key is kept");
    for (fault, fits) in [
        (
            Fault::Status(403),
            (|error| matches!(error, RotationError::Denied(_))) as fn(&RotationError) -> bool,
        ),
        (Fault::Status(503), |error| matches!(error, RotationError::Unavailable(_))),
    ] {
        agent.fail(0, fault);
        let error = rig.rotator(NAME, settings(&cloud)).issued("", &of(&first)).await.unwrap_err();
        assert!(fits(&error), "{error:?}");
        tells_nothing(&error, &CANARIES);
    }
}

#[tokio::test]
async fn a_key_is_made_tried_stopped_and_deleted() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.access_key();
    rotator.test(&of(&first)).await.unwrap();
    assert_eq!((cloud.sts.take_log().len(), cloud.bedrock.take_log().len()), (5, 2));
    let asking = asking(&rig, of(&first));
    let made = rotator.create(&asking.ask()).await.unwrap();
    assert!(made.fields.is_empty());
    rotator.test(&made.credential).await.unwrap();
    cloud.change(&first.id, |key| key.used = Some(time("2026-03-04T05:05:00Z")));
    let issued = rotator.issued("keyturn-", &asking.current).await.unwrap();
    let [one, two] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!((one.last_used_at, two.last_used_at), (Some(time("2026-03-04T05:05:00Z")), None));
    assert_eq!((one.created_at, one.disabled), (Some(time("2026-03-04T05:00:00Z")), false));
    assert_eq!(find(&issued, &*rotator, &of(&first)), [first.id.as_str()]);
    let second = made.credential.part("access_key_id").unwrap().expose_secret();
    assert_eq!(find(&issued, &*rotator, &made.credential), [second]);
    // A credential that does not say which it is may be any.
    assert_eq!(find(&issued, &*rotator, &Credential::default()).len(), 2);

    let former = one.clone();
    for _ in 0..2 {
        assert!(rotator.disable(&former).await.unwrap());
        let error = rotator.test(&of(&first)).await.unwrap_err();
        assert!(
            matches!(&error, RotationError::Refused(why) if why == "HTTP 403 InvalidClientTokenId"),
            "{error:?}"
        );
        assert!(rotator.issued("", &made.credential).await.unwrap()[0].disabled);
    }
    for _ in 0..2 {
        rotator.delete(&former).await.unwrap();
    }
    assert!(rotator.disable(&former).await.unwrap(), "one that is gone is no error");
    assert_eq!(cloud.access().len(), 1);
    rotator.test(&made.credential).await.unwrap();
    // The wrong secret of a key that is there.
    let forged = parts(second, "canary-forged");
    let error = rotator.test(&forged).await.unwrap_err();
    assert!(
        matches!(&error, RotationError::Refused(why) if why == "HTTP 403 SignatureDoesNotMatch"),
        "{error:?}"
    );
    tells_nothing(&error, &["canary-forged", second]);
}

#[tokio::test]
async fn a_key_that_was_lost_is_found_and_leaves_no_room() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.access_key();
    let asking = asking(&rig, of(&first));
    // The list comes, and then the key is made, and its answer is lost.
    cloud.iam.fail(1, Fault::Lost);
    let error = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    let error = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Full(_)), "{error:?}");
    cloud.pages(1);
    let issued = rotator.issued("", &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2);
    let lost: Vec<_> = issued.iter().filter(|issued| !rotator.may_be(issued, &of(&first))).collect();
    let [lost] = lost.as_slice() else { panic!("{issued:?}") };
    rotator.delete(lost).await.unwrap();
    let made = rotator.create(&asking.ask()).await.unwrap();
    rotator.test(&made.credential).await.unwrap();
    rotator.test(&of(&first)).await.unwrap();
}

#[tokio::test]
async fn nothing_is_done_to_another_users_keys() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    // A user without keys is a new one.
    let unknown = parts("AKIAELSEWHERE0000001", "x");
    assert!(rotator.issued("", &unknown).await.unwrap().is_empty());
    let made = rotator.create(&asking(&rig, unknown.clone()).ask()).await.unwrap();
    for current in [unknown, Credential::default()] {
        for error in [
            rotator.issued("", &current).await.unwrap_err(),
            rotator.create(&asking(&rig, current.clone()).ask()).await.unwrap_err(),
        ] {
            assert!(
                matches!(&error, RotationError::Unfit(why) if why.contains("this secret alone")),
                "{error:?}"
            );
        }
    }
    assert_eq!(cloud.access().len(), 1);
    // Nor does a key of somebody else's pass the test, though it works.
    let mut other = settings(&cloud);
    other["user"] = json!("another");
    let error = rig.rotator(NAME, other).test(&made.credential).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("not the user's")), "{error:?}");
    let mut other = settings(&cloud);
    other["user"] = json!("nobody");
    let error = rig.rotator(NAME, other).create(&asking(&rig, made.credential).ask()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("NoSuchEntity")), "{error:?}");
}

#[tokio::test]
async fn a_key_must_work_several_times_in_a_row() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.access_key();
    for at in [0, 2, 4] {
        cloud.sts.fail(
            at,
            Fault::Reply(Reply {
                status: 403,
                body: b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"
                    .to_vec(),
            }),
        );
        let error = rotator.test(&of(&first)).await.unwrap_err();
        assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    }
    rotator.test(&of(&first)).await.unwrap();
    cloud.lag(1);
    let made = rotator.create(&asking(&rig, of(&first)).ask()).await.unwrap();
    assert!(matches!(rotator.test(&made.credential).await, Err(RotationError::Refused(_))));
    rotator.test(&made.credential).await.unwrap();
}

#[tokio::test]
async fn a_model_that_the_user_may_not_use_is_told_apart() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let first = cloud.access_key();
    let mut odd = settings(&cloud);
    odd["verify_models"] = json!(["no-such-model"]);
    let error = rig.rotator(NAME, odd).test(&of(&first)).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("HTTP 404")), "{error:?}");
    cloud.deny("bedrock:InvokeModel");
    let error = rig.rotator(NAME, settings(&cloud)).test(&of(&first)).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("verify_models")), "{error:?}");
}

#[tokio::test]
async fn every_answer_has_its_error_and_none_tells_a_secret() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.access_key();
    let current = of(&first);
    let asking = asking(&rig, current.clone());
    let secrets: Vec<&str> = CANARIES.into_iter().chain([first.secret.as_str()]).collect();
    let issued = Issued { id: first.id.clone(), ..Issued::default() };
    faults(&cloud.iam, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&cloud.iam, By::Admin, true, &secrets, async || rotator.issued("", &current).await).await;
    faults(&cloud.iam, By::Admin, false, &secrets, async || rotator.disable(&issued).await).await;
    faults(&cloud.iam, By::Admin, false, &secrets, async || rotator.delete(&issued).await).await;
    faults(&cloud.sts, By::Tested, true, &secrets, async || rotator.test(&current).await).await;
    faults(&cloud.bedrock, By::Tested, false, &secrets, async || rotator.test(&current).await).await;
    // The names of errors count for more than the status.
    let xml = |status: u16, code: &str| {
        let body = format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>{ADMIN_ID}</Message></Error></ErrorResponse>"
        );
        Fault::Reply(Reply { status, body: body.into_bytes() })
    };
    for (status, code, expected) in [
        (400, "Throttling", "unavailable"),
        (400, "SlowDown", "unavailable"),
        (409, "EntityTemporarilyUnmodifiable", "unavailable"),
        (400, "ExpiredToken", "denied"),
        (403, "AccessDenied", "denied"),
        (503, "ServiceUnavailable", "unavailable"),
        (409, "LimitExceeded", "unfit"),
        (409, ADMIN_ID, "unfit"),
    ] {
        cloud.iam.always(Some(xml(status, code)));
        let error = rotator.disable(&issued).await.unwrap_err();
        cloud.iam.always(None);
        let kind = match &error {
            RotationError::Unavailable(_) => "unavailable",
            RotationError::Denied(_) => "denied",
            RotationError::Unfit(_) => "unfit",
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, expected, "{status} {code}");
        assert_eq!(error.to_string().contains(code), code != ADMIN_ID, "{error}");
        tells_nothing(&error, &secrets);
    }
    assert_eq!(cloud.access().len(), 1, "none of this made or deleted a key");
}

/// moto knows IAM and STS, and checks signatures and policies once it is told to.
#[tokio::test]
async fn moto_agrees() {
    let moto = Moto::start().await;
    // Signatures hold the host.
    let url = moto.direct_url().to_owned();
    let client = Client::default();
    let query = async |form: &str| {
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, \
                             SignedHeaders=host, Signature=0";
        let headers =
            [("authorization", authorization), ("content-type", "application/x-www-form-urlencoded")];
        let form = format!("{form}&Version=2010-05-08");
        let answer = client.send(http::Method::POST, &url, &headers, form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let text = |xml: &str, name: &str| {
        let from = xml.find(&format!("<{name}>")).unwrap() + name.len() + 2;
        xml[from..].split('<').next().unwrap().to_owned()
    };
    query("Action=CreateUser&UserName=admin").await;
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*","Action":["iam:CreateAccessKey","iam:ListAccessKeys","iam:UpdateAccessKey","iam:DeleteAccessKey","iam:GetAccessKeyLastUsed"]}}"#;
    let policy: String = form_urlencoded::byte_serialize(policy.as_bytes()).collect();
    query(&format!("Action=PutUserPolicy&UserName=admin&PolicyName=p&PolicyDocument={policy}")).await;
    let admin = query("Action=CreateAccessKey&UserName=admin").await;
    query(&format!("Action=CreateUser&UserName={USER}")).await;
    let answer = client.send(http::Method::POST, &format!("{url}/moto-api/reset-auth"), &[], "0").await;
    assert_eq!(answer.status, 200);

    let rig = Rig::new(&[
        ("AWS_ACCESS_KEY_ID", &text(&admin, "AccessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", &text(&admin, "SecretAccessKey")),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", &url),
    ]);
    let rotator = rig.rotator(NAME, json!({"user": USER, "test_pause": "0s"}));
    let first = rotator.create(&asking(&rig, Credential::default()).ask()).await.unwrap().credential;
    rotator.test(&first).await.unwrap();
    let second = rotator.create(&asking(&rig, first.clone()).ask()).await.unwrap().credential;
    rotator.test(&second).await.unwrap();
    let error = rotator.create(&asking(&rig, first.clone()).ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Full(_)), "{error:?}");
    let issued = rotator.issued("", &second).await.unwrap();
    assert_eq!((issued.len(), find(&issued, &*rotator, &first).len()), (2, 1));
    let former = issued.iter().find(|issued| rotator.may_be(issued, &first)).unwrap();
    assert!(former.created_at.is_some() && !former.disabled);
    assert!(rotator.disable(former).await.unwrap());
    let listed = rotator.issued("", &second).await.unwrap();
    assert!(listed.iter().find(|issued| issued.id == former.id).unwrap().disabled);
    for _ in 0..2 {
        rotator.delete(former).await.unwrap();
    }
    assert!(matches!(rotator.test(&first).await, Err(RotationError::Refused(_))));
    rotator.test(&second).await.unwrap();
    // Somebody who may not.
    let powerless = Rig::new(&[
        ("AWS_ACCESS_KEY_ID", second.part("access_key_id").unwrap().expose_secret()),
        ("AWS_SECRET_ACCESS_KEY", second.part("secret_access_key").unwrap().expose_secret()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", &url),
    ]);
    let powerless = powerless.rotator(NAME, json!({"user": USER, "test_pause": "0s"}));
    let error = powerless.issued("", &second).await.unwrap_err();
    // moto's refusals of this kind have one element more than AWS's, so their names are not found.
    assert!(matches!(&error, RotationError::Denied(why) if why.starts_with("HTTP 403")), "{error:?}");
}

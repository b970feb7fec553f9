//! `bedrock_api_key`, against a part of AWS that checks signatures.

use keyturn_rotation::{Issued, RotationError};
use serde_json::{Value, json};

use crate::aws::{CANARIES, Cloud, USER};
use crate::rig::{Asking, By, Fault, credential, faults, tells_nothing, value};

const NAME: &str = "bedrock_api_key";

fn settings(cloud: &Cloud) -> Value {
    json!({
        "user": USER, "test_pause": "0s", "verify_models": ["us.anthropic.claude-sonnet-4-6-v1:0"],
        "bedrock_base": cloud.bedrock.url(), "bedrock_runtime_base": cloud.bedrock.url(),
    })
}

#[tokio::test]
async fn settings_must_fit() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    rig.hold_to_settings(NAME, &settings(&cloud), &["user"]);
    for (life, problem) in [("23h", "is too short"), ("36601d", "is longer than the service takes")] {
        let mut settings = settings(&cloud);
        settings["expires_in"] = json!(life);
        assert!(rig.wrong(NAME, settings).starts_with(&format!("keyturn:expires_in {problem}")));
    }
}

#[tokio::test]
async fn a_key_is_made_tried_stopped_and_deleted() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.api_key();
    let current = credential(&first.secret);
    rotator.test(&current).await.unwrap();
    assert_eq!(cloud.bedrock.take_log().len(), 6);
    let asking = Asking::of(&rig, &first.secret);
    let made = rotator.create(&asking.ask()).await.unwrap();
    assert!(value(&made.credential).starts_with("ABSK") && made.fields.is_empty());
    rotator.test(&made.credential).await.unwrap();
    cloud.pages(1);
    let issued = rotator.issued("keyturn-", &current).await.unwrap();
    let [one, two] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!(one.hint.as_deref(), Some(first.alias.as_str()));
    assert!(rotator.may_be(one, &current) && !rotator.may_be(two, &current));
    assert!(!rotator.may_be(one, &made.credential) && rotator.may_be(two, &made.credential));
    // In doubt it is.
    for odd in ["ABSK!", "ABSK", "bedrock-api-key-canary", ""] {
        assert!(rotator.may_be(one, &credential(odd)), "{odd}");
    }
    let nameless = Issued { hint: None, ..one.clone() };
    assert!(rotator.may_be(&nameless, &made.credential));

    for _ in 0..2 {
        assert!(rotator.disable(one).await.unwrap());
        let error = rotator.test(&current).await.unwrap_err();
        assert!(matches!(&error, RotationError::Refused(why) if why == "HTTP 403"), "{error:?}");
        tells_nothing(&error, &[&first.secret, "Authentication"]);
        assert!(rotator.issued("", &made.credential).await.unwrap()[0].disabled);
    }
    for _ in 0..2 {
        rotator.delete(one).await.unwrap();
    }
    assert!(rotator.disable(one).await.unwrap());
    assert_eq!(cloud.api().len(), 1);
    rotator.test(&made.credential).await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_lost_is_found_and_leaves_no_room() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let mut with_end = settings(&cloud);
    with_end["expires_in"] = json!("2160h 1s");
    let rotator = rig.rotator(NAME, with_end);
    let first = cloud.api_key();
    let asking = Asking::of(&rig, &first.secret);
    cloud.iam.fail(1, Fault::Lost);
    let error = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    assert_eq!(cloud.api()[1].days, Some(91), "days are rounded up");
    let error = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Full(_)), "{error:?}");
    let issued = rotator.issued("", &asking.current).await.unwrap();
    let lost: Vec<_> = issued.iter().filter(|issued| !rotator.may_be(issued, &asking.current)).collect();
    let [lost] = lost.as_slice() else { panic!("{issued:?}") };
    rotator.delete(lost).await.unwrap();
    rotator.create(&asking.ask()).await.unwrap();
    rotator.test(&asking.current).await.unwrap();
}

#[tokio::test]
async fn nothing_is_done_to_another_users_keys() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    // A user without keys is a new one; whatever the secret holds.
    let first = rotator.create(&Asking::of(&rig, "to be replaced").ask()).await.unwrap();
    for current in ["to be replaced", "", "ABSKb3RoZXI6Y2FuYXJ5"] {
        for error in [
            rotator.issued("", &credential(current)).await.unwrap_err(),
            rotator.create(&Asking::of(&rig, current).ask()).await.unwrap_err(),
        ] {
            assert!(
                matches!(&error, RotationError::Unfit(why) if why.contains("this secret alone")),
                "{error:?}"
            );
        }
    }
    assert_eq!(cloud.api().len(), 1);
    rotator.test(&first.credential).await.unwrap();
}

#[tokio::test]
async fn what_a_user_may_not_do_says_nothing_of_the_key_but_for_one_thing() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let current = credential(&cloud.api_key().secret);
    cloud.deny("bedrock:ListFoundationModels");
    rotator.test(&current).await.unwrap();
    cloud.deny("bedrock:InvokeModel");
    let error = rotator.test(&current).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why.contains("verify_models")), "{error:?}");
    cloud.deny("bedrock:CallWithBearerToken");
    let error = rotator.test(&current).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    // A new one is not known at once.
    cloud.deny("nothing");
    cloud.lag(1);
    let made = rotator.create(&Asking { current, ..Asking::of(&rig, "") }.ask()).await.unwrap();
    assert!(matches!(rotator.test(&made.credential).await, Err(RotationError::Refused(_))));
    rotator.test(&made.credential).await.unwrap();
}

#[tokio::test]
async fn every_answer_has_its_error_and_none_tells_a_secret() {
    let cloud = Cloud::start().await;
    let rig = cloud.rig();
    let rotator = rig.rotator(NAME, settings(&cloud));
    let first = cloud.api_key();
    let asking = Asking::of(&rig, &first.secret);
    let secrets: Vec<&str> = CANARIES.into_iter().chain([first.secret.as_str()]).collect();
    let issued = Issued { id: first.id.clone(), ..Issued::default() };
    faults(&cloud.iam, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&cloud.iam, By::Admin, true, &secrets, async || rotator.issued("", &asking.current).await).await;
    faults(&cloud.iam, By::Admin, false, &secrets, async || rotator.disable(&issued).await).await;
    faults(&cloud.iam, By::Admin, false, &secrets, async || rotator.delete(&issued).await).await;
    faults(&cloud.bedrock, By::Tested, false, &secrets, async || rotator.test(&asking.current).await).await;
    assert_eq!(cloud.api().len(), 1, "none of this made or deleted a key");
}

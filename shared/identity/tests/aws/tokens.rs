//! The token that says to others who we are: its shapes are botocore's (`sts/2011-06-15`), since moto has none.

use keyturn_identity::IdentityError;
use keyturn_tests::fake::Fake;
use secrecy::ExposeSecret;

use crate::rig::{KEY, ROLE, Sts, aws, fields, refusal};

#[tokio::test]
async fn a_token_is_for_one_audience_and_signed_for_by_who_we_are() {
    let sts = Sts::start().await;
    for (more, signer, number) in
        [(&[][..], "AKIDOWN", 1), (&[("KEYTURN_AWS_ROLE_NAME", ROLE)][..], "ASIA2", 3)]
    {
        let token = sts.of_stores(more).web_identity_token("https://api.openai.com/v1").await.unwrap();
        assert_eq!(token.expose_secret(), format!("token.{number}.signature"));
        let asked = sts.fake.asked().pop().unwrap();
        let credential = format!("Credential={signer}/20261201/eu-west-1/sts/aws4_request");
        assert!(asked.header("authorization").contains(&credential));
        let fields = fields(&asked);
        for (name, value) in [
            ("Action", "GetWebIdentityToken"),
            ("Version", "2011-06-15"),
            ("Audience.member.1", "https://api.openai.com/v1"),
            ("DurationSeconds", "300"),
            ("SigningAlgorithm", "RS256"),
        ] {
            assert_eq!(fields[name], value);
        }
        assert_eq!(fields.len(), 5);
    }
}

#[tokio::test]
async fn an_account_that_gives_no_tokens_says_so() {
    for (status, code, denied) in [
        (403, "OutboundWebIdentityFederationDisabledException", true),
        (403, "SessionDurationEscalationException", true),
        (400, "JWTPayloadSizeExceededException", true),
        (403, "AccessDenied", true),
        (400, "Throttling", false),
    ] {
        let sts = Fake::start(move |_| refusal(status, code, "not enabled")).await;
        let url = sts.url();
        let aws = aws(&[&KEY[..], &[("AWS_ENDPOINT_URL_STS", &url)]].concat());
        let error = aws.web_identity_token("a").await.unwrap_err();
        assert!(error.to_string().ends_with(&format!("HTTP {status} {code}")), "{error}");
        assert_eq!(matches!(error, IdentityError::Denied { .. }), denied, "{code}");
    }
}

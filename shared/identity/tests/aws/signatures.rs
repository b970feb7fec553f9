//! Signatures, compared with those that botocore makes of the same calls (`botocore.auth.SigV4Auth`).

use keyturn_http::call::Call;
use keyturn_identity::aws::{AccessKey, sign};
use reqwest::Method;

#[test]
fn a_call_is_signed_as_botocore_signs_it() {
    let key = |session: Option<&str>| AccessKey {
        id: "AKIDEXAMPLE".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session: session.map(Into::into),
    };
    let now = "2026-12-01T12:30:45Z".parse().unwrap();
    let http = keyturn_http::client().unwrap();
    let call = |url: &str| Call::new(&http, Method::POST, url.parse().unwrap());
    let form =
        call("http://127.0.0.1:4566/").form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
    let signed = sign(form, &key(None), "sts", "eu-west-1", now);
    let (_, _, headers, _) = signed.parts();
    assert_eq!(headers["x-amz-date"], "20261201T123045Z");
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261201/eu-west-1/sts/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=24490755f61abbf3b6020d4bcd2d6ea736a45cccafb88f1c17ea3775157425ef"
    );
    let json = call("https://kms.eu-west-1.amazonaws.com/")
        .body("application/x-amz-json-1.1", br#"{"CiphertextBlob":"AQ=="}"#.to_vec())
        .header("x-amz-target", "TrentService.Decrypt");
    let signed = sign(json, &key(Some("session/token+=")), "kms", "eu-west-1", now);
    let (_, _, headers, _) = signed.parts();
    assert_eq!(headers["x-amz-security-token"], "session/token+=");
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261201/eu-west-1/kms/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
         Signature=2b1ee5478d1d05aaba5ef4e5a6787e97cef6e57eed9bc87b406043a915141bc5"
    );
    assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
}

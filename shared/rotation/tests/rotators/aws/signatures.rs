//! Signatures of AWS's, version 4, as a service checks them.

use std::fmt::Write as _;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest as _, Sha256};

use crate::rig::Arrived;

/// Whether a request is signed with a secret, for a service in a region.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
pub(super) fn signed(arrived: &Arrived, secret: &str, region: &str, service: &str) -> bool {
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let authorization = arrived.header("authorization");
    let part = |name: &str| {
        authorization
            .split([' ', ','])
            .find_map(|part| part.strip_prefix(name))
            .unwrap_or_default()
            .to_owned()
    };
    let (names, date) = (part("SignedHeaders="), arrived.header("x-amz-date"));
    for needed in ["host", "x-amz-date"] {
        assert!(names.split(';').any(|name| name == needed), "{needed} is not signed");
    }
    let mut headers = String::new();
    for name in names.split(';') {
        writeln!(headers, "{name}:{}", arrived.header(name).trim()).unwrap();
    }
    // Every segment is encoded again, however it was sent.
    let segments: Vec<String> = arrived.path.split('/').map(encode).collect();
    let path = segments.join("/");
    let canonical = format!("{}\n{path}\n\n{headers}\n{names}\n{}", arrived.method, hash(&arrived.body));
    let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(canonical.as_bytes()));
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%z", format!("{}+0000", date.trim_end_matches('Z')));
    let at = std::time::SystemTime::from(at.unwrap().to_timestamp().unwrap());
    let signature =
        calculate_signature(generate_signing_key(secret, at, region, service), to_sign.as_bytes());
    part("Credential=").ends_with(&scope) && part("Signature=") == signature
}

fn encode(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut encoded = String::new();
    for byte in segment.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}

/// The id of the key that a request is signed with.
pub(super) fn signer(arrived: &Arrived) -> String {
    let authorization = arrived.header("authorization");
    let credential = authorization.split("Credential=").nth(1).unwrap_or_default();
    credential.split('/').next().unwrap_or_default().to_owned()
}

use std::error::Error;

use keyturn_vault::SetupError;

use crate::rig::{client, clock};

fn refusal(variables: &[(&str, &str)]) -> String {
    match client(variables, &clock()) {
        Ok(_) => panic!("{variables:?} was taken"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_never_shown() {
    let token = ("HCP_VAULT_TOKEN", "canary");
    for (variables, expected) in [
        (&[][..], "HCP_VAULT_TOKEN is not set, and no other login to Vault is"),
        (&[token, ("HCP_VAULT_ADDR", "canary")], "HCP_VAULT_ADDR is no address"),
        (&[token, ("HCP_VAULT_ADDR", "ftp://canary")], "HCP_VAULT_ADDR must begin with https:// or http://"),
        (
            &[token, ("HCP_VAULT_ADDR", "http://a/canary")],
            "HCP_VAULT_ADDR must be scheme, host and port only",
        ),
        (
            &[token, ("HCP_VAULT_ADDR", "http://user:canary@a")],
            "HCP_VAULT_ADDR must be scheme, host and port only",
        ),
        (&[token, ("HCP_VAULT_MOUNT_NAME", "../canary")], "HCP_VAULT_MOUNT_NAME is no path"),
        (&[token, ("HCP_VAULT_PATH_PREFIX", "a//canary")], "HCP_VAULT_PATH_PREFIX is no path"),
        (&[token, ("HCP_VAULT_NAMESPACE", "can\nary")], "HCP_VAULT_NAMESPACE is no namespace"),
        (
            &[token, ("HCP_VAULT_APPROLE_ROLE_ID", "canary")],
            "HCP_VAULT_APPROLE_SECRET_ID is needed with HCP_VAULT_APPROLE_ROLE_ID",
        ),
        (
            &[token, ("HCP_VAULT_APPROLE_SECRET_ID", "canary")],
            "HCP_VAULT_APPROLE_ROLE_ID is needed with HCP_VAULT_APPROLE_SECRET_ID",
        ),
        (
            &[token, ("HCP_VAULT_CLIENT_CERT", "/canary")],
            "HCP_VAULT_CLIENT_KEY is needed with HCP_VAULT_CLIENT_CERT",
        ),
        (
            &[token, ("HCP_VAULT_CLIENT_KEY", "/canary")],
            "HCP_VAULT_CLIENT_CERT is needed with HCP_VAULT_CLIENT_KEY",
        ),
        (&[token, ("HCP_VAULT_AWS_ROLE", "canary")], "AWS_ACCESS_KEY_ID is needed with HCP_VAULT_AWS_ROLE"),
        (
            &[("HCP_VAULT_JWT", "canary"), ("HCP_VAULT_JWT_FILE", "/canary")],
            "HCP_VAULT_JWT_FILE must not be set with HCP_VAULT_JWT",
        ),
    ] {
        assert_eq!(refusal(variables), format!("the environment variable {expected}"));
    }
}

#[tokio::test]
async fn files_that_are_no_certificates_are_refused() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let token = ("HCP_VAULT_TOKEN", "canary");
    let missing = client(&[token, ("HCP_VAULT_CACERT", "/no/such/file")], &clock()).err().unwrap();
    assert!(matches!(missing, SetupError::File { variable: "HCP_VAULT_CACERT", .. }), "{missing}");
    let malformed = client(&[token, ("HCP_VAULT_CACERT", file)], &clock()).err().unwrap();
    assert_eq!(malformed.to_string(), "cannot use the certificates for Vault");
    assert_eq!(malformed.source().unwrap().to_string(), "not a PEM file of roots");
    let identity = [("HCP_VAULT_CLIENT_CERT", file), ("HCP_VAULT_CLIENT_KEY", file)];
    let malformed = client(&identity, &clock()).err().unwrap();
    assert_eq!(malformed.source().unwrap().to_string(), "not a PEM file of a client certificate");
}

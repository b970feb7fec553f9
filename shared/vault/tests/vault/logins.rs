use std::fs;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use keyturn_tests::openbao::{OpenBao, ROOT};
use keyturn_tests::server::{Server, json as json_answer};
use keyturn_vault::{Outage, VaultError};
use serde_json::{Value, json};

use crate::rig::{mount, policy, prove, text, vault};

/// Signed with the key that [`PUBLIC_KEY`] belongs to, which nobody has kept; good until 2100. It says
/// `aud: [vault]`, `sub: system:serviceaccount:default:gateway` and what Kubernetes writes into such a token.
const JWT: &str = concat!(
    "eyJhbGciOiAiRVMyNTYiLCAia2lkIjogInRlc3QiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGx",
    "lIiwiYXVkIjpbInZhdWx0Il0sInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpkZWZhdWx0OmdhdGV3YXkiLCJpYXQiOjE3Njc",
    "yMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwia3ViZXJuZXRlcy5pbyI6eyJuYW1lc3BhY2UiOiJkZWZhdWx0Iiwic2VydmljZWFjY29",
    "1bnQiOnsibmFtZSI6ImdhdGV3YXkiLCJ1aWQiOiIwYzJmNmUwZS02ZDViLTRkNGMtOWYwZS0zZjZmMWIzYzhhMTEifX19.GzCjHK",
    "Mvu229uEoCbKXxSQgDYXKux48xzrsHv8KHKcdiXvnVp0NLr7P2O2bcK9OG9jlroI1d43tLU1dgYhP5mA",
);
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERzLdLXAy3axFv0eEOB00erQxpr29\nyDC51cdk+pZnXUtXniHjVAD2ya+/UOiPbFuAhmpfIQa5P/RD0vVq3V9d/Q==\n-----END PUBLIC KEY-----";

#[tokio::test]
async fn app_role() {
    let server = OpenBao::shared();
    let name = server.fresh("app-role");
    policy(server, &name).await;
    mount(server, "approle", &name).await;
    server.write(&format!("auth/{name}/role/r"), &json!({"token_policies": [name]})).await;
    let role_id = text(&server.read(&format!("auth/{name}/role/r/role-id")).await, "/data/role_id");
    let secret = server.write(&format!("auth/{name}/role/r/secret-id"), &json!({})).await;
    let secret_id = text(&secret, "/data/secret_id");
    let client = |secret_id: &str| {
        vault(&[
            ("HCP_VAULT_ADDR", server.url()),
            ("HCP_VAULT_PATH_PREFIX", &name),
            ("HCP_VAULT_APPROLE_MOUNT_PATH", &name),
            ("HCP_VAULT_APPROLE_ROLE_ID", &role_id),
            ("HCP_VAULT_APPROLE_SECRET_ID", secret_id),
            // AppRole goes before it.
            ("HCP_VAULT_TOKEN", "wrong"),
        ])
    };
    prove(&client(&secret_id)).await;
    let refused = client("canary").get("proof").await.unwrap_err();
    assert_eq!(refused, VaultError::Denied("AppRole login"));
}

#[tokio::test]
async fn app_role_in_a_namespace() {
    let server = OpenBao::shared();
    let name = server.fresh("namespace");
    server.write(&format!("sys/namespaces/{name}"), &json!({})).await;
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    server.write(&format!("{name}/sys/mounts/secret"), &kv).await;
    let rules = r#"path "secret/*" { capabilities = ["create", "read", "update"] }"#;
    server.write(&format!("{name}/sys/policies/acl/all"), &json!({"policy": rules})).await;
    server.write(&format!("{name}/sys/auth/approle"), &json!({"type": "approle"})).await;
    server.write(&format!("{name}/auth/approle/role/r"), &json!({"token_policies": ["all"]})).await;
    let role_id = text(&server.read(&format!("{name}/auth/approle/role/r/role-id")).await, "/data/role_id");
    let secret = server.write(&format!("{name}/auth/approle/role/r/secret-id"), &json!({})).await;
    prove(&vault(&[
        ("HCP_VAULT_ADDR", server.url()),
        ("HCP_VAULT_NAMESPACE", &name),
        ("HCP_VAULT_APPROLE_ROLE_ID", &role_id),
        ("HCP_VAULT_APPROLE_SECRET_ID", &text(&secret, "/data/secret_id")),
    ]))
    .await;
}

#[tokio::test]
async fn certificate() {
    let server = OpenBao::shared();
    let name = server.fresh("certificate");
    policy(server, &name).await;
    // An authority of the server's own, and a certificate from it.
    server.write(&format!("sys/mounts/{name}"), &json!({"type": "pki"})).await;
    let root = json!({"common_name": "authority", "ttl": "1h", "key_type": "ec"});
    let root = server.write(&format!("{name}/root/generate/internal"), &root).await;
    let role = json!({"allow_any_name": true, "client_flag": true, "key_type": "ec"});
    server.write(&format!("{name}/roles/r"), &role).await;
    let issued =
        server.write(&format!("{name}/issue/r"), &json!({"common_name": "gateway", "ttl": "10m"})).await;
    let file = |kind: &str, pointer| {
        let path = server.directory().join(format!("{name}-{kind}.pem"));
        fs::write(&path, text(&issued, pointer)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = (file("certificate", "/data/certificate"), file("key", "/data/private_key"));

    mount(server, "cert", &name).await;
    let authority = text(&root, "/data/certificate");
    // Two roles fit the certificate; only the one that is asked for leads to the policy.
    for (role, policies) in [("a-first", json!([])), ("right", json!([name])), ("z-last", json!([]))] {
        let role_data = json!({"certificate": authority, "token_policies": policies});
        server.write(&format!("auth/{name}/certs/{role}"), &role_data).await;
    }
    let authority = server.authority();
    let client = |role: &str| {
        vault(&[
            ("HCP_VAULT_ADDR", server.tls_url()),
            ("HCP_VAULT_CACERT", authority.to_str().unwrap()),
            ("HCP_VAULT_PATH_PREFIX", &name),
            ("HCP_VAULT_CLIENT_CERT", &certificate),
            ("HCP_VAULT_CLIENT_KEY", &key),
            ("HCP_VAULT_CERT_MOUNT_PATH", &name),
            ("HCP_VAULT_CERT_ROLE", role),
        ])
    };
    prove(&client("right")).await;
    assert_eq!(client("a-first").get("proof").await, Err(VaultError::Denied("path")));
    let refused = client("no-such-role").get("proof").await;
    assert_eq!(refused, Err(VaultError::Denied("TLS certificate login")));

    // Without our own roots the server is not trusted.
    let distrusting = vault(&[("HCP_VAULT_ADDR", server.tls_url()), ("HCP_VAULT_TOKEN", ROOT)]);
    assert_eq!(distrusting.get("proof").await, Err(VaultError::Unavailable(Outage::Unreachable)));
}

#[tokio::test]
async fn jwt() {
    let server = OpenBao::shared();
    let name = server.fresh("jwt");
    policy(server, &name).await;
    mount(server, "jwt", &name).await;
    server.write(&format!("auth/{name}/config"), &json!({"jwt_validation_pubkeys": [PUBLIC_KEY]})).await;
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [name],
    });
    server.write(&format!("auth/{name}/role/r"), &role).await;
    let file = server.directory().join(format!("{name}.jwt"));
    fs::write(&file, format!("{JWT}\n")).unwrap();
    let client = |variable, value: &str| {
        vault(&[
            ("HCP_VAULT_ADDR", server.url()),
            ("HCP_VAULT_PATH_PREFIX", &name),
            ("HCP_VAULT_JWT_MOUNT_PATH", &name),
            ("HCP_VAULT_JWT_ROLE", "r"),
            (variable, value),
        ])
    };
    prove(&client("HCP_VAULT_JWT_FILE", file.to_str().unwrap())).await;
    assert!(client("HCP_VAULT_JWT", JWT).get("proof").await.is_ok());
    let (head, _) = JWT.rsplit_once('.').unwrap();
    let forged = client("HCP_VAULT_JWT", &format!("{head}.canary")).get("proof").await;
    assert_eq!(forged, Err(VaultError::Denied("JWT login")));
    let missing = client("HCP_VAULT_JWT_FILE", "/no/such/canary").get("proof").await.unwrap_err();
    assert!(matches!(missing, VaultError::Unavailable(Outage::Login(_))));
    assert!(!missing.to_string().contains("canary"));
}

#[tokio::test]
async fn kubernetes() {
    let cluster = Server::start(|request: Request<Incoming>, _| async move {
        assert_eq!(request.uri().path(), "/apis/authentication.k8s.io/v1/tokenreviews");
        json_answer(
            StatusCode::CREATED,
            &json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": {
                    "authenticated": true,
                    "audiences": ["vault"],
                    "user": {
                        "username": "system:serviceaccount:default:gateway",
                        "uid": "0c2f6e0e-6d5b-4d4c-9f0e-3f6f1b3c8a11",
                    },
                },
            }),
        )
    })
    .await;
    let server = OpenBao::shared();
    let name = server.fresh("kubernetes");
    policy(server, &name).await;
    mount(server, "kubernetes", &name).await;
    // The authority is for nothing: the cluster speaks plain HTTP here.
    let config = json!({
        "kubernetes_host": cluster.url(),
        "token_reviewer_jwt": JWT,
        "disable_local_ca_jwt": true,
        "kubernetes_ca_cert": fs::read_to_string(server.authority()).unwrap(),
    });
    server.write(&format!("auth/{name}/config"), &config).await;
    let role = json!({
        "audience": "vault",
        "bound_service_account_names": ["gateway"],
        "bound_service_account_namespaces": ["default"],
        "token_policies": [name],
    });
    server.write(&format!("auth/{name}/role/r"), &role).await;
    let file = server.directory().join(format!("{name}.jwt"));
    fs::write(&file, JWT).unwrap();
    let client = |role: &str| {
        vault(&[
            ("HCP_VAULT_ADDR", server.url()),
            ("HCP_VAULT_PATH_PREFIX", &name),
            ("HCP_VAULT_KUBERNETES_MOUNT_PATH", &name),
            ("HCP_VAULT_KUBERNETES_JWT_FILE", file.to_str().unwrap()),
            ("HCP_VAULT_KUBERNETES_ROLE", role),
        ])
    };
    prove(&client("r")).await;
    let refused = client("no-such-role").get("proof").await;
    assert_eq!(refused, Err(VaultError::Denied("Kubernetes login")));
}

/// A Vault that knows the AWS login only, which OpenBao lacks; it answers with OpenBao's root token.
#[tokio::test]
async fn aws_iam() {
    use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http_body_util::BodyExt as _;
    use sha2::{Digest as _, Sha256};

    let decoded = |body: &Value, field: &str| {
        String::from_utf8(STANDARD.decode(body[field].as_str().unwrap()).unwrap()).unwrap()
    };
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let fake = Server::start(move |request: Request<Incoming>, _| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            sender.send((head.uri.path().to_owned(), body)).unwrap();
            json_answer(
                StatusCode::OK,
                &json!({
                    "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0,
                    "data": null, "wrap_info": null, "warnings": null,
                    "auth": {
                        "client_token": ROOT, "accessor": "", "policies": [], "token_policies": [],
                        "metadata": null, "lease_duration": 3600, "renewable": true, "entity_id": "",
                        "token_type": "service", "orphan": true,
                    },
                }),
            )
        }
    })
    .await;
    let vault = vault(&[
        ("HCP_VAULT_ADDR", &fake.url()),
        ("HCP_VAULT_AWS_ROLE", "gateway"),
        ("HCP_VAULT_AWS_SERVER_ID", "vault.example.com"),
        ("HCP_VAULT_AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret-key"),
        ("AWS_SESSION_TOKEN", "session"),
    ]);
    // The fake knows no documents; what counts is the login before.
    vault.get("proof").await.unwrap_err();
    let (path, login) = requests.recv().await.unwrap();
    assert_eq!(path, "/v1/auth/aws/login");
    assert!(!String::from_utf8_lossy(&login).contains("canary"));
    let login: Value = serde_json::from_slice(&login).unwrap();
    assert_eq!((&login["role"], &login["iam_http_request_method"]), (&json!("gateway"), &json!("POST")));
    assert_eq!(decoded(&login, "iam_request_url"), "https://sts.eu-west-1.amazonaws.com/");
    let body = decoded(&login, "iam_request_body");
    assert_eq!(body, "Action=GetCallerIdentity&Version=2011-06-15");
    let headers: Value = serde_json::from_str(&decoded(&login, "iam_request_headers")).unwrap();
    let header = |name: &str| headers[name][0].as_str().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(header("x-vault-aws-iam-server-id"), "vault.example.com");
    assert_eq!(header("x-amz-security-token"), "session");

    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    let signed = "content-type;host;x-amz-date;x-amz-security-token;x-vault-aws-iam-server-id";
    let date = header("x-amz-date");
    let canonical_headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let hash = |text: &str| hex::encode(Sha256::digest(text));
    let canonical = format!("POST\n/\n\n{canonical_headers}\n{signed}\n{}", hash(&body));
    let scope = format!("{}/eu-west-1/sts/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(&canonical));
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%z", format!("{}+0000", date.trim_end_matches('Z')));
    let at = std::time::SystemTime::from(at.unwrap().to_timestamp().unwrap());
    let key = generate_signing_key("canary-secret-key", at, "eu-west-1", "sts");
    let signature = calculate_signature(key, to_sign.as_bytes());
    assert_eq!(
        header("authorization"),
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
    );
}

//! A part of AWS: IAM, STS and Bedrock with one user, whose keys work, stop and go. Every signature is checked.

mod signatures;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::signatures::{signed, signer};
use crate::rig::{Arrived, Fake, Reply, Rig};

/// The function's role.
pub(crate) const ADMIN_ID: &str = "ASIAFUNCTIONCANARY01";
const ADMIN_SECRET: &str = "admin-secret-canary-77aa";
const ADMIN_SESSION: &str = "admin-session-canary-88bb";
/// The user.
pub(crate) const USER: &str = "gateway-bedrock";
const REGION: &str = "eu-central-1";
/// What nothing may tell of the administrator.
pub(crate) const CANARIES: [&str; 3] = [ADMIN_ID, ADMIN_SECRET, ADMIN_SESSION];

/// An access key, or an API key of Bedrock's.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) alias: String,
    pub(crate) status: &'static str,
    pub(crate) created: Timestamp,
    pub(crate) used: Option<Timestamp>,
    pub(crate) days: Option<u32>,
    /// How often it is refused yet, since not everybody knows it.
    pub(crate) unknown: u32,
}

#[derive(Default)]
struct State {
    access: Vec<Key>,
    api: Vec<Key>,
    made: u32,
    lag: u32,
    page: Option<usize>,
    denied: Option<&'static str>,
}

/// The servers, and what they know.
pub(crate) struct Cloud {
    pub(crate) iam: Fake,
    pub(crate) sts: Fake,
    pub(crate) bedrock: Fake,
    state: Arc<Mutex<State>>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let of = |handler: fn(&mut State, &Arrived) -> Result<Reply, Reply>| {
            let state = Arc::clone(&state);
            move |arrived: &Arrived| {
                handler(&mut state.lock().unwrap(), arrived).unwrap_or_else(|refusal| refusal)
            }
        };
        let (iam, sts, bedrock) =
            (Fake::start(of(iam)).await, Fake::start(of(sts)).await, Fake::start(of(bedrock)).await);
        Self { iam, sts, bedrock, state }
    }

    /// Rotators in a function of this account.
    pub(crate) fn rig(&self) -> Rig {
        Rig::new(&[
            ("AWS_ACCESS_KEY_ID", ADMIN_ID),
            ("AWS_SECRET_ACCESS_KEY", ADMIN_SECRET),
            ("AWS_SESSION_TOKEN", ADMIN_SESSION),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_IAM", &self.iam.url()),
        ])
    }

    /// What hands out the function's role to a container.
    pub(crate) async fn agent() -> Fake {
        Fake::start(|_: &Arrived| {
            let credentials = json!({
                "AccessKeyId": ADMIN_ID, "SecretAccessKey": ADMIN_SECRET, "Token": ADMIN_SESSION,
                "Expiration": "2026-03-04T11:06:07Z",
            });
            Reply::json(200, &credentials)
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The access keys.
    pub(crate) fn access(&self) -> Vec<Key> {
        self.state().access.clone()
    }

    /// The API keys.
    pub(crate) fn api(&self) -> Vec<Key> {
        self.state().api.clone()
    }

    /// Makes an access key, as a person does.
    pub(crate) fn access_key(&self) -> Key {
        let mut state = self.state();
        let key = state.make("AKIA");
        state.access.push(key.clone());
        key
    }

    /// Makes an API key, as a person does.
    pub(crate) fn api_key(&self) -> Key {
        let mut state = self.state();
        let key = state.make("ACCA");
        state.api.push(key.clone());
        key
    }

    /// Changes the access key or API key with an id.
    pub(crate) fn change(&self, id: &str, change: impl Fn(&mut Key)) {
        let mut state = self.state();
        let State { access, api, .. } = &mut *state;
        access.iter_mut().chain(api).filter(|key| key.id == id).for_each(change);
    }

    /// New keys are refused so often before they are known.
    pub(crate) fn lag(&self, calls: u32) {
        self.state().lag = calls;
    }

    /// Lists come in pages of so many.
    pub(crate) fn pages(&self, of: usize) {
        self.state().page = Some(of);
    }

    /// The user may not do this.
    pub(crate) fn deny(&self, action: &'static str) {
        self.state().denied = Some(action);
    }
}

impl State {
    fn make(&mut self, mark: &str) -> Key {
        self.made += 1;
        let number = self.made;
        let alias = format!("{USER}-at-123456789012-{number}");
        let secret = match mark {
            // A secret with what forms and XML escape.
            "AKIA" => format!("secret+canary/&<={number:020}"),
            _ => format!("ABSK{}", STANDARD.encode(format!("{alias}:canary-{number:020}"))),
        };
        Key {
            id: format!("{mark}{number:016}"),
            secret,
            alias,
            status: "Active",
            created: "2026-03-04T05:00:00Z".parse().unwrap(),
            used: None,
            days: None,
            unknown: self.lag,
        }
    }
}

type Fields = BTreeMap<String, String>;

/// An error of the query protocol. It repeats what it was sent, as AWS's messages do now and then.
fn refusal(status: u16, code: &str, arrived: &Arrived) -> Reply {
    let body = escape(&String::from_utf8_lossy(&arrived.body));
    let sent = escape(arrived.header("authorization"));
    let xml = format!(
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{body} {sent} {ADMIN_SECRET}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    Reply { status, body: xml.into_bytes() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn success(action: &str, result: &str) -> Reply {
    let result = match result {
        "" => String::new(),
        result => format!("<{action}Result>{result}</{action}Result>"),
    };
    let xml = format!(
        "<?xml version=\"1.0\"?>\n<{action}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\n  {result}\n  \
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\n</{action}Response>"
    );
    Reply { status: 200, body: xml.into_bytes() }
}

/// The fields of a query: all of `needed`, and none that is not in either list.
fn fields(arrived: &Arrived, version: &str, needed: &[&str], allowed: &[&str]) -> Result<Fields, Reply> {
    let mut fields = arrived.form();
    let wrong = || Err(refusal(400, "ValidationError", arrived));
    fields.remove("Action");
    if fields.remove("Version").as_deref() != Some(version) {
        return wrong();
    }
    let known = |name: &String| needed.contains(&name.as_str()) || allowed.contains(&name.as_str());
    if !needed.iter().all(|name| fields.contains_key(*name)) || !fields.keys().all(known) {
        return wrong();
    }
    Ok(fields)
}

fn iam(state: &mut State, arrived: &Arrived) -> Result<Reply, Reply> {
    let form = arrived.header("content-type") == "application/x-www-form-urlencoded";
    if arrived.what() != ("POST", "/") || !form || !arrived.query.is_empty() {
        return Err(refusal(400, "ValidationError", arrived));
    }
    if signer(arrived) != ADMIN_ID || arrived.header("x-amz-security-token") != ADMIN_SESSION {
        return Err(refusal(403, "InvalidClientTokenId", arrived));
    }
    if !signed(arrived, ADMIN_SECRET, "us-east-1", "iam") {
        return Err(refusal(403, "SignatureDoesNotMatch", arrived));
    }
    let read = |needed: &[&str], allowed: &[&str]| fields(arrived, "2010-05-08", needed, allowed);
    let of_user = |fields: &Fields| match fields["UserName"].as_str() {
        USER => Ok(()),
        _ => Err(refusal(404, "NoSuchEntity", arrived)),
    };
    let of_bedrock = |fields: &Fields| match fields["ServiceName"].as_str() {
        "bedrock.amazonaws.com" => Ok(()),
        _ => Err(refusal(404, "ServiceNotSupported", arrived)),
    };
    let missing = || refusal(404, "NoSuchEntity", arrived);
    let action = arrived.form().remove("Action").unwrap_or_default();
    let found = match action.as_str() {
        "CreateAccessKey" => {
            of_user(&read(&["UserName"], &[])?)?;
            if state.access.len() >= 2 {
                return Err(refusal(409, "LimitExceeded", arrived));
            }
            let key = state.make("AKIA");
            state.access.push(key.clone());
            format!(
                "<AccessKey><UserName>{USER}</UserName><AccessKeyId>{}</AccessKeyId><Status>Active</Status>\
                 <SecretAccessKey>{}</SecretAccessKey><CreateDate>{}</CreateDate></AccessKey>",
                key.id,
                escape(&key.secret),
                key.created
            )
        }
        "ListAccessKeys" => {
            let fields = read(&["UserName"], &["Marker"])?;
            of_user(&fields)?;
            let member = |key: &Key| {
                format!(
                    "<member><UserName>{USER}</UserName><AccessKeyId>{}</AccessKeyId><Status>{}</Status>\
                     <CreateDate>{}</CreateDate></member>",
                    key.id, key.status, key.created
                )
            };
            page("AccessKeyMetadata", &state.access, state.page, &fields, member)
        }
        "GetAccessKeyLastUsed" => {
            let fields = read(&["AccessKeyId"], &[])?;
            let key = state.access.iter().find(|key| key.id == fields["AccessKeyId"]).ok_or_else(missing)?;
            let used =
                key.used.map(|used| format!("<LastUsedDate>{used}</LastUsedDate>")).unwrap_or_default();
            format!(
                "<UserName>{USER}</UserName><AccessKeyLastUsed><Region>N/A</Region>{used}\
                 <ServiceName>N/A</ServiceName></AccessKeyLastUsed>"
            )
        }
        "UpdateAccessKey" => {
            let fields = read(&["UserName", "AccessKeyId", "Status"], &[])?;
            of_user(&fields)?;
            let keys = &mut state.access;
            set_status(keys, &fields["AccessKeyId"], &fields["Status"]).ok_or_else(missing)?;
            String::new()
        }
        "DeleteAccessKey" => {
            let fields = read(&["UserName", "AccessKeyId"], &[])?;
            of_user(&fields)?;
            remove(&mut state.access, &fields["AccessKeyId"]).ok_or_else(missing)?;
            String::new()
        }
        "CreateServiceSpecificCredential" => {
            let fields = read(&["UserName", "ServiceName"], &["CredentialAgeDays"])?;
            of_user(&fields)?;
            of_bedrock(&fields)?;
            if state.api.len() >= 2 {
                return Err(refusal(409, "LimitExceeded", arrived));
            }
            let days = fields.get("CredentialAgeDays").map(|days| days.parse().unwrap());
            let key = Key { days, ..state.make("ACCA") };
            state.api.push(key.clone());
            format!(
                "<ServiceSpecificCredential><CreateDate>{}</CreateDate><ServiceName>bedrock.amazonaws.com</ServiceName>\
                 <ServiceCredentialAlias>{}</ServiceCredentialAlias>\
                 <ServiceCredentialSecret>{}</ServiceCredentialSecret>\
                 <ServiceSpecificCredentialId>{}</ServiceSpecificCredentialId><UserName>{USER}</UserName>\
                 <Status>Active</Status></ServiceSpecificCredential>",
                key.created, key.alias, key.secret, key.id
            )
        }
        "ListServiceSpecificCredentials" => {
            let fields = read(&["UserName", "ServiceName"], &["Marker"])?;
            of_user(&fields)?;
            of_bedrock(&fields)?;
            let member = |key: &Key| {
                let alias = match key.alias.as_str() {
                    "" => String::new(),
                    alias => format!("<ServiceCredentialAlias>{alias}</ServiceCredentialAlias>"),
                };
                format!(
                    "<member><UserName>{USER}</UserName><Status>{}</Status>{alias}<CreateDate>{}</CreateDate>\
                     <ServiceSpecificCredentialId>{}</ServiceSpecificCredentialId>\
                     <ServiceName>bedrock.amazonaws.com</ServiceName></member>",
                    key.status, key.created, key.id
                )
            };
            page("ServiceSpecificCredentials", &state.api, state.page, &fields, member)
        }
        "UpdateServiceSpecificCredential" => {
            let fields = read(&["UserName", "ServiceSpecificCredentialId", "Status"], &[])?;
            of_user(&fields)?;
            let keys = &mut state.api;
            set_status(keys, &fields["ServiceSpecificCredentialId"], &fields["Status"])
                .ok_or_else(missing)?;
            String::new()
        }
        "DeleteServiceSpecificCredential" => {
            let fields = read(&["UserName", "ServiceSpecificCredentialId"], &[])?;
            of_user(&fields)?;
            remove(&mut state.api, &fields["ServiceSpecificCredentialId"]).ok_or_else(missing)?;
            String::new()
        }
        _ => return Err(refusal(400, "InvalidAction", arrived)),
    };
    Ok(success(&action, &found))
}

fn set_status(keys: &mut [Key], id: &str, status: &str) -> Option<()> {
    let key = keys.iter_mut().find(|key| key.id == id)?;
    key.status = match status {
        "Active" => "Active",
        "Inactive" => "Inactive",
        _ => return None,
    };
    Some(())
}

fn remove(keys: &mut Vec<Key>, id: &str) -> Option<()> {
    let at = keys.iter().position(|key| key.id == id)?;
    keys.remove(at);
    Some(())
}

fn page(
    list: &str,
    keys: &[Key],
    page: Option<usize>,
    fields: &Fields,
    member: impl Fn(&Key) -> String,
) -> String {
    let from: usize = fields.get("Marker").map_or(0, |marker| marker.parse().unwrap());
    let most = page.unwrap_or(100);
    let members: String = keys.iter().skip(from).take(most).map(member).collect();
    let next = from + most;
    let more = match next < keys.len() {
        true => format!("<IsTruncated>true</IsTruncated><Marker>{next}</Marker>"),
        false => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    format!("<{list}>{members}</{list}>{more}")
}

/// The access key that a call is signed with, if it works.
fn caller<'a>(state: &'a mut State, arrived: &Arrived, service: &str) -> Result<&'a mut Key, &'static str> {
    let id = signer(arrived);
    let key = state.access.iter_mut().find(|key| key.id == id && key.status == "Active");
    let key = key.ok_or("InvalidClientTokenId")?;
    if key.unknown > 0 {
        key.unknown -= 1;
        return Err("InvalidClientTokenId");
    }
    if signed(arrived, &key.secret, REGION, service) { Ok(key) } else { Err("SignatureDoesNotMatch") }
}

fn sts(state: &mut State, arrived: &Arrived) -> Result<Reply, Reply> {
    if arrived.what() != ("POST", "/")
        || arrived.form().get("Action").is_none_or(|it| it != "GetCallerIdentity")
    {
        return Err(refusal(400, "InvalidAction", arrived));
    }
    fields(arrived, "2011-06-15", &[], &[])?;
    caller(state, arrived, "sts").map_err(|code| refusal(403, code, arrived))?;
    let arn = format!("<Arn>arn:aws:iam::123456789012:user/apps/{USER}</Arn><UserId>AIDA</UserId>");
    Ok(success("GetCallerIdentity", &format!("{arn}<Account>123456789012</Account>")))
}

fn bedrock(state: &mut State, arrived: &Arrived) -> Result<Reply, Reply> {
    let refused = |message: &str| {
        // The real one has a capital where the front door refuses.
        let name = if message.starts_with("Authentication") { "Message" } else { "message" };
        Reply::json(403, &json!({name: format!("{message} {}", arrived.header("authorization"))}))
    };
    let denied = state.denied;
    if arrived.header("authorization").starts_with("Bearer ") {
        let token = arrived.bearer().to_owned();
        let key = state.api.iter_mut().find(|key| key.secret == token && key.status == "Active");
        let Some(key) = key else {
            return Err(refused("Authentication failed: Please make sure your API Key is valid."));
        };
        if key.unknown > 0 {
            key.unknown -= 1;
            return Err(refused("Authentication failed: Please make sure your API Key is valid."));
        }
        if denied == Some("bedrock:CallWithBearerToken") {
            return Err(refused(
                "User: arn is not authorized to perform: bedrock:CallWithBearerToken on resource: *",
            ));
        }
    } else if let Err(code) = caller(state, arrived, "bedrock") {
        return Err(refused(&format!("The security token included in the request is invalid. {code}")));
    }
    let action = match arrived.what() {
        ("GET", "/foundation-models") => "bedrock:ListFoundationModels",
        ("POST", path) if path.starts_with("/model/") && path.ends_with("/converse") => "bedrock:InvokeModel",
        _ => return Err(Reply::json(404, &json!({"message": "no such operation"}))),
    };
    if denied == Some(action) {
        return Err(refused(&format!("User: arn is not authorized to perform: {action} on resource: *")));
    }
    if action == "bedrock:ListFoundationModels" {
        return Ok(Reply::json(200, &json!({"modelSummaries": []})));
    }
    let body = arrived.object(&["messages", "inferenceConfig"])?;
    let expected = json!([{"role": "user", "content": [{"text": "Hi"}]}]);
    if body["messages"] != expected || body["inferenceConfig"] != json!({"maxTokens": 1}) {
        return Err(Reply::json(400, &json!({"message": "ValidationException"})));
    }
    match arrived.path.as_str() {
        // `us.anthropic.claude-sonnet-4-6-v1:0`, and an inference profile's ARN with its slash.
        "/model/us.anthropic.claude-sonnet-4-6-v1%3A0/converse"
        | "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.x/converse" => {
            let output: Value =
                json!({"output": {"message": {"role": "assistant", "content": [{"text": "H"}]}}});
            Ok(Reply::json(200, &output))
        }
        _ => Err(Reply::json(404, &json!({"message": "The model was not found."}))),
    }
}

//! What the rotators of AWS share: calls of IAM and STS, signed, and what Bedrock says to a credential
//! ([`mod@bedrock`]).
//!
//! The administrator is whoever the environment's identity is ([`keyturn_identity::aws`]): the function's role in
//! Lambda, a service account's or a container's role elsewhere. Endpoints are those of the region, unless a setting or
//! `AWS_ENDPOINT_URL_<SERVICE>` or `AWS_ENDPOINT_URL` names another one.
//!
//! IAM and STS speak AWS's query protocol: a form, and XML. It is spoken here rather than through the SDK, since eight
//! operations are needed of the hundreds that the SDK's crates for the two consist of.
//!
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>

mod bedrock;

use http::Method;
use keyturn_http::call::address;
use keyturn_identity::IdentityError;
pub(super) use keyturn_identity::aws::AccessKey;
use keyturn_identity::aws::{Aws as Identity, is_brief, passes, sign};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(super) use bedrock::Shown;

use super::http_calls::{Answer, By, Call, Meaning as _};
use crate::settings::{OURS, SettingsError};
use crate::{Credential, Issued, RotationError, Tools};

/// Errors that are the credential's, whatever the status.
const CREDENTIAL_ERRORS: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Where AWS is.
pub(super) struct Aws {
    tools: Tools,
    /// The administrator.
    identity: Identity,
    region: String,
}

impl Aws {
    /// In the region of the setting, or of the environment.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be part of an address.
    pub(super) fn open(tools: &Tools, region: Option<String>) -> Result<Self, SettingsError> {
        let identity = Identity::from_env(&tools.env, &tools.http, &tools.clock);
        let region = region.or_else(|| identity.region().map(str::to_owned));
        let wrong = |problem: &str| SettingsError::new(format!("{OURS}region"), problem);
        let region = region.ok_or_else(|| wrong("is required where AWS_REGION is not set"))?;
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(wrong("is not the name of a region"));
        }
        Ok(Self { tools: tools.clone(), identity: identity.in_region(&region), region })
    }

    /// The service with this name in signatures; `variable` is what it is called in `AWS_ENDPOINT_URL_<SERVICE>`,
    /// `setting` the name of the setting that may hold its address.
    ///
    /// # Errors
    ///
    /// The address is none.
    pub(super) fn api(
        &self,
        name: &'static str,
        variable: &str,
        (setting, base): (&str, Option<String>),
    ) -> Result<Api, SettingsError> {
        let var = |name: &str| self.tools.env.var(name);
        let base =
            base.or_else(|| var(&format!("AWS_ENDPOINT_URL_{variable}"))).or_else(|| var("AWS_ENDPOINT_URL"));
        let (usual, region) = self.usual(name, variable);
        let wrong =
            || SettingsError::new(format!("{OURS}{setting}"), "is not the address of an HTTP service");
        let base = address(base.as_deref().unwrap_or(&usual)).ok_or_else(wrong)?;
        Ok(Api { tools: self.tools.clone(), identity: self.identity.clone(), base, name, region })
    }

    /// A service's usual address, and the region that its calls are signed for. IAM has one for each partition:
    /// <https://docs.aws.amazon.com/general/latest/gr/iam-service.html>.
    fn usual(&self, name: &str, variable: &str) -> (String, String) {
        let region = self.region.as_str();
        let (domain, iam, home) = if region.starts_with("cn-") {
            ("amazonaws.com.cn", "iam.cn-north-1.amazonaws.com.cn", "cn-north-1")
        } else if region.starts_with("us-gov-") {
            ("amazonaws.com", "iam.us-gov.amazonaws.com", "us-gov-west-1")
        } else if region.starts_with("eusc-") {
            ("amazonaws.eu", "iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1")
        } else {
            ("amazonaws.com", "iam.amazonaws.com", "us-east-1")
        };
        if name == "iam" {
            return (format!("https://{iam}"), home.to_owned());
        }
        let host = variable.to_ascii_lowercase().replace('_', "-");
        (format!("https://{host}.{region}.{domain}"), region.to_owned())
    }
}

/// A service of AWS's.
pub(super) struct Api {
    tools: Tools,
    identity: Identity,
    base: Url,
    name: &'static str,
    region: String,
}

impl Api {
    /// The administrator's credentials.
    ///
    /// # Errors
    ///
    /// [`RotationError::Denied`]: the environment has none; see [`IdentityError`].
    async fn admin(&self) -> Result<AccessKey, RotationError> {
        self.identity.access_key().await.map_err(|error| match error {
            IdentityError::Setting { .. } => {
                RotationError::Denied(format!("the environment has no AWS credentials: {error}"))
            }
            IdentityError::Denied { .. } => RotationError::Denied(error.to_string()),
            IdentityError::Unavailable { .. } => RotationError::Unavailable(error.to_string()),
        })
    }

    /// Calls an operation of the query protocol as the administrator.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) async fn ask<T: DeserializeOwned>(&self, fields: &[(&str, &str)]) -> Result<T, Failure> {
        self.query(By::Admin, &self.admin().await?, fields).await
    }

    /// The same of one that lists, page after page.
    ///
    /// # Errors
    ///
    /// As [`Api::ask`].
    pub(super) async fn list<R: DeserializeOwned, T>(
        &self,
        fields: &[(&str, &str)],
        page: impl Fn(R) -> Page<T>,
    ) -> Result<Vec<T>, RotationError> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let from = marker.as_deref().map(|marker| ("Marker", marker));
            let fields: Vec<(&str, &str)> = fields.iter().copied().chain(from).collect();
            let Page { items, is_truncated, marker: next } = page(self.ask(&fields).await?);
            all.extend(items);
            match next.filter(|_| is_truncated) {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// The same of one whose answer says nothing: an operation on something that may be gone.
    ///
    /// # Errors
    ///
    /// As [`Api::ask`].
    pub(super) async fn tell(&self, fields: &[(&str, &str)]) -> Result<(), RotationError> {
        let answer = self.signed(By::Admin, &self.admin().await?, fields).answer().await?;
        match answered(answer) {
            Err(failure) if !failure.is("NoSuchEntity") => Err(failure.error),
            _ => Ok(()),
        }
    }

    /// Calls an operation of the query protocol with an access key.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        by: By,
        key: &AccessKey,
        fields: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let answer = self.signed(by, key, fields).answer().await.map_err(RotationError::from)?;
        let answer = answered(answer)?;
        let text = std::str::from_utf8(answer.bytes()).ok();
        let read = text.and_then(|text| quick_xml::de::from_str(text).ok());
        // What the parser says may repeat what is there.
        read.ok_or_else(|| {
            let status = answer.status().as_u16();
            RotationError::Malformed(format!("HTTP {status}, its body is not as documented")).into()
        })
    }

    fn signed(&self, by: By, key: &AccessKey, fields: &[(&str, &str)]) -> Call<'_> {
        self.sign(by.calls(&self.tools, Method::POST, self.base.clone()).form(fields), key)
    }

    /// A call, signed with an access key.
    fn sign<'a>(&self, call: Call<'a>, key: &AccessKey) -> Call<'a> {
        sign(call, key, self.name, &self.region, self.tools.now())
    }
}

/// Why a call of the query protocol did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    code: Option<String>,
    pub(super) error: RotationError,
}

impl Failure {
    /// Whether it is the error of this name.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl From<RotationError> for Failure {
    fn from(error: RotationError) -> Self {
        Self { code: None, error }
    }
}

impl From<Failure> for RotationError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

#[derive(Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Error")]
    error: ErrorCode,
}

#[derive(Deserialize)]
struct ErrorCode {
    #[serde(rename = "Code")]
    code: String,
}

/// A success, or what the query protocol's error means.
fn answered(answer: Answer) -> Result<Answer, Failure> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let text = std::str::from_utf8(answer.bytes()).unwrap_or_default();
    let code = quick_xml::de::from_str::<ErrorResponse>(text).ok().map(|response| response.error.code);
    // A name that is known beforehand tells nothing of what was sent.
    let brief = code.as_deref().is_some_and(|code| passes(answer.status(), code));
    let is_known = |code: &str| CREDENTIAL_ERRORS.contains(&code) || is_brief(code);
    let code = code.filter(|code| is_known(code) || answer.may_tell(code));
    let told = || {
        let status = answer.status().as_u16();
        code.as_ref().map_or_else(|| format!("HTTP {status}"), |code| format!("HTTP {status} {code}"))
    };
    let error = if brief {
        RotationError::Unavailable(told())
    } else if code.as_deref().is_some_and(|code| CREDENTIAL_ERRORS.contains(&code)) {
        answer.blame(told())
    } else {
        match answer.error() {
            RotationError::Denied(_) => RotationError::Denied(told()),
            RotationError::Refused(_) => RotationError::Refused(told()),
            RotationError::Unavailable(_) => RotationError::Unavailable(told()),
            RotationError::Unfit(_) => {
                RotationError::Unfit(format!("AWS does not take the request ({})", told()))
            }
            other => other,
        }
    };
    Err(Failure { code, error })
}

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Whether there are more.
    pub(super) is_truncated: bool,
    /// Where those begin.
    pub(super) marker: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Members<T> {
    #[serde(default = "Vec::new")]
    pub(super) member: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { member: Vec::new() }
    }
}

/// Whether a user's credentials are those of a secret: the current one is among them. Their user may have none, and is
/// somebody else's if it has others: then nothing may be made or taken back there.
///
/// # Errors
///
/// [`RotationError::Unfit`].
pub(super) fn must_be_ours(
    issued: &[Issued],
    current: &Credential,
    is: impl Fn(&Issued, &Credential) -> bool,
) -> Result<(), RotationError> {
    if issued.is_empty() || issued.iter().any(|issued| is(issued, current)) {
        return Ok(());
    }
    let text = "the IAM user has credentials, and the secret's current one is not among them: the user must be there \
                for this secret alone";
    Err(RotationError::Unfit(text.to_owned()))
}

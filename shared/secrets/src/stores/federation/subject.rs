//! The token that we bring: AWS's word for our role, or a file's.

use std::fs::File;
use std::io::Read;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Ask;
use super::exchange::Exchange;
use crate::SecretError;
use crate::stores::answers;

/// For every service that has no file of its own.
const FILE: &str = "KEYTURN_FEDERATION_TOKEN_FILE";
/// The longest token, as Anthropic's SDKs have it: what is longer is no token, but a file that was meant for others.
const LONGEST: u64 = 16 * 1024;

/// A token for the service of an exchange.
pub(super) async fn token(exchange: &Exchange, ask: &Ask<'_>) -> Result<SecretString, SecretError> {
    let own = exchange.variable("TOKEN_FILE");
    for variable in [own.as_str(), FILE] {
        if let Some(path) = ask.found.env.var(variable) {
            return read(&path).map_err(|problem| ask.setting(variable, problem));
        }
    }
    let token = ask.aws.web_identity_token_lasting(exchange.audience, exchange.lasts).await;
    token.map_err(|error| answers::unidentified(ask.reference, &error))
}

fn read(path: &str) -> Result<SecretString, &'static str> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|_| "names a file that cannot be read")?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|_| "names a file that cannot be read")?;
    let token = text.trim();
    if text.len() as u64 > LONGEST || !is_jwt(token) {
        return Err("names a file that holds no JWT");
    }
    Ok(SecretString::from(token))
}

/// Whether a text looks like a signed JWT: three parts in base64's letters for addresses. Only such a text leaves this
/// machine.
fn is_jwt(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_or_a_certificate_is_no_token() {
        assert!(is_jwt("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln-_"));
        for text in ["", "sk-1234", "a.b", "a..c", "a.b.c.d", "a.b.c d", "-----BEGIN PRIVATE KEY-----\n.a.b"]
        {
            assert!(!is_jwt(text), "{text}");
        }
    }
}

//! Sealed values: `sealed:VERSION.BASE64URL`, a secret that may stand in a file which others read.
//!
//! Each value has a random data key of its own. The data key is wrapped with a key that is derived from a *salt key*, and
//! `VERSION` says from which: so a salt key is replaced by wrapping the data keys anew ([`Sealed::rewrap`]), which needs
//! no value, and values of both versions open meanwhile.
//!
//! `BASE64URL` (RFC 4648, section 5, without padding) is, in bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the format: 1 |
//! | 32 | the salt of the derivation |
//! | 12 | the nonce of the data key |
//! | 32 + 16 | the data key, encrypted, and its tag |
//! | 12 | the nonce of the value |
//! | any + 16 | the value in UTF-8, encrypted, and its tag |
//!
//! - Both are encrypted with AES-256-GCM (NIST SP 800-38D).
//! - The wrapping key is HKDF-SHA256 (RFC 5869) of the salt key's bytes and the salt, with the info
//!   `keyturn:sealed:1:wrap:VERSION`.
//! - The tag of the data key covers `keyturn:sealed:1:key:VERSION` besides, that of the value `keyturn:sealed:1:value`:
//!   neither the format nor the version can be exchanged.
//!
//! HKDF is no password hash: a salt key that can be guessed can be found from a sealed value. [`SaltKey::new`] refuses the
//! worst.

mod find;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use find::find;

/// What every sealed value begins with, and the scheme of references to it.
pub const SCHEME: &str = "sealed";

/// The format that is written, and the only one there is.
const FORMAT: u8 = 1;
const SALT_LEN: usize = 32;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// The shortest salt key, in characters: a password manager's usual length.
const SHORTEST_SALT_KEY: usize = 20;
/// The fewest different characters of a salt key.
const FEWEST_CHARACTERS: usize = 8;

/// The number of a salt key.
pub type Version = NonZeroU32;

/// A salt key is too easy to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is too easy to guess: a salt key has at least 20 characters, 8 of them different")]
pub struct Weak;

/// Why a value is not sealed, not opened or not wrapped anew. It repeats nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not have the form of a sealed value.
    #[error("it is not a sealed value: expected sealed:VERSION. and base64url")]
    Form,
    /// A later program wrote it.
    #[error("it is sealed in format {0}, which this program does not know")]
    Format(u8),
    /// The salt key is another version's.
    #[error("it is sealed with version {0} of the salt key, which is not the one at hand")]
    Version(Version),
    /// It was changed, or what is called this version of the salt key is another one.
    #[error("it does not open with version {0} of the salt key: either was changed")]
    Changed(Version),
    /// The system has no random numbers.
    #[error("there are no random numbers")]
    Random,
}

/// One version of the salt key.
#[derive(Debug, Clone)]
pub struct SaltKey {
    version: Version,
    secret: SecretString,
}

impl SaltKey {
    /// A salt key.
    ///
    /// # Errors
    ///
    /// [`Weak`]: it has fewer than 20 characters, or fewer than 8 different ones.
    pub fn new(version: Version, secret: SecretString) -> Result<Self, Weak> {
        let text = secret.expose_secret();
        let mut seen = Zeroizing::new(Vec::new());
        for character in text.chars() {
            if !seen.contains(&character) {
                seen.push(character);
            }
            if seen.len() >= FEWEST_CHARACTERS {
                break;
            }
        }
        let strong = text.chars().count() >= SHORTEST_SALT_KEY && seen.len() >= FEWEST_CHARACTERS;
        if strong { Ok(Self { version, secret }) } else { Err(Weak) }
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The key that wraps data keys.
    fn wrapping(&self, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
        let info = format!("keyturn:sealed:{FORMAT}:wrap:{}", self.version);
        let pseudorandom = Salt::new(HKDF_SHA256, salt).extract(self.secret.expose_secret().as_bytes());
        let info = [info.as_bytes()];
        Ok(LessSafeKey::new(UnboundKey::from(pseudorandom.expand(&info, &AES_256_GCM)?)))
    }
}

/// A sealed value. It may be shown: it is made to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    version: Version,
    wrapped: Wrapped,
    nonce: [u8; NONCE_LEN],
    /// The value, encrypted, and its tag.
    value: Vec<u8>,
}

/// A data key as it stands in a sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrapped {
    salt: [u8; SALT_LEN],
    nonce: [u8; NONCE_LEN],
    key: [u8; KEY_LEN + TAG_LEN],
}

impl Sealed {
    /// Seals a value.
    ///
    /// # Errors
    ///
    /// [`SealError::Random`].
    pub fn seal(value: &SecretString, key: &SaltKey) -> Result<Self, SealError> {
        let data_key = Zeroizing::new(random::<KEY_LEN>()?);
        seal_with(value, key, &data_key, &random()?, random()?, random()?)
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`SealError::Version`] or [`SealError::Changed`].
    pub fn open(&self, key: &SaltKey) -> Result<SecretString, SealError> {
        let data_key = self.data_key(key)?;
        let changed = SealError::Changed(self.version);
        let opened = unlock(data(&data_key), self.nonce, &value_context(), &self.value);
        let opened = opened.map_err(|Unspecified| changed)?;
        std::str::from_utf8(&opened).map(SecretString::from).map_err(|_| changed)
    }

    /// The same value for another salt key: only the wrapped data key is another.
    ///
    /// # Errors
    ///
    /// [`SealError::Version`], [`SealError::Changed`] or [`SealError::Random`].
    pub fn rewrap(&self, from: &SaltKey, to: &SaltKey) -> Result<Self, SealError> {
        let data_key = self.data_key(from)?;
        let wrapped = Wrapped::new(&data_key, to, random()?, random()?)?;
        Ok(Self { version: to.version, wrapped, ..self.clone() })
    }

    /// With which version of the salt key it is sealed.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    fn data_key(&self, key: &SaltKey) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if key.version != self.version {
            return Err(SealError::Version(self.version));
        }
        let Wrapped { salt, nonce, key: wrapped } = &self.wrapped;
        let wrapping = key.wrapping(salt);
        unlock(wrapping, *nonce, &key_context(self.version), wrapped)
            .map_err(|Unspecified| SealError::Changed(self.version))
    }
}

impl Wrapped {
    fn new(
        data_key: &[u8],
        with: &SaltKey,
        salt: [u8; SALT_LEN],
        nonce: [u8; NONCE_LEN],
    ) -> Result<Self, SealError> {
        let locked = lock(with.wrapping(&salt), nonce, &key_context(with.version), data_key);
        let locked = locked.ok().and_then(|key| key.try_into().ok()).ok_or(SealError::Random)?;
        Ok(Self { salt, nonce, key: locked })
    }
}

/// Seals with these random numbers.
fn seal_with(
    value: &SecretString,
    key: &SaltKey,
    data_key: &[u8; KEY_LEN],
    salt: &[u8; SALT_LEN],
    key_nonce: [u8; NONCE_LEN],
    nonce: [u8; NONCE_LEN],
) -> Result<Sealed, SealError> {
    let wrapped = Wrapped::new(data_key, key, *salt, key_nonce)?;
    let value = value.expose_secret().as_bytes();
    let value = lock(data(data_key), nonce, &value_context(), value).map_err(|_| SealError::Random)?;
    Ok(Sealed { version: key.version, wrapped, nonce, value })
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

fn key_context(version: Version) -> String {
    format!("{}:key:{version}", context())
}

fn value_context() -> String {
    format!("{}:value", context())
}

fn context() -> String {
    format!("keyturn:{SCHEME}:{FORMAT}")
}

fn data(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

fn lock(
    key: Result<LessSafeKey, Unspecified>,
    nonce: [u8; NONCE_LEN],
    context: &str,
    plain: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    // Room for the tag: what grew would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_LEN));
    bytes.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key?.seal_in_place_append_tag(nonce, Aad::from(context), &mut *bytes)?;
    Ok(std::mem::take(&mut *bytes))
}

fn unlock(
    key: Result<LessSafeKey, Unspecified>,
    nonce: [u8; NONCE_LEN],
    context: &str,
    locked: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let mut bytes = Zeroizing::new(locked.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = key?.open_in_place(nonce, Aad::from(context), &mut bytes)?.len();
    bytes.truncate(plain);
    Ok(bytes)
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrapped { salt, nonce, key } = &self.wrapped;
        let bytes = [&[FORMAT], &salt[..], nonce, key, &self.nonce, &self.value].concat();
        write!(f, "{SCHEME}:{}.{}", self.version, URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Sealed {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let rest = text.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(':'));
        let (version, encoded) = rest.and_then(|rest| rest.split_once('.')).ok_or(SealError::Form)?;
        // One way to write it: no sign, no zeros in front.
        let plain = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
        let number = version.parse().ok().filter(|_| plain).ok_or(SealError::Form)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| SealError::Form)?;
        match bytes.split_first() {
            Some((&FORMAT, rest)) => parts(number, rest).ok_or(SealError::Form),
            Some((&format, _)) => Err(SealError::Format(format)),
            None => Err(SealError::Form),
        }
    }
}

/// What follows the format.
fn parts(version: Version, bytes: &[u8]) -> Option<Sealed> {
    let (salt, bytes) = bytes.split_first_chunk()?;
    let (key_nonce, bytes) = bytes.split_first_chunk()?;
    let (key, bytes) = bytes.split_first_chunk()?;
    let (nonce, value) = bytes.split_first_chunk()?;
    let wrapped = Wrapped { salt: *salt, nonce: *key_nonce, key: *key };
    let long_enough = value.len() >= TAG_LEN;
    long_enough.then(|| Sealed { version, wrapped, nonce: *nonce, value: value.to_vec() })
}

#[cfg(test)]
mod tests;

//! `keyturn_master_key`: the master key of this gateway, which its functions read from a secret when they start.
//!
//! **Strategy.** Several values. The configured master key has no row in the key table; the first rotation makes one,
//! which says from then on which master keys work. The new one works beside the present one at every function:
//! at those that still have the former one in memory, since the table knows the new one, and at those that have read
//! the new one, since the table knows the former one. The former one ends after the overlap, everywhere. New ones
//! look like `sk-master-…`; the first one must begin with `sk-` too.
//!
//! | setting | meaning |
//! |---|---|
//! | – | there are none: the secret's current value is the master key that is configured |
//!
//! Whoever can write such a secret, and its tags, can make a value of their choice the master key. Give that right to
//! nobody but those who have the master key.
//!
//! **Needs** what `keyturn_virtual_key` needs. A gateway without a key table cannot have two master keys at a time.

use keyturn_keys::manage::Whose;
use serde::Deserialize;

use super::own_keys::OwnKeys;
use crate::settings::{Settings, SettingsError};
use crate::{Rotator, Tools};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let Own {} = settings.read()?;
    Ok(Box::new(OwnKeys::open(tools, Whose::Master)?))
}

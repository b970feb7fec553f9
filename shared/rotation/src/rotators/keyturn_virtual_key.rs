//! `keyturn_virtual_key`: a virtual key of this gateway, which its clients read from a secret.
//!
//! **Strategy.** Several values: the new one opens the key beside the present one, with the same id, limits and
//! spend; the former one ends after the overlap. The value that the secret holds at first is taken over: it ends like
//! the others. It must be a value of the key, which must have `auto_rotate` off.
//!
//! | setting | meaning |
//! |---|---|
//! | – | there are none: the current value says which key it is |
//!
//! **Needs** the key table (`KEYTURN_TABLE` or `KEYTURN_KEY_STORE`), and to read and write it: `dynamodb:BatchGetItem`,
//! `ConditionCheckItem`, `DeleteItem`, `GetItem`, `PutItem` and `UpdateItem` on it; in Vault what the keys function
//! needs. The last use of a value is not known: clients must read the secret anew within the overlap.
//!
//! Where `store_virtual_keys` keeps values too, the newest one is kept, and is not ended before there is another.

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
    Ok(Box::new(OwnKeys::open(tools, Whose::Key)?))
}

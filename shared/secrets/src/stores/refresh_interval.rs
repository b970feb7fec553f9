//! LiteLLM's `…_REFRESH_INTERVAL`: after how many seconds a store's values are read again.
//!
//! LiteLLM serves a value for so long and no longer (`HCP_VAULT_REFRESH_INTERVAL`: a day where it is not set). Here it
//! is the store's soft TTL: the value is read again from this age on, while it still serves. How old a value may become
//! in the end is the cache's to say ([`CacheSettings::hard_ttl`](crate::CacheSettings)), which is why a longer interval
//! than that is cut down to fit it.

use std::time::Duration;

use keyturn_ambient::Env;

/// The interval that a variable sets, if it is set; or what is wrong with it.
pub(super) fn refresh_interval(env: &dyn Env, variable: &str) -> Result<Option<Duration>, String> {
    let Some(text) = env.var(variable) else { return Ok(None) };
    let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| format!("{variable} is no number of seconds, from 1 on"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_is_a_number_of_seconds() {
        let read = |text: &str| {
            let env = HashMap::from([("X_REFRESH_INTERVAL".to_owned(), text.to_owned())]);
            refresh_interval(&env, "X_REFRESH_INTERVAL")
        };
        assert_eq!(read("86400").unwrap(), Some(Duration::from_secs(86_400)));
        assert_eq!(read(" 1 ").unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(read("").unwrap(), None);
        for text in ["0", "-1", "1.5", "5m", "sk-1"] {
            let problem = read(text).unwrap_err();
            assert_eq!(problem, "X_REFRESH_INTERVAL is no number of seconds, from 1 on");
        }
    }
}

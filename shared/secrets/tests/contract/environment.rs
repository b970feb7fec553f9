//! The environment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_ambient::{Env, SystemClock};
use keyturn_secrets::Stores;

use crate::promises::{Seed, keeps_its_promises};

/// An environment that changes.
#[derive(Default)]
struct Variables(Mutex<HashMap<String, String>>);

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().var(name)
    }
}

#[async_trait]
impl Seed for Arc<Variables> {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
        name.to_owned()
    }

    fn has_stages(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn the_environment_keeps_its_promises() {
    let variables = Arc::new(Variables::default());
    let (env, http) = (Arc::clone(&variables) as Arc<dyn Env>, keyturn_http::client().unwrap());
    let stores = Stores::new(env, &http, Arc::new(SystemClock));
    keeps_its_promises(Arc::clone(stores.find("env").unwrap()), &variables).await;
}

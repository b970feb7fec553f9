//! AWS Secrets Manager, in moto, one server for each scenario.

use std::sync::Arc;

use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{Surroundings, open_staged};
use keyturn_tests::moto::Moto;

use crate::bench::{Bench, Place, environment};

async fn start() -> Bench {
    let moto = Arc::new(Moto::start().await);
    let env = environment(&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", &moto.url())]);
    let found = Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    };
    let switch = Arc::clone(&moto);
    Bench::on(Place {
        store: open_staged("aws-secretsmanager", &found).unwrap(),
        prefix: "litellm/".to_owned(),
        outage: Box::new(move |down| switch.outage(down)),
        _servers: Box::new(moto),
    })
    .await
}

crate::suite!(start);

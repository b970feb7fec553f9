//! Vault, in OpenBao, one prefix for each scenario.

use std::sync::Arc;

use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::{Surroundings, open_staged};
use keyturn_tests::openbao::{Fate, OpenBao, ROOT, Tap};

use crate::bench::{Bench, Place, environment};

async fn start() -> Bench {
    let server = OpenBao::shared();
    let tap = Arc::new(Tap::start(server.url()).await);
    let env = environment(&[("HCP_VAULT_ADDR", &tap.url()), ("HCP_VAULT_TOKEN", ROOT)]);
    let found = Surroundings {
        env: Arc::new(env),
        http: keyturn_http::client().unwrap(),
        clock: Arc::new(SystemClock),
    };
    let switch = Arc::clone(&tap);
    Bench::on(Place {
        store: open_staged("vault", &found).unwrap(),
        prefix: format!("secret/{}/", server.fresh("litellm")),
        outage: Box::new(move |down| {
            switch.judge(move |_, _| if down { Fate::Status(500) } else { Fate::Through });
        }),
        _servers: Box::new(tap),
    })
    .await
}

crate::suite!(start);

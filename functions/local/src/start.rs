//! From the command line to a gateway that serves.

use std::net::SocketAddr;
use std::sync::Arc;

use keyturn_ambient::{Clock, Env};
use keyturn_kept::Surroundings;
use keyturn_keys::manage::ManagerOptions;
use keyturn_keys::{KeyHash, KeyStore, Manager};
use keyturn_keys_api::{Api, Parts};
use keyturn_request::log::stderr;
use keyturn_request::{Gateway, Options};
use keyturn_secrets::stores::SaltKeys;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Serve;
use crate::chest::Chest;
use crate::error::Error;
use crate::greeting::Greeting;
use crate::told::Told;
use crate::{first_run, server, table};

/// Serves until Ctrl-C or SIGTERM, then answers what is under way; a second one ends it at once.
///
/// # Errors
///
/// [`Error`] says what kept the gateway from starting.
pub async fn start(arguments: Serve, env: Arc<dyn Env>, clock: Arc<dyn Clock>) -> Result<(), Error> {
    let http = keyturn_http::client_through_proxy(env.as_ref())?;
    first_run::directory(&arguments.data_dir)?;
    let keys = table::open(&arguments.data_dir.join("keys.db"), &http).await?;
    let manager = Manager::new(Arc::clone(&keys) as _, Arc::clone(&clock), ManagerOptions::default());
    let found = Surroundings { env: Arc::clone(&env), http: http.clone(), clock: Arc::clone(&clock) };
    let chest = Chest::new(SaltKeys::new(&found)).await?;
    let virtual_key = first_run::virtual_key(&arguments.data_dir, &chest, &manager).await?;
    let master_key = first_run::master_key(&arguments.data_dir, &chest).await?;

    let options = Options {
        env,
        clock: Arc::clone(&clock),
        sink: stderr,
        http: http.clone(),
        config: Some(arguments.config.clone()),
        keys: Some(Arc::clone(&keys) as _),
        key_cache: None,
        master_key: Some(master_key),
    };
    let gateway = Gateway::load(options).await?;
    let found = Surroundings { env: gateway.stores_env(), http, clock };
    // The first key is there as long as the data directory, and nowhere else.
    let name = format!("local:{}", KeyHash::of(&virtual_key));
    let api = management(&gateway, Arc::clone(&keys) as _, &name, &found)?;

    let address = SocketAddr::new(arguments.host, arguments.port);
    let failed = |source| Error::Listen { address, source };
    let (address, listener) = server::listen(address).await.map_err(failed)?;
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let mut signals = (signal(interrupt).map_err(failed)?, signal(terminate).map_err(failed)?);
    let mut more = (signal(interrupt).map_err(failed)?, signal(terminate).map_err(failed)?);

    let master_file = arguments.data_dir.join("master-key");
    Greeting {
        address,
        virtual_key: &virtual_key,
        master_key: gateway.uses_default_master_key().then_some(master_file.as_path()),
        models: gateway.model_groups(),
        config: &arguments.config,
    }
    .print();

    let stop_now = async {
        either(&mut more).await;
        either(&mut more).await;
    };
    server::serve(Arc::clone(&gateway), api, listener, either(&mut signals), stop_now).await;
    if let Some(keys) = gateway.keys() {
        // What is lost is a few lines of reports.
        let _ = keys.write_usage().await;
    }
    keys.written().await;
    Ok(())
}

/// The management API beside the gateway: with its master key, and telling it what changes. `name` tells this key
/// store from others.
fn management(
    gateway: &Arc<Gateway>,
    store: Arc<dyn KeyStore>,
    name: &str,
    found: &Surroundings,
) -> Result<Arc<Api>, Error> {
    let store: Arc<dyn KeyStore> = Arc::new(Told { store, gateway: Arc::clone(gateway) });
    let door = gateway.door().clone();
    let kept = gateway.stored_keys().map(|settings| keyturn_kept::open(settings, name, found)).transpose()?;
    let derivation = door.master_key().cloned();
    let options = ManagerOptions { kept, derivation, ..ManagerOptions::default() };
    let clock = Arc::clone(&found.clock);
    let manager = Manager::new(Arc::clone(&store), Arc::clone(&clock), options);
    Ok(Arc::new(Api::new(Parts { manager, store, door, log: gateway.log(), clock })))
}

async fn either(signals: &mut (Signal, Signal)) {
    tokio::select! {
        _ = signals.0.recv() => {}
        _ = signals.1.recv() => {}
    }
}

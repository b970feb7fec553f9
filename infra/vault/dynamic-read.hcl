# What the request function needs to have a credential issued: vault-dynamic:rabbitmq/creds/gateway#password. To renew its
# lease and to ask after it is in Vault's policy `default`, which tokens have unless their role says otherwise; it stands
# here for those that do not.
path "rabbitmq/creds/gateway" { capabilities = ["read"] }
path "sys/leases/renew"       { capabilities = ["update"] }
path "sys/leases/lookup"      { capabilities = ["update"] }

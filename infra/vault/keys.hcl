# What the functions need in Vault when virtual keys live there (KEYTURN_KEY_STORE=vault), with the mount `secret` and the
# path `keyturn`. The request function needs it too: it counts usage in the same documents.
path "secret/data/keyturn/*"     { capabilities = ["create", "read", "update", "delete"] }
path "secret/metadata/keyturn/*" { capabilities = ["create", "read", "update", "delete", "list"] }

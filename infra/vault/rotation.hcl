# What the rotation function needs to rotate them. Tags (`keyturn:rotator`) are the document's custom metadata.
path "secret/data/providers"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/providers" { capabilities = ["read", "create", "update"] }

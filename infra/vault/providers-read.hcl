# What the request function needs to read providers' credentials: vault:secret/providers#OPENAI_API_KEY.
path "secret/data/providers" { capabilities = ["read"] }

"""Commands for who may use girih: sessions, keys, members, tenants, and what they use."""

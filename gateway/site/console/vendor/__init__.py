"""Libraries of others, byte for byte as `vendored.mjs` makes them of their packages."""

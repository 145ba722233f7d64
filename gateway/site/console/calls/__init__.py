"""How the console calls the API: one client, sessions, streams that go on."""

"""Which girih, over what, and as whom: from arguments, the environment and the login."""

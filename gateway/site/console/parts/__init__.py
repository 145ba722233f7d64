"""What pages of the console are put together from."""

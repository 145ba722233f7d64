"""What the contract of the event store promises, asked of everyone who serves it."""

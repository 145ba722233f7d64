"""What the contract's options say of messages: told in words, and checked. Knows no service."""

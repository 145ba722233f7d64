"""What is carried to and from logs, over gRPC."""

"""The rules of documents, without a server."""

"""The projection of documents."""

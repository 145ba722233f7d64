"""The rules of documents without a server, and the application against one in memory."""

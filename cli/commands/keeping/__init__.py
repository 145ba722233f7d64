"""What is kept beside a running girih: archives and backups."""

"""What is seen of a process from outside beside its answers: lines of a fixed form, and traces."""

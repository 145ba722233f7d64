"""What is shipped for containers, clusters and machines, as far as it can be seen without them."""

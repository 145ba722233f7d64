"""The services of the contract on logs in memory: a file each."""

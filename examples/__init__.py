"""Programs of users, as they could write them: they know the client of girih and nothing else."""

"""Models on lattices: what they must be, what they take, and how they go on step by step."""

"""Anyone's own network becomes a search space: traced, its channels joined, cut into layers."""

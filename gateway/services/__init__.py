"""DO: one noun at a time. Caches, bounds and subscriptions live here; decisions do not."""

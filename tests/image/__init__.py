"""The Dockerfile, linted, built and run."""

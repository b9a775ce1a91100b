"""TOUCH: everything that reaches outside the process, each behind an interface that the domain owns."""

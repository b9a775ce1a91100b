"""SAY: the nouns and rules of trading through one account.

Pure Python: no I/O, no framework, no clock. Instants are integers, nanoseconds since the Unix epoch in
UTC, and whoever needs "now" takes it as an argument.
"""

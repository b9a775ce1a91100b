"""Garbage at every door: requests made from the contract's own descriptors, bytes at every parser, raw HTTP/2 frames.

`messages` makes requests, `mutations` spoils their bytes, `target` is a gateway that counts what they cost and where
they went, `campaign` sends them and judges every answer; `parsers` are the places inside that read what others wrote,
`frames` speaks HTTP/2 by hand. `make fuzz MINUTES=10` runs all of it for as long as there is time, `make test` a short
and repeatable part.
"""

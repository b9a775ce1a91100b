"""The dictionary between Alpaca's words and the domain's: tables and functions, no I/O.

`x_from_alpaca` reads tolerantly: an unknown word is data. What cannot be read without guessing (a number
that is none, a missing id) raises `Unreadable`, and what that means depends on the request: the adapter says.
"""

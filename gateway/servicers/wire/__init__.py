"""The dictionary between the contract and the domain: one module for each .proto, and three for trading.proto.

Enums are tables, total in both directions; requests are read field by field and every violation is reported,
all of a request together; a value of the venue that the contract does not name reads UNSPECIFIED.
"""

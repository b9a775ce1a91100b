"""The nouns: orders, market data, the account and reference data, and the rules they carry."""

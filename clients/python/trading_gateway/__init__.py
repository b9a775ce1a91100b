"""The trading gateway's contract in Python (`trading_gateway.v1`, generated) and the client on it."""

"""Alpaca's websockets: market data in batches (`data`), order updates (`orders`), and the queues behind both."""

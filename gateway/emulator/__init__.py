"""The emulator pretends to be Alpaca: its REST routes and websockets over a simulated exchange.

A product in its own right: unmodified alpaca-py works against it by `url_override`, with no keys and no network.
It is written from Alpaca's documents and knows the domain's nouns and nothing else of the gateway; the gateway
meets it by URL. `exchange/` is the pure state machine, `ledger` its memory, `market` and `tape` its prices,
`floor` joins them with the clock, `rest/` and `streams/` are Alpaca's wire, `faults` is what goes wrong on
request, and `server` starts and stops it all. README.md is the manual.
"""

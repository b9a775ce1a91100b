"""The trading gateway: one Alpaca account, many programs, one truth about orders.

Six rooms, one verb each: servicers translate, application decides, services do, domain says,
infrastructure touches, and the emulator pretends. `gateway/README.md` walks through them.
"""

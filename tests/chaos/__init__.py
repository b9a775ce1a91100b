"""Proof that orders survive: what clients write down, a checker that shares nothing with the gateway, planted bugs.

`history` is the clients' notebook, `checker` proves the invariants from three records, `world` makes correct records
and `damage` spoils them one bug at a time, `planted` lists bugs of the real engine. `checker/__init__` says how to run
the checker by hand and what each record must contain.
"""

"""The real engine on simulated time: seeded faults, crashes at any step, and the three records they leave.

    python -m tests.chaos simulate --seed N

Everything happens on one thread and one loop whose clock jumps from one timer to the next; everything that is drawn is
drawn from `random.Random(seed)`. The same seed gives the same three records, byte for byte, whatever the machine.

`world` is the whole of one run. `loop` is time; `life` one process of the gateway; `journal` the disk that survives it;
`venue` and `feed` the roads to the exchange and what goes wrong on them; `weather` decides what does; `clients` are the
strategies; `words` puts the gateway's nouns into the words of the records.
"""

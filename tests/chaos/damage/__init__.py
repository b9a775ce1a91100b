"""Bugs planted into correct records: what each would leave behind, and which invariants must say so.

A bug that a gateway would have consistently (a fill never journaled is never streamed either) is planted before the
world is finished; one of a single record after it. `caught_by` are the invariants that must be violated; others may be
too, for one mistake breaks several promises.
"""

from tests.chaos.damage import books, control, machine, sending, telling
from tests.chaos.damage.registry import RecordBug, bugs, spoiled

__all__ = ["RecordBug", "books", "bugs", "control", "machine", "sending", "spoiled", "telling"]

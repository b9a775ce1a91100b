"""Bugs planted into the real gateway: each a patch of one class or module, and the invariants that must see it.

`with planted(bug):` patches, and undoes it at the end; whatever runs inside is the gateway with that bug. Patches are
of classes and modules, so that they also hold in the next life of a gateway that was killed. A patch of a name that is
not there any more fails loudly. `tests.chaos.damage` has the same idea on paper, without a gateway.
"""

from tests.chaos.planted import reading, sending, stopping, telling
from tests.chaos.planted.registry import BUGS, Bug, planted

__all__ = ["BUGS", "Bug", "planted", "reading", "sending", "stopping", "telling"]

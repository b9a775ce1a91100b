"""Who did what: the entries of the audit log, and the chain that binds them.

The chain is SHA-256 over the hash before and the entry's canonical JSON, so that a row that was changed, taken out or
put in shows; whoever holds a later hash can tell that the end was cut off, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

FIRST_HASH: Final = bytes(32)
"""What stands before the first entry."""


class AuditAction(StrEnum):
    """What was done, or refused."""

    GATEWAY_START = "gateway_start"
    GATEWAY_STOP = "gateway_stop"
    TOKEN_MINT = "token_mint"  # noqa: S105 - an act, not a secret
    TOKEN_ROTATE = "token_rotate"  # noqa: S105
    TOKEN_REVOKE = "token_revoke"  # noqa: S105
    TRADING_STATE = "trading_state"
    FAULT_INJECT = "fault_inject"
    FAULTS_CLEAR = "faults_clear"
    CERTIFICATE_LOAD = "certificate_load"
    AUTHENTICATION_FAIL = "authentication_fail"
    PERMISSION_DENY = "permission_deny"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act, before it has a place in the log.

    Attributes:
        actor: Who: a caller's name, "file", "signal", "gateway"; of one whom nobody knows, its address.
        subject: What it was about: a token's id, a method, a trading mode.
        outcome: "ok", or the reason of a refusal; "asked" stands before what took effect after it.
        detail: Plain facts; never a secret.
    """

    time_ns: int
    actor: str
    action: AuditAction
    subject: str = ""
    outcome: str = "ok"
    detail: Mapping[str, str] = field(default_factory=dict)

    def canonical(self) -> bytes:
        """The bytes that the chain binds."""
        facts = [self.time_ns, self.actor, self.action.value, self.subject, self.outcome, dict(self.detail)]
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry in its place: sequence 1, 2, 3, ... without a gap."""

    sequence: int
    entry: AuditEntry
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What a look at the whole log found.

    Attributes:
        count: Entries up to the first that is wrong.
        head: Their last hash.
        fault: What is wrong with the next one; empty when nothing is.
    """

    count: int
    head: bytes
    fault: str = ""


def chained(before: bytes, entry: AuditEntry) -> bytes:
    """The hash of an entry behind another one."""
    return hashlib.sha256(before + entry.canonical()).digest()


def verify(records: Iterable[AuditRecord]) -> AuditVerdict:
    """Compare a log, from its first record on, with its own chain."""
    count, head = 0, FIRST_HASH
    for record in records:
        if record.sequence != count + 1:
            return AuditVerdict(count, head, f"entry {count + 1} is missing: {record.sequence} follows {count}")
        if record.hash != chained(head, record.entry):
            return AuditVerdict(count, head, f"entry {record.sequence} is not what was recorded")
        count, head = record.sequence, record.hash
    return AuditVerdict(count, head)

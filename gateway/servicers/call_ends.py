"""The ends of a call: the id that it is followed by, and the status that it leaves with."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import grpc
from google.rpc import status_pb2

from gateway.domain.types import holds_token
from gateway.servicers.identity import Metadata

REQUEST_ID_HEADER: Final = "x-request-id"
STATUS_DETAILS_HEADER: Final = "grpc-status-details-bin"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REQUEST_ID_PREFIX_BYTES: Final = 4
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]

_own_ids = count(1)
_own_prefix: Final = secrets.token_hex(_REQUEST_ID_PREFIX_BYTES)


def request_id_of(metadata: Metadata) -> str:
    """The caller's where it is well formed, else one of ours: unique in this process, and very likely beyond.

    A token is none, however well formed: an id goes into logs, traces and answers.
    """
    for name, value in metadata:
        if name != REQUEST_ID_HEADER or not isinstance(value, str):
            continue
        if _REQUEST_ID.fullmatch(value) and not holds_token(value):
            return value
    return f"{_own_prefix}-{next(_own_ids):x}"


def code_of_call(context: Context) -> int:
    """The code of a call that gRPC ended: by a deadline, by the client, or a servicer of gRPC's own by `abort`."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return _number(code)
    remaining_s = context.time_remaining()
    is_late = remaining_s is not None and remaining_s <= 0
    return _number(grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED)


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number


def end(context: Context, status: status_pb2.Status, request_id: str) -> bytes:
    """End a call with a status and its details: what is returned is to be returned to gRPC, which leaves it out.

    `ServicerContext.abort` raises, and its traceback keeps the call's frames in a circle that only the garbage
    collector ends.
    """
    context.set_trailing_metadata(
        ((REQUEST_ID_HEADER, request_id), (STATUS_DETAILS_HEADER, status.SerializeToString()))
    )
    context.set_code(_CODES[status.code])
    context.set_details(status.message)
    return b""

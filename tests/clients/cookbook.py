"""The grpcurl commands of README.md and clients/README.md: found, run against a gateway, held to what is shown.

A ```console block has commands after "$ " and below each what it printed, shortened with "…". A command is run
through grpcurl where that is installed, else through `buf curl` with an equivalent call. `$TOKEN` in a command is the
newest resume token that an earlier one printed.
"""

from __future__ import annotations

import base64
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import json_format
from google.rpc import error_details_pb2

from tests.clients.toolchains import find

ROOT: Final = Path(__file__).resolve().parents[2]
READMES: Final = (ROOT / "README.md", ROOT / "clients" / "README.md")
DEFAULT_TARGET: Final = "127.0.0.1:50051"
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STREAM_S: Final = 2.5
_CALL_S: Final = 30.0

_CODES: Final = {
    "DeadlineExceeded": 4,
    "InvalidArgument": 3,
    "NotFound": 5,
    "AlreadyExists": 6,
    "FailedPrecondition": 9,
    "PermissionDenied": 7,
}
"""gRPC's codes as grpcurl spells those that the cookbook shows; it exits with 64 + code."""


@dataclass(frozen=True)
class Recipe:
    """One command and what is shown below it."""

    command: str
    shown: str

    @property
    def arguments(self) -> list[str]:
        """The command, split as a shell does."""
        return shlex.split(self.command)

    @property
    def is_guarded(self) -> bool:
        """It wants a gateway that speaks TLS."""
        return "-cacert" in self.command

    @property
    def code(self) -> int:
        """The gRPC code that is shown."""
        found = re.search(r"^  Code: (\w+)$", self.shown, re.MULTILINE)
        return _CODES[found[1]] if found else 0

    @property
    def promises(self) -> set[str]:
        """What the real output has to have as well: names of fields, and constants such as "ORDER_SIDE_BUY"."""
        if self.is_question_of_schema:
            return {word for line in self.shown.splitlines() if (word := _schema_word(line))}
        words = set(re.findall(r'"(\w+)":', self.shown)) | set(re.findall(r'"([A-Z][A-Z_]+[A-Z])"', self.shown))
        if "wait_for_terminal" not in self.command:  # how far an order is by the time of the answer is chance
            words -= {word for word in words if word.startswith("ORDER_STATE_")}
        return words

    @property
    def is_question_of_schema(self) -> bool:
        """List or describe: the answer is not JSON."""
        return self.arguments[-1] == "list" or "describe" in self.arguments


def recipes(readme: Path) -> list[Recipe]:
    """What a page shows of grpcurl on loopback in plain text, in the order in which it is read."""
    return [found for found in commands(readme) if found.command.startswith("grpcurl ") and not found.is_guarded]


def guarded_commands(readme: Path) -> list[Recipe]:
    """What a page shows, with grpcurl and without, in the section about a gateway with TLS and tokens."""
    found = commands(readme)
    begin = next(index for index, one in enumerate(found) if "token mint" in one.command)
    return found[begin:]


def commands(readme: Path) -> list[Recipe]:
    """All of a page, in the order in which they are read."""
    found = []
    for block in _BLOCK.findall(readme.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = next(index for index, line in enumerate(lines) if not line.endswith("\\"))
            command = " ".join(line.removesuffix("\\") for line in lines[: end + 1])
            found.append(Recipe(command, "\n".join(lines[end + 1 :])))
    return found


def newest_token(output: str) -> str:
    """The last resume token that a command printed; empty when it printed none."""
    found: list[str] = re.findall(r'"resume_token": "([^"]+)"', output)
    return found[-1] if found else ""


def run(recipe: Recipe, target: str, token: str = "") -> tuple[int, str]:
    """The gRPC code and the whole output of a recipe, run against a gateway elsewhere, after `token`."""
    arguments = [target if argument == DEFAULT_TARGET else argument for argument in recipe.arguments]
    arguments = [argument.replace("$TOKEN", token) for argument in arguments]
    grpcurl = find("grpcurl")
    if grpcurl is None:
        return _run_buf(arguments, target)
    done = subprocess.run([grpcurl, *arguments[1:]], capture_output=True, text=True, check=False, timeout=_CALL_S)
    return (done.returncode - 64 if done.returncode > 64 else done.returncode), done.stdout + done.stderr


def _run_buf(arguments: list[str], target: str) -> tuple[int, str]:
    """The same through `buf curl`, which has no time limit of its own and exits with 8 × code."""
    buf = [str(Path(sys.executable).parent / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    *_, last = arguments
    if last == "list":
        call = [*buf, "--list-services", f"http://{target}"]
    elif "describe" in arguments:
        call = [*buf, "--list-methods", f"http://{target}"]
    else:
        data = arguments[arguments.index("-d") + 1] if "-d" in arguments else "{}"
        call = [*buf, "-d", data, f"http://{target}/{last}"]
    time_limit_s = _STREAM_S if "-max-time" in arguments else _CALL_S
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=time_limit_s)
    except subprocess.TimeoutExpired as ended:
        output = ended.stdout or b""
        return _CODES["DeadlineExceeded"], _as_grpcurl_prints(output.decode() if isinstance(output, bytes) else output)
    code, failed = divmod(done.returncode, 8)
    return (-done.returncode if failed else code), _as_grpcurl_prints(done.stdout + done.stderr)


def _as_grpcurl_prints(output: str) -> str:
    """Names as in the protos, and the details of errors readable."""
    output = re.sub(r'"([a-z]\w*)":', lambda name: f'"{re.sub("(?=[A-Z])", "_", name[1]).lower()}":', output)
    for kind, value in re.findall(r'"type": "google\.rpc\.(\w+)",\s*"value": "([^"]*)"', output):
        detail = getattr(error_details_pb2, kind).FromString(base64.b64decode(value + "=="))
        output += json_format.MessageToJson(detail, preserving_proto_field_name=True)
    return output


def _schema_word(line: str) -> str:
    """The service or rpc that a line of `list` or `describe` names."""
    rpc = re.match(r"\s*rpc (\w+)", line)
    return rpc[1] if rpc else line.strip() if "." in line and " " not in line.strip() else ""


def main(target: str) -> None:
    """Print every recipe with its real, whole output: material for the pages."""
    for readme in READMES:
        token = ""
        for recipe in recipes(readme):
            code, output = run(recipe, target, token)
            token = newest_token(output) or token
            print(f"$ {recipe.command}\n{output}[{code}]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Which pairs of certificate and key are served, what is read of them, and when newer ones are taken."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.servicers.addresses import ServerRefused
from gateway.servicers.certificates import CertificateRefused, read_certificates, validity
from gateway.servicers.tls import CertificateFiles, Certificates, load
from tests.certificates import DAY_S, HOSTS, Authority, Pair

NANOS = 10**9
DAY_NS = DAY_S * NANOS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def files(folder: Path, pair: Pair, client_ca: bytes | None = None) -> CertificateFiles:
    certificate, key = pair.write(folder)
    if client_ca is None:
        return CertificateFiles(certificate, key)
    (folder / "ca.pem").write_bytes(client_ca)
    return CertificateFiles(certificate, key, folder / "ca.pem")


def test_a_pair_is_read_as_it_is(authority: Authority, tmp_path: Path) -> None:
    between = Authority("Between", issuer=authority)
    ends = round(time.time()) + 20 * DAY_S
    loaded = load(files(tmp_path, between.sign(*HOSTS, ends_in_s=20 * DAY_S)), time.time_ns())
    assert loaded.pair.names == ("DNS:localhost", "IP:127.0.0.1", "IP:0:0:0:0:0:0:0:1")
    assert abs(loaded.expire_time_ns / NANOS - ends) <= 2


def test_the_end_is_the_first_of_a_chain_and_of_the_clients_authority(authority: Authority, tmp_path: Path) -> None:
    between = Authority("Between", issuer=authority, ends_in_s=5 * DAY_S)
    pair, now = between.sign(*HOSTS), time.time_ns()
    assert load(files(tmp_path, pair), now).expire_time_ns < now + 6 * DAY_NS
    leaving = Authority("Leaving", ends_in_s=2 * DAY_S).certificate
    assert load(files(tmp_path, pair, leaving), now).expire_time_ns < now + 3 * DAY_NS
    bundle = leaving + authority.certificate
    assert load(files(tmp_path, pair, bundle), now).expire_time_ns > now + 4 * DAY_NS
    with pytest.raises(CertificateRefused, match="expired on"):
        load(files(tmp_path, pair, leaving), now + 3 * DAY_NS)


def broken_pairs(good: Pair, other: Pair, authority: Authority) -> Mapping[str, tuple[Pair, str]]:
    """What somebody may put there, and a word of what is said."""
    cut = good.certificate[:-90]
    bent = good.certificate[:300] + b"AAAA" + good.certificate[304:]
    return {
        "another's key": (Pair(good.certificate, other.key), "the key is not the certificate's"),
        "no key": (Pair(good.certificate, b""), "not readable"),
        "a key that is none": (Pair(good.certificate, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"), "server.key"),
        "half a certificate": (Pair(cut, good.key), "no certificate in it"),
        "nothing": (Pair(b"", good.key), "no certificate in it"),
        "a bent one": (Pair(bent, good.key), "server.pem"),
        "a stranger in the chain": (Pair(good.certificate + other.certificate, good.key), "does not sign"),
        "the key where the certificate should be": (Pair(good.key, good.key), "no certificate in it"),
        "not yet": (authority.sign(*HOSTS, begins_in_s=3_600), "is not valid before"),
        "over": (authority.sign(*HOSTS, begins_in_s=-3_600, ends_in_s=-1), "expired on"),
        "not base64": (Pair(b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", good.key), "damaged"),
        "no certificate inside": (
            Pair(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", good.key),
            "cannot be read",
        ),
    }


def test_a_pair_that_cannot_be_served_is_refused_and_its_key_not_quoted(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.sign(*HOSTS), authority.sign(*HOSTS)
    for what, (pair, said) in broken_pairs(good, other, authority).items():
        with pytest.raises(CertificateRefused, match=said) as refusal:
            load(files(tmp_path, pair), time.time_ns())
        for line in (good.key + other.key).decode().splitlines()[1:-1]:
            assert line not in str(refusal.value), what


def test_files_that_are_missing_or_too_large_are_refused(authority: Authority, tmp_path: Path) -> None:
    wanted = files(tmp_path, authority.sign(*HOSTS))
    wanted.key.write_bytes(b"x" * (1 << 20 | 1))
    with pytest.raises(CertificateRefused, match="more than 1048576 bytes"):
        load(wanted, time.time_ns())
    wanted.key.unlink()
    with pytest.raises(CertificateRefused, match="no such file"):
        load(wanted, time.time_ns())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-newkey", "ed25519", "-noenc"), "neither an RSA nor an EC key"),
        (("-newkey", "rsa:1024", "-noenc"), "the key is too short"),
        (("-newkey", "rsa:2048", "-passout", "pass:secret"), "the key is encrypted"),
        (("-newkey", "rsa:2048", "-noenc"), ""),
    ],
)
def test_other_kinds_of_keys(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl makes these keys, and is not here")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    command = (tool, "req", "-x509", "-days", "30", "-subj", "/CN=gateway", "-addext", "subjectAltName=DNS:localhost")
    subprocess.run([*command, "-out", certificate, "-keyout", key, *options], check=True, capture_output=True)
    if not said:
        assert load(CertificateFiles(certificate, key), time.time_ns()).pair.names == ("DNS:localhost",)
        return
    with pytest.raises(CertificateRefused, match=said):
        load(CertificateFiles(certificate, key), time.time_ns())


@pytest.mark.parametrize(("begin", "end"), [(1951, 1999), (1999, 2001), (2020, 2049), (2049, 2051), (2051, 9998)])
def test_years_are_read_as_the_rule_writes_them(authority: Authority, tmp_path: Path, begin: int, end: int) -> None:
    """RFC 5280, 4.1.2.5: two digits until 2049, four from 2050 on."""
    instants = [datetime(year, 6, 1, 12, 30, 59, tzinfo=UTC).timestamp() for year in (begin, end)]
    now = time.time()
    pair = authority.sign(*HOSTS, begins_in_s=instants[0] - now, ends_in_s=instants[1] - now)
    read = validity(read_certificates(pair.certificate, tmp_path)[0])
    assert abs(read.begin_ns / NANOS - instants[0]) < 2
    assert abs(read.end_ns / NANOS - instants[1]) < 2


@pytest.mark.parametrize("given", [("a", None, None), (None, "a", None), (None, None, "a"), ("a", None, "a")])
def test_settings_that_belong_together_come_together(given: tuple[str | None, ...]) -> None:
    paths = [Path(name) if name else None for name in given]
    with pytest.raises(ServerRefused, match="--tls-cert FILE and --tls-key FILE"):
        CertificateFiles.of(*paths)
    assert CertificateFiles.of(None, None, None) is None


class Watched:
    """Certificates on a clock that is set, and what they told."""

    def __init__(self, wanted: CertificateFiles) -> None:
        self.now_ns = time.time_ns()
        self.told: list[tuple[str, Mapping[str, str], str]] = []
        self.certificates = Certificates(wanted, lambda: self.now_ns, lambda *facts: self.told.append(facts))

    @property
    def outcomes(self) -> list[str]:
        return [outcome for _, _, outcome in self.told]


async def test_a_new_pair_is_taken_when_its_files_have_come_to_rest(authority: Authority, tmp_path: Path) -> None:
    wanted = files(tmp_path, authority.sign(*HOSTS))
    watched = Watched(wanted)
    first = watched.certificates.configuration
    new = authority.sign(*HOSTS)
    wanted.certificate.write_bytes(new.certificate)
    await watched.certificates.look()  # the certificate is new, the key is not there yet
    wanted.key.write_bytes(new.key)
    await watched.certificates.look()
    assert watched.certificates.configuration is first
    await watched.certificates.look()
    assert watched.certificates.configuration is not first
    await watched.certificates.look()
    assert watched.outcomes == ["ok", "ok"]


async def test_a_broken_pair_is_told_once_and_the_old_one_goes_on(authority: Authority, tmp_path: Path) -> None:
    wanted = files(tmp_path, authority.sign(*HOSTS))
    watched = Watched(wanted)
    first = watched.certificates.configuration
    with capture_logs() as log:
        for text in (b"nonsense", None):
            if text is None:
                wanted.key.unlink()
            else:
                wanted.key.write_bytes(text)
            for _ in range(5):
                await watched.certificates.look()
    assert watched.certificates.configuration is first
    assert watched.outcomes == ["ok", "refused", "refused"]
    assert [entry["event"] for entry in log] == ["certificate_refused"] * 2
    assert all(entry["log_level"] == "error" for entry in log)
    authority.sign(*HOSTS).write(tmp_path)
    await watched.certificates.look(at_once=True)
    assert watched.outcomes[-1] == "ok"
    assert watched.certificates.configuration is not first


async def test_a_link_that_is_turned_is_a_change(authority: Authority, tmp_path: Path) -> None:
    """As orchestrators put secrets in place: same length, same time, another file."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority.sign(*HOSTS).write(tmp_path / name)
        for path in (tmp_path / name).iterdir():
            os.utime(path, (1, 1))
    link = tmp_path / "now"
    link.symlink_to("one")
    watched = Watched(CertificateFiles(link / "server.pem", link / "server.key"))
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    for _ in range(2):
        await watched.certificates.look()
    assert len({fingerprint for fingerprint, _, _ in watched.told}) == 2


async def test_the_end_is_told_from_14_days_before_and_louder_from_3(authority: Authority, tmp_path: Path) -> None:
    watched = Watched(files(tmp_path, authority.sign(*HOSTS, ends_in_s=20 * DAY_S)))
    end = watched.certificates.expire_time_ns
    told: dict[float, list[str]] = {}
    for days in (15, 13.9, 13.5, 12.8, 3.1, 2.9, 2.8, 1.8, -1):
        watched.now_ns = round(end - days * DAY_NS)
        with capture_logs() as log:
            await watched.certificates.look()
        told[days] = [entry["log_level"] for entry in log]
    levels = {days: found[0] for days, found in told.items() if found}
    assert levels == {13.9: "warning", 12.8: "warning", 3.1: "warning", 2.9: "error", 1.8: "error", -1: "error"}


async def test_it_is_looked_every_second_until_canceled(authority: Authority, tmp_path: Path) -> None:
    watched = Watched(files(tmp_path, authority.sign(*HOSTS)))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            authority.sign(*HOSTS).write(tmp_path)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watched.certificates.run(sleep)
    assert slept == [1.0, 1.0, 1.0]
    assert watched.outcomes == ["ok", "ok"]

"""Every command and its options, in one place; what a command does stands in the module of its name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.connection import DEFAULT_TARGET, fail, with_access
from gateway.cli.roles import ROLES_HELP, Role

app = typer.Typer(
    help="One Alpaca account, many programs: the gateway, its emulator, and a look at both.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

audit_app = typer.Typer(help="The log of who did what, in a data directory.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
token_app = typer.Typer(
    help="Who may do what: made, listed, rotated and revoked; in a running gateway with an operator's token, or with "
    "--data-dir in the directory of one that does not run.",
    no_args_is_help=True,
)
app.add_typer(token_app, name="token")

Target = Annotated[str, typer.Option("--target", envvar="GATEWAY_TARGET", help="HOST:PORT of a running gateway.")]
Reason = Annotated[str, typer.Option(help="For whoever looks later.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Strategy = Annotated[str, typer.Option(help="Only this strategy's.")]
AllStrategies = Annotated[bool, typer.Option("--all-strategies", help="Everybody's; takes the scope orders:read_any.")]
DataDir = Annotated[Path | None, typer.Option(help="Keeps account, positions and orders; none: a temporary folder.")]
StoredDir = Annotated[Path, typer.Option("--data-dir", help="The data directory of a gateway, which may be running.")]
StoppedDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The directory of a gateway that does not run, instead of --target.")
]
StoppedVenue = Annotated[str | None, typer.Option(help="With --data-dir: whose tokens. Default: the directory's own.")]
SecretFile = Annotated[Path | None, typer.Option("--to-file", help="The secret goes there (0600), not to stdout.")]
Ttl = Annotated[str | None, typer.Option(help="How long it lives: 90d, 12h, 30m. Default 90d, at most 366d.")]
TokenId = Annotated[str, typer.Argument(help="As 'token list' shows it: not the secret.")]
Seed = Annotated[int | None, typer.Option(help="Of the synthetic market.")]
Session = Annotated[str | None, typer.Option(help="always: never closes; nyse: the real calendar.")]
Tape = Annotated[Path | None, typer.Option(help="A folder of recorded quotes and trades to replay.")]
TapeSpeed = Annotated[str | None, typer.Option(help="How many times faster than recorded.")]
TapeStart = Annotated[str | None, typer.Option(help="on-subscribe: at the first subscription; now: at once.")]
TapeLoop = Annotated[bool, typer.Option("--tape-loop", help="Begin again at the end.")]
Cash = Annotated[str | None, typer.Option(help="US dollars that a new account starts with.")]
RateLimit = Annotated[int | None, typer.Option(help="REST requests a minute for one key; 0: no limit.")]

Symbols = Annotated[list[str], typer.Argument(help="AAPL, BTC/USD, ...: one asset class.")]
Start = Annotated[str, typer.Option(help="At or after: 2024-01-02, or 2024-01-02T14:30 (UTC). Default: today.")]
End = Annotated[str, typer.Option(help="At or before; a time as --start. Default: now.")]
Newest = Annotated[bool, typer.Option("--newest", help="The last ones of the range, from new to old.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Of past values: so many at most.")]


class Looser(StrEnum):
    """What trading can go on to."""

    active = "active"
    reducing = "reducing"
    halted = "halted"


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; default 127.0.0.1:50051.")] = None,
    venue: Annotated[str | None, typer.Option(help="emulator (default), paper or live.")] = None,
    venue_url: Annotated[str | None, typer.Option(help="An emulator that runs by itself.")] = None,
    data_dir: DataDir = None,
    authentication: Annotated[
        str | None, typer.Option(help="auto (default: tokens, but not for the emulator on loopback), required or off.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate and its chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM, not encrypted.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Who signs clients' certificates; then every client must show one.")
    ] = None,
    seed: Seed = None,
    session: Session = None,
    tape: Tape = None,
    tape_speed: TapeSpeed = None,
    tape_start: TapeStart = None,
    tape_loop: TapeLoop = False,
    cash: Cash = None,
    rate_limit: RateLimit = None,
) -> None:
    """Serve the gateway. With the venue 'emulator' it starts one as a child and ends it with itself."""
    from gateway.cli import serve as command

    settings = {
        "listen": listen,
        "venue": venue,
        "venue_url": venue_url,
        "data_dir": data_dir,
        "authentication": authentication,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
    }
    emulator_options = _given(
        seed=seed,
        session=session,
        tape=tape,
        tape_speed=tape_speed,
        tape_start=tape_start,
        tape_loop=tape_loop or None,
        cash=cash,
        rate_limit=rate_limit,
    )
    raise typer.Exit(command.serve(_given(**settings), emulator_options))


@app.command()
def emulator(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; default 127.0.0.1:8700.")] = None,
    data_dir: DataDir = None,
    seed: Seed = None,
    session: Session = None,
    tape: Tape = None,
    tape_speed: TapeSpeed = None,
    tape_start: TapeStart = None,
    tape_loop: TapeLoop = False,
    cash: Cash = None,
    rate_limit: RateLimit = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the emulator by itself: Alpaca's wire for unmodified alpaca-py, no keys, no network; faults on request.

    It takes any key, or only that in EMULATOR_KEY and EMULATOR_SECRET: a command line is no place for a secret.
    """
    from gateway.cli import emulate

    options = _given(
        listen=listen,
        data_dir=data_dir,
        seed=seed,
        session=session,
        tape=tape,
        tape_speed=tape_speed,
        tape_start=tape_start,
        tape_loop=tape_loop or None,
        cash=cash,
        rate_limit=rate_limit,
    )
    raise typer.Exit(emulate.emulate(options, until_stdin_closes=until_stdin_closes))


@app.command()
@with_access
def doctor(target: Target = DEFAULT_TARGET, data_dir: DataDir = None, json: Json = False) -> None:
    """Look at address, keys, clock, data directory and venue, and say what to do."""
    from gateway.cli import doctor as command

    raise typer.Exit(command.doctor(target, data_dir, json))


@app.command()
@with_access
def health(
    target: Target = DEFAULT_TARGET,
    service: Annotated[str, typer.Option(help="Of this service alone: trading_gateway.v1.TradingService.")] = "",
    json: Json = False,
) -> None:
    """Ask a running gateway for its health; exit code 0 means SERVING."""
    from gateway.cli import show

    show.health(target, service, json)


@app.command()
@with_access
def quotes(
    symbols: Symbols,
    follow: Annotated[bool, typer.Option("--follow", help="A live table until Ctrl-C.")] = False,
    start: Start = "",
    end: End = "",
    newest: Newest = False,
    limit: Limit = 100,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show the newest quotes, once or as they come; with --start or --end, past ones."""
    from gateway.cli import past, watch

    if not (start or end):
        (watch.follow if follow else watch.latest)(target, symbols, json)
    elif follow:
        fail("--follow begins now: it takes neither --start nor --end", code=2)
    else:
        past.quotes(target, symbols, past.Range(start, end, limit, newest), json)


@app.command()
@with_access
def trades(
    symbols: Symbols,
    start: Start = "",
    end: End = "",
    newest: Newest = False,
    limit: Limit = 100,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show past trades."""
    from gateway.cli import past

    past.trades(target, symbols, past.Range(start, end, limit, newest), json)


@app.command()
@with_access
def bars(
    symbols: Symbols,
    timeframe: Annotated[str, typer.Option(help="1m, 15m, 1h, 1d, 1w, 1mo.")] = "1m",
    start: Start = "",
    end: End = "",
    newest: Newest = False,
    limit: Limit = 100,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show past bars."""
    from gateway.cli import past

    past.bars(target, symbols, timeframe, past.Range(start, end, limit, newest), json)


@app.command()
@with_access
def orders(
    strategy: Strategy = "",
    all_strategies: AllStrategies = False,
    symbol: Annotated[list[str] | None, typer.Option(help="Only this symbol; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show the newest orders: your token's strategy's, and everybody's where you show none or are an operator."""
    from gateway.cli import show
    from gateway.cli.whose import Whose

    show.orders(target, Whose.of(strategy, all_strategies=all_strategies), symbol or [], limit, json)


@app.command()
@with_access
def fills(
    strategy: Strategy = "",
    all_strategies: AllStrategies = False,
    symbol: Annotated[list[str] | None, typer.Option(help="Only this symbol; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show the newest executions: your token's strategy's, and everybody's where you show none or are an operator."""
    from gateway.cli import history
    from gateway.cli.whose import Whose

    history.fills(target, Whose.of(strategy, all_strategies=all_strategies), symbol or [], limit, json)


@app.command()
@with_access
def timeline(
    order_id: Annotated[str, typer.Argument(help="The gateway's id of the order.")] = "",
    client_order_id: Annotated[str, typer.Option(help="Or the key that it was submitted under.")] = "",
    strategy: Annotated[str, typer.Option(help="The strategy that the key belongs to.")] = "",
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show everything that happened to an order: decisions, requests, answers, events, and the time between."""
    from gateway.cli import history

    if bool(order_id) == bool(client_order_id):
        fail("name one order: by its ORDER_ID or by --client-order-id", code=2)
    history.timeline(target, order_id, client_order_id, strategy, json)


@app.command()
@with_access
def positions(target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Show what the account holds."""
    from gateway.cli import show

    show.positions(target, json)


@app.command()
@with_access
def account(target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Show cash, equity and buying power."""
    from gateway.cli import show

    show.account(target, json)


@app.command()
@with_access
def state(target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Show whether the account may trade, and the version that resuming needs."""
    from gateway.cli import state as command

    command.show(target, json)


@app.command()
@with_access
def reduce(reason: Reason = "", target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Let only cancels pass, and orders that reduce a position."""
    from gateway.cli import state as command

    command.tighten(target, "reducing", reason, json)


@app.command()
@with_access
def halt(reason: Reason = "", target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Let only cancels pass."""
    from gateway.cli import state as command

    command.tighten(target, "halted", reason, json)


@app.command()
@with_access
def kill(reason: Reason = "", target: Target = DEFAULT_TARGET, json: Json = False) -> None:
    """Stop everything: nothing new is sent, everything open is canceled; exit code 3 while something is left.

    When the gateway does not answer: kill -USR1 to its process, or a file named KILL in its data directory.
    """
    from gateway.cli import state as command

    command.tighten(target, "killed", reason, json)


@app.command()
@with_access
def resume(
    reason: Annotated[str, typer.Option(help="Why it may go on.")],
    to: Annotated[Looser, typer.Option(help="How far.")] = Looser.active,
    expected_version: Annotated[
        int | None, typer.Option(min=0, help="Of the state that you have seen; without it you are shown it and asked.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Go on trading, if the state is still the one that was seen."""
    from gateway.cli import state as command

    command.resume(target, to.value, reason, expected_version, json)


@app.command()
def backup(
    to_file: Annotated[Path, typer.Argument(help="Made by this command; it must not exist.")],
    data_dir: StoredDir,
) -> None:
    """Copy the journal of a data directory, whole, also while a gateway writes it."""
    from gateway.cli import backup as command

    raise typer.Exit(command.backup(data_dir, to_file))


@audit_app.command("list")
def audit_list(
    data_dir: StoredDir,
    newest: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest ones.")] = 50,
    json: Json = False,
) -> None:
    """Show who did what, and what was refused to whom."""
    from gateway.cli import audit as command

    command.show(data_dir, newest, as_json=json)


@audit_app.command("verify")
def audit_verify(
    data_dir: StoredDir,
    head: Annotated[str, typer.Option(help="SEQUENCE:HASH from a line audit_head: what was cut off shows too.")] = "",
    json: Json = False,
) -> None:
    """Compare the audit log with its own chain; exit code 1 when it was changed."""
    from gateway.cli import audit as command

    raise typer.Exit(command.verify(data_dir, head, as_json=json))


@token_app.command("mint")
@with_access
def token_mint(
    role: Annotated[Role | None, typer.Option(help=ROLES_HELP)] = None,
    scopes: Annotated[str, typer.Option(help="More of them, or others: orders:trade,orders:read,...")] = "",
    strategy: Annotated[str, typer.Option(help="Who its holder is; its orders are this strategy's.")] = "",
    symbols: Annotated[str, typer.Option(help="Only these may be traded: AAPL,MSFT. None: all.")] = "",
    max_order_notional: Annotated[str | None, typer.Option(help="US dollars of one order, at most.")] = None,
    networks: Annotated[str, typer.Option(help="Only from these: 10.1.0.0/16,::1/128. None: from anywhere.")] = "",
    certificate: Annotated[
        str, typer.Option(help="A URI in a client certificate that stands for the secret: spiffe://gateway/momentum.")
    ] = "",
    ttl: Ttl = None,
    to_file: SecretFile = None,
    data_dir: StoppedDir = None,
    venue: StoppedVenue = None,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Make a token. The secret stands alone on stdout, once: TOKEN=$(trading-gateway token mint ...)."""
    from gateway.cli import token as command

    wanted = {
        "role": None if role is None else role.value,
        "scopes": _listed(scopes),
        "strategy_id": strategy,
        "symbols": _listed(symbols),
        "max_order_notional": max_order_notional,
        "networks": _listed(networks),
        "certificate": certificate,
        "ttl": ttl,
    }
    with command.desk(target, data_dir, venue, may_begin=True) as desk:
        command.mint(desk, wanted, to_file, json=json)


@token_app.command("list")
@with_access
def token_list(
    strategy: Annotated[str, typer.Option(help="Only this strategy's.")] = "",
    include_ended: Annotated[bool, typer.Option("--all", help="Expired and revoked ones too.")] = False,
    data_dir: StoppedDir = None,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Show who may do what; secrets are kept by nobody."""
    from gateway.cli import token as command

    with command.desk(target, data_dir) as desk:
        command.show(desk, strategy, include_ended=include_ended, json=json)


@token_app.command("rotate")
@with_access
def token_rotate(
    token_id: TokenId,
    overlap: Annotated[str | None, typer.Option(help="How long the old one goes on: 1h (default), 0s to 7d.")] = None,
    ttl: Ttl = None,
    to_file: SecretFile = None,
    data_dir: StoppedDir = None,
    target: Target = DEFAULT_TARGET,
    json: Json = False,
) -> None:
    """Make a successor with the same rights. --to-file may be the file that programs read: they notice themselves."""
    from gateway.cli import token as command

    with command.desk(target, data_dir) as desk:
        command.rotate(desk, token_id, overlap, ttl, to_file, json=json)


@token_app.command("revoke")
@with_access
def token_revoke(
    token_id: TokenId, data_dir: StoppedDir = None, target: Target = DEFAULT_TARGET, json: Json = False
) -> None:
    """End a token, its open streams included, within a second."""
    from gateway.cli import token as command

    with command.desk(target, data_dir) as desk:
        command.revoke(desk, token_id, json=json)


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError, version as installed

    try:
        number = installed("trading-gateway")
    except PackageNotFoundError:
        fail("trading-gateway is not installed: 'make setup' does it")
    typer.echo(f'{{"version": "{number}"}}' if json else f"trading-gateway {number}")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _given(**options: Any) -> dict[str, Any]:
    """Only the options that were given, so that defaults have one owner: the settings."""
    return {name: value for name, value in options.items() if value is not None}

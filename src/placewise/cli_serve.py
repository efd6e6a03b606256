"""The commands of the service: parse, one library call, print. `cli` has the others, and turns errors into exit codes.

Every setting is a flag and a variable ``PLACEWISE_…``; a flag goes before a variable.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

_RANGES: dict[str, Any] = {
    "port": click.IntRange(0, 65535),
    "count": click.IntRange(1),
    "positive": click.FloatRange(0, min_open=True),
    "share": click.FloatRange(0),
}


def _setting(flag: str, kind: Any, default: Any, said: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    name = flag.removeprefix("--").replace("-", "_")
    return click.option(
        flag,
        type=kind,
        default=default,
        show_default=default is not None,
        envvar=f"PLACEWISE_{name.upper()}",
        show_envvar=True,
        help=said,
    )


_SETTINGS = (
    _setting("--gallery", click.Path(path_type=Path), None, "The gallery file.  [required]"),
    _setting("--keys", click.Path(path_type=Path), None, "The file of the keys that callers must show."),
    _setting(
        "--allow-anyone",
        click.Choice(["read", "write"]),
        None,
        "What callers without a key may do. Default: read, if there is no file of keys; else nothing.",
    ),
    _setting("--host", str, "127.0.0.1", "The address to listen on; any but this machine's own needs --keys."),
    _setting("--port", _RANGES["port"], 8750, "The port to listen on; 0 takes a free one."),
    _setting("--max-body-mb", _RANGES["positive"], 20.0, "The largest body of a request, in megabytes."),
    _setting("--max-megapixels", _RANGES["positive"], 100.0, "The largest photo, in millions of pixels."),
    _setting("--max-images", _RANGES["count"], 16, "Photos in one request."),
    _setting("--queue", _RANGES["count"], 64, "Photos worked on or waiting at a time; beyond them the answer is 503."),
    _setting("--batch", _RANGES["count"], 16, "Photos that the network sees together at most."),
    _setting("--batch-wait-ms", _RANGES["share"], 2.0, "How long a photo waits for others to share a batch with."),
    _setting("--timeout-s", _RANGES["positive"], 30.0, "Within what a photo is answered once it has arrived."),
    _setting("--upload-timeout-s", _RANGES["positive"], 30.0, "Within what the body of a request arrives."),
    _setting(
        "--header-timeout-s",
        _RANGES["positive"],
        10.0,
        "Within what the head of a request arrives; so long an idle connection is kept.",
    ),
    _setting("--grace-s", _RANGES["positive"], 20.0, "How long a stop waits for requests that were begun."),
    _setting("--rate-per-s", _RANGES["share"], 50.0, "Requests a second of one key, twice as many at once; 0: any."),
    _setting("--reload-s", _RANGES["positive"], 1.0, "How often to look for changes of the gallery and the keys."),
    _setting("--connections", _RANGES["count"], 512, "Connections at a time."),
)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command()
@_settings
def serve(gallery: Path | None, **values: Any) -> None:
    """Answer over HTTP, with an API under /v1, until it is stopped.

    The address is printed on standard output, the log goes to standard error, one JSON object a line.

    \b
    Example: placewise serve --gallery city.gallery
             curl -F image=@where.jpg http://127.0.0.1:8750/v1/locate

    Without --keys anybody on this machine may read and nobody may write. docs/serving.md has more.
    """
    if gallery is None:
        message = "the service must have a gallery, got none; give --gallery FILE or set PLACEWISE_GALLERY"
        raise OptionError(message)
    try:
        from placewise.service import server
    except ModuleNotFoundError as error:
        message = f"the service needs {error.name}, which is not installed; run: pip install 'placewise[serve]'"
        raise OptionError(message) from error
    from placewise.service.settings import Settings

    server.run(Settings(gallery, **values), on_start=click.echo)


@click.group()
def keys() -> None:
    """Keys for callers of 'placewise serve': made, listed, revoked. A running service follows.

    \b
    Example: placewise keys new --keys keys.jsonl --name phone --scope read > key.txt
    """


_keys_file = click.option(
    "--keys",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    envvar="PLACEWISE_KEYS",
    show_envvar=True,
    help="The file of the keys.",
)


@keys.command()
@_keys_file
@click.option("--name", required=True, help="Who uses it; the log of the service says so.")
@click.option(
    "--scope",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="What it allows; write allows to read, too.",
)
def new(path: Path, name: str, scope: Literal["read", "write"]) -> None:
    """Make a key and print it, once: the file keeps its hash only.

    \b
    Example: placewise keys new --keys keys.jsonl --name phone > key.txt
    """
    from placewise.service.keys import new_key

    click.echo(new_key(path, name=name, scope=scope))


@keys.command("list")
@_keys_file
def list_keys(path: Path) -> None:
    """Name the keys, with what they allow and when they were made.

    \b
    Example: placewise keys list --keys keys.jsonl
    """
    from placewise.columns import table
    from placewise.service.keys import read_keys

    rows = [(key.name, key.scope, key.made) for key in read_keys(path)]
    click.echo(table([("name", "scope", "made"), *rows]))


@keys.command()
@_keys_file
@click.argument("name")
def revoke(path: Path, name: str) -> None:
    """Take a key out of the file: a running service refuses it about a second later.

    \b
    Example: placewise keys revoke phone --keys keys.jsonl
    """
    from placewise.service.keys import revoke_key

    revoke_key(path, name)

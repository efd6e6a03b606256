"""The promise that only 'placewise models pull' uses the network, proved by what the interpreter audits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from placewise.cli import app
from placewise.errors import WeightsMissingError
from placewise.models import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHED = """
import json, os, sys, time, urllib.request

events = []
harmless = {"socket.gethostname"}  # asks the system, not the network
sys.addaudithook(
    lambda name, _: events.append(name) if name.startswith(("socket.", "urllib.")) and name not in harmless else None
)

from placewise import cli
from placewise.models import cards

own = json.loads(os.environ["OWN_SOURCE"])
if own:
    import dataclasses, types
    card = dataclasses.replace(cards.MODELS["cosplace-resnet18-32"], source=own)
    cards.MODELS = types.MappingProxyType({**cards.MODELS, card.name: card})

if sys.argv[1] == "demo":
    from placewise import demo
    render = demo.render_town
    sizes = {"places": 4, "unknown_places": 1, "gallery_views": 2, "query_views": 1, "size": (240, 180)}
    demo.render_town = lambda folder, *, seed, on_progress: render(folder, seed=seed, **sizes)

try:
    cli.main(sys.argv[1:])
finally:
    time.sleep(0.3)  # what a thread sends, telemetry for one, comes late
    with open(os.environ["EVENTS"], "w") as file:
        json.dump(events, file)
"""
"""Runs one command, the demo in a smaller town, and writes what it did on the network."""


def watch(folder: Path, *arguments: object, source: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run one command; what came of it, and its network events."""
    events = folder / "events.json"
    environment = {
        **os.environ,
        "EVENTS": str(events),
        "OWN_SOURCE": json.dumps(source),
        "PLACEWISE_MODELS": str(folder / "models"),
        "NO_PROXY": "*",
    }
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    return done, json.loads(events.read_text(encoding="utf-8"))


OFFLINE = {
    "validate": ("validate", "{manifest}"),
    "split": ("split", "{manifest}", "{manifest}.new.csv"),
    "index": ("index", "{manifest}", "--gallery", "{folder}/new", "--no-cache"),
    "locate": ("locate", "{photo}", "--gallery", "{gallery}"),
    "calibrate": ("calibrate", "--gallery", "{gallery}"),
    "keys new": ("keys", "new", "--keys", "{folder}/keys", "--name", "phone"),
    "keys list": ("keys", "list", "--keys", "{keys}"),
    "keys revoke": ("keys", "revoke", "phone", "--keys", "{keys}"),
    "evaluate": ("evaluate", "{manifest}", "--no-cache", "--report", "{folder}/out.html"),
    "ablate": ("ablate", "{manifest}", "--out", "{folder}/ablation.json"),
    "score": ("score", "{predictions}", "--truth", "{manifest}"),
    "compare": ("compare", "{document}", "{document}"),
    "models": ("models",),
    "models list": ("models", "list", "--json"),
    "gallery info": ("gallery", "info", "{gallery}"),
    "gallery export": ("gallery", "export", "{gallery}", "{folder}/out.npz"),
    "gallery import": ("gallery", "import", "{folder}/copy", "{archive}"),
    "gallery remove": ("gallery", "remove", "{gallery}", "never.png"),
    "gallery merge": ("gallery", "merge", "{gallery}", "{copy}"),
    "gallery ann": ("gallery", "ann", "{gallery}"),
    "demo": ("demo", "--out", "{folder}/demo"),
}
"""A run of each command that must stay offline."""

NEEDS_AN_EXTRA = {"models quantise", "serve"}  # what serves is asked over a socket


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A dataset, a gallery of it and an archive of that."""
    from placewise.town import render_town

    folder = tmp_path_factory.mktemp("offline")
    render_town(folder, places=3, unknown_places=1, gallery_views=2, query_views=1, size=(240, 180))
    names = {"manifest": str(folder / "manifest.csv"), "photo": str(next(folder.rglob("*.jpg")))}
    names |= {"gallery": str(folder / "town.gallery"), "archive": str(folder / "town.npz")}
    names["copy"] = str(folder / "copy.gallery")
    for arguments in (
        ("index", names["manifest"], "--gallery", names["gallery"], "--no-cache"),
        ("gallery", "export", names["gallery"], names["archive"]),
        ("gallery", "import", names["copy"], names["archive"]),
        ("keys", "new", "--keys", str(folder / "keys"), "--name", "phone"),
        ("evaluate", names["manifest"], "--no-cache", "--predictions", str(folder / "p.csv"), "--json"),
    ):
        done = subprocess.run([sys.executable, "-m", "placewise", *arguments], check=True, capture_output=True)
    (folder / "evaluated.json").write_bytes(done.stdout)
    names["keys"] = str(folder / "keys")
    names |= {"predictions": str(folder / "p.csv"), "document": str(folder / "evaluated.json")}
    return names


@pytest.mark.parametrize("name", OFFLINE)
def test_a_command_opens_no_socket(name: str, places: dict[str, str], tmp_path: Path) -> None:
    """The command does its work, and neither it nor anything it imports touches the network."""
    arguments = [part.format(**places, folder=tmp_path) for part in OFFLINE[name]]

    done, events = watch(tmp_path, *arguments)

    assert done.returncode == 0, done.stderr
    assert events == []


def test_no_command_is_forgotten() -> None:
    """Each command but the pull is run above, or needs more than every installation has."""

    def leaves(group: click.Group, prefix: str = "") -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from leaves(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}"

    assert set(leaves(app)) == (OFFLINE.keys() - {"models"}) | NEEDS_AN_EXTRA | {"models pull"}


@pytest.mark.parametrize("name", ["resnet50", "cosplace-resnet50-512", "clip-vit-b32"])
def test_absent_weights_are_not_fetched(
    name: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose weights are missing is refused with the command that would bring them; nothing goes out."""
    done, events = watch(tmp_path, "index", places["manifest"], "--gallery", tmp_path / "g", "--model", name)

    assert done.returncode == 2
    assert f"type 'placewise models pull {name}'" in done.stderr
    assert events == []
    monkeypatch.setenv("PLACEWISE_MODELS", str(tmp_path / "models"))
    with pytest.raises(WeightsMissingError):
        load_model(name)


HEADER = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)
"""One number in the format of safetensors."""


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with the same bytes."""

    def do_GET(self) -> None:
        """Some weights."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        self.wfile.write(WEIGHTS)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def address() -> Iterator[str]:
    """Where a server on this machine has weights."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/weights"
        server.shutdown()
        thread.join()


def test_a_pull_is_seen(address: str, tmp_path: Path) -> None:
    """The watch above sees a pull, which says size and licence first and which check was made last."""
    done, events = watch(tmp_path, "models", "pull", "cosplace-resnet18-32", source=address)

    assert done.returncode == 0, done.stderr
    assert {"urllib.Request", "socket.connect"} <= set(events)
    path = tmp_path / "models" / "ResNet18_32_cosplace.pth"
    assert path.read_bytes() == WEIGHTS
    assert done.stdout == f"cosplace-resnet18-32: {path}\nSHA-256: recorded at first pull\n"
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{address}: ?, licence: code MIT; weights trained on Google Street View")
    assert second == "the server has 0.0 MB"


def test_a_pull_of_what_is_here_checks_it_offline(address: str, tmp_path: Path) -> None:
    """The second pull reads the file, compares it with the record, and sends nothing; damage is one line."""
    watch(tmp_path, "models", "pull", "cosplace-resnet18-32", source=address)
    path = tmp_path / "models" / "ResNet18_32_cosplace.pth"

    again, events = watch(tmp_path, "models", "pull", "cosplace-resnet18-32", source=address)
    path.write_bytes(b"damaged")
    damaged, _ = watch(tmp_path, "models", "pull", "cosplace-resnet18-32", source=address)

    assert (again.returncode, events) == (0, [])
    assert damaged.returncode == 2
    (line,) = damaged.stderr.splitlines()
    assert line.startswith(f"error: {path.name} must have the SHA-256 that was recorded at the first pull, ")
    assert path.read_bytes() == b"damaged"

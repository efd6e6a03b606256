"""The service as a process: it starts or says why not, follows its gallery, and stops without losing anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner

from placewise import cli_serve
from placewise.errors import OptionError
from placewise.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "placewise", "serve", "--port", "0", "--allow-anyone", "write"]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, photos_root: Path) -> Path:
    """A gallery of real photos, made by the default model."""
    path = tmp_path_factory.mktemp("gallery") / "real.gallery"
    source = tmp_path_factory.mktemp("photos")
    for folder in sorted(file for file in (photos_root / "landmarks").iterdir() if file.is_dir())[:3]:
        for photo in sorted(folder.glob("*.jpg"))[:4]:
            (source / folder.name).mkdir(exist_ok=True)
            shutil.copy(photo, source / folder.name / photo.name)
    with Gallery.open_for(path) as gallery:
        gallery.add(source)
        assert len(gallery) > 6
    return path


@pytest.fixture
def process(tmp_path: Path, indexed: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service on a copy of the gallery, and its address."""
    shutil.copy(indexed, tmp_path / "city.gallery")
    with (tmp_path / "log.jsonl").open("w", encoding="utf-8") as log:
        started = subprocess.Popen(
            [*COMMAND, "--gallery", str(tmp_path / "city.gallery")], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert started.stdout is not None
        yield started, started.stdout.readline().strip()
    finally:
        started.kill()
        started.wait()
        if started.stdout:
            started.stdout.close()


@pytest.fixture(scope="module")
def photo(photos_root: Path) -> bytes:
    """A real photo."""
    return next((photos_root / "landmarks").rglob("*.jpg")).read_bytes()


def test_a_stop_under_load_loses_no_accepted_request(
    process: tuple[subprocess.Popen[str], str], photo: bytes, tmp_path: Path
) -> None:
    """With SIGTERM in the midst of 16 requests each of them is answered, and the process ends with 0, one file left."""
    started, url = process
    waiting = threading.Barrier(17)

    def ask() -> int:
        # The head arrives before the signal and the last byte after it: such a request has been accepted.
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = f"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n"
            connection.sendall(head.encode() + photo[:-1])
            time.sleep(0.3)
            waiting.wait()
            waiting.wait()
            connection.sendall(photo[-1:])
            answer = connection.recv(65536)
        return int(answer.split()[1]) if answer else 0

    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(ask) for _ in range(16)]
        waiting.wait()
        assert httpx.post(f"{url}/v1/photos", files={"image": photo}, timeout=60).status_code == 201
        started.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        waiting.wait()
        statuses = [future.result() for future in asked]

    assert statuses == [200] * 16
    assert started.wait(30) == 0
    assert [file.name for file in tmp_path.glob("city.gallery*")] == ["city.gallery"]
    assert (tmp_path / "city.gallery").read_bytes()[18] == 1  # outside WAL: it opens in a read-only folder, too
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]  # every line is JSON
    assert sum(event["event"] == "request" and event["status"] == 200 for event in events) == 16


def test_a_kill_during_uploads_loses_no_photo_that_was_confirmed(
    process: tuple[subprocess.Popen[str], str], photo: bytes, tmp_path: Path
) -> None:
    """After SIGKILL in the midst of uploads the gallery opens, is whole, and has each photo that was answered 201."""
    started, url = process
    confirmed: list[str] = []

    def add(number: int) -> None:
        while True:
            name = f"added/{number}-{len(confirmed)}.jpg"
            try:
                response = httpx.post(f"{url}/v1/photos", files={"image": photo}, data={"name": name}, timeout=30)
            except httpx.HTTPError:
                return
            if response.status_code == 201:
                confirmed.append(name)

    with ThreadPoolExecutor(4) as threads:
        for number in range(4):
            threads.submit(add, number)
        deadline = time.monotonic() + 30
        while len(confirmed) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        started.kill()

    with Gallery.open(tmp_path / "city.gallery") as gallery:
        assert gallery.faults() == []
        assert len(confirmed) >= 10
        assert set(gallery.matching(globs=["added/*"])) >= set(confirmed)


def test_another_process_indexes_into_a_gallery_that_is_served(
    process: tuple[subprocess.Popen[str], str], photo: bytes, tmp_path: Path
) -> None:
    """While 'placewise index' and 'remove' run no request fails, and soon the new photo is the best hit."""
    _, url = process
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "new.jpg").write_bytes(photo)
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            statuses.append(httpx.post(f"{url}/v1/locate", content=photo, timeout=30).status_code)

    with ThreadPoolExecutor(2) as threads:
        threads.submit(ask)
        index = [sys.executable, "-m", "placewise", "index", str(tmp_path / "more"), "--gallery"]
        subprocess.run([*index, str(tmp_path / "city.gallery"), "--no-cache"], check=True, capture_output=True)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            hits = httpx.post(f"{url}/v1/locate", content=photo, timeout=30).json()["answers"][0]["hits"]
            if "new.jpg" in [hit["path"] for hit in hits[:2]]:
                break
        done.set()

    assert "new.jpg" in [hit["path"] for hit in hits[:2]]
    assert set(statuses) == {200}


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "hollow"])
def test_a_gallery_that_cannot_be_served_is_one_line(damage: str, tmp_path: Path, path: Path) -> None:
    """A missing, foreign, truncated or damaged gallery ends the start with exit code 2 and one line."""
    file = tmp_path / "bad.gallery"
    data = bytearray(path.read_bytes())
    if damage == "text":
        file.write_text("no gallery", encoding="utf-8")
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "hollow":
        data[4096:] = bytes(len(data) - 4096)
        file.write_bytes(data)
    done = subprocess.run([*COMMAND, "--gallery", str(file)], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_address_in_use_is_one_line(indexed: Path) -> None:
    """A port that is taken, and an address of another machine, end the start with exit code 2 and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "placewise", "serve", "--gallery", str(indexed), "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == (
        f"error: the address must be free, got 127.0.0.1:{port}: Address already in use; give another --port\n"
    )


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Where FastAPI or uvicorn is missing, 'serve' prints the line that installs them."""
    for module in [name for name in sys.modules if name.startswith("placewise.service")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(cli_serve.serve, ["--gallery", str(path)])

    assert isinstance(done.exception, OptionError)
    assert "pip install 'placewise[serve]'" in str(done.exception)


def test_the_command_line_does_not_load_the_service(tmp_path: Path) -> None:
    """Neither 'placewise --help' nor a refused 'serve' imports FastAPI, uvicorn or pydantic."""
    script = (
        "import sys; from placewise import cli; import placewise.service.keys; "
        "print([name for name in ('fastapi', 'uvicorn', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout == "[]\n"


def test_settings_come_from_flags_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable sets what no flag does; the flag goes before; a bad value names its flag and variable."""
    from placewise.service import server

    seen = []
    monkeypatch.setattr(server, "run", lambda settings, **_: seen.append(settings))
    variables = {"PLACEWISE_GALLERY": str(tmp_path / "g"), "PLACEWISE_QUEUE": "33", "PLACEWISE_PORT": "1"}
    run = CliRunner().invoke(cli_serve.serve, ["--port", "2"], env=variables)
    bad = CliRunner().invoke(cli_serve.serve, [], env={**variables, "PLACEWISE_QUEUE": "many"})
    none = CliRunner().invoke(cli_serve.serve, [], env={key: "" for key in os.environ if key.startswith("PLACEWISE_")})

    assert run.exit_code == 0, run.output
    assert (str(seen[0].gallery), seen[0].queue, seen[0].port) == (str(tmp_path / "g"), 33, 2)
    assert "--queue" in bad.output
    assert "PLACEWISE_QUEUE" in bad.output
    assert "PLACEWISE_GALLERY" in str(none.exception)

"""Load and attack: what is too much, too slow or of the wrong kind is refused, and the others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import resource
import socket
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from placewise.service import logs
from placewise.service.batching import Batcher
from placewise.service.limits import Rates, Share
from placewise.service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from tests.conftest import TinyModel


def kind_of(response: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    return response.status_code, response.json()["kind"]


def png(size: tuple[int, int]) -> bytes:
    """A PNG that says it has so many pixels, in few bytes."""
    file = io.BytesIO()
    PillowImage.new("1", (8, 8)).save(file, "PNG")
    data = file.getvalue()
    header = data[12:16] + struct.pack(">II", *size) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def connect(url: str) -> socket.socket:
    """A bare connection."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_body_that_is_too_large_is_refused_whatever_it_announces(served: Callable[..., str]) -> None:
    """With its length, without it, and with photos of a form that are too large together: 413."""
    url = served(max_body_mb=0.1)

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(10_000)

    assert kind_of(httpx.post(f"{url}/v1/locate", content=bytes(200_000))) == (413, "too_large")
    assert kind_of(httpx.post(f"{url}/v1/locate", content=chunks())) == (413, "too_large")
    files = [("image", (f"{n}.png", bytes(30_000))) for n in range(5)]
    assert kind_of(httpx.post(f"{url}/v1/locate", files=files)) == (413, "too_large")
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_client_that_waits_for_leave_is_not_given_it_in_vain(served: Callable[..., str]) -> None:
    """With Expect: 100-continue a body that would be too large is refused before it is sent."""
    url = served(max_body_mb=0.1)
    with connect(url) as connection:
        head = b"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n"
        connection.sendall(head)
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_client_that_goes_away_is_no_fault(served: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends in the midst of a body leaves one line in the log and no traceback."""
    url = served()
    with caplog.at_level(logging.INFO, logger="placewise.service"):
        with connect(url) as connection:
            connection.sendall(b"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nxx")
            time.sleep(0.2)
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.02)

    assert [(record.name, record.exc_info) for record in caplog.records] == [("placewise.service.access", None)]
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_an_endless_body_is_cut_off(served: Callable[..., str]) -> None:
    """Who goes on sending after the refusal is cut off: no more than a bounded part is read."""
    url = served(max_body_mb=0.1)
    sent = 0
    with connect(url) as connection:
        connection.sendall(b"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        with contextlib.suppress(OSError):
            while sent < 100e6:
                connection.sendall(chunk)
                sent += len(chunk)

    assert sent < 20e6


def test_thousands_of_fields_and_files_are_refused(served: Callable[..., str]) -> None:
    """Too many fields, too many photos, a field of the size of a photo, and a form without an end are refused."""
    url = served(max_images=4)
    post = f"{url}/v1/photos"
    url_write = served(allow_anyone="write")

    many = {f"f{n}": "x" for n in range(5000)}
    assert kind_of(httpx.post(f"{url}/v1/locate", data=many, files={"image": b"x"})) == (400, "form")
    files = [("image", (f"{n}.png", b"x")) for n in range(5000)]
    assert kind_of(httpx.post(f"{url}/v1/locate", files=files)) == (413, "too_many")
    large = httpx.post(f"{url_write}/v1/photos", data={"place": "x" * 100_000}, files={"image": b"x"})
    assert kind_of(large) == (400, "form")
    assert httpx.post(post).status_code == 403
    for body, head in (
        (b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nxx", "multipart/form-data; boundary=b"),
        (b"nothing of the kind", "multipart/form-data; boundary=b"),
        (b"--b--", "multipart/form-data"),
        (b"--b\r\n" + b"X-Header: y\r\n" * 5000, "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nxx\r\n--b--", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nxx\r\n--b--", "multipart/form-data; boundary=b; charset=martian"),
    ):
        response = httpx.post(f"{url}/v1/locate", content=body, headers={"content-type": head})
        assert response.status_code in {400, 415, 422}, body[:60]
        assert response.headers["content-type"] == "application/problem+json"


def test_a_bomb_costs_nothing(served: Callable[..., str]) -> None:
    """A photo of many pixels in few bytes is refused by its header; memory does not grow by its pixels."""
    url = served(max_megapixels=1)
    bomb = png((30_000, 30_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = httpx.post(f"{url}/v1/locate", content=bomb)

    assert kind_of(response) == (422, "image_too_large")
    assert kind_of(httpx.post(f"{url}/v1/locate", content=png((1100, 1000)))) == (422, "image_too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; it has 900 million pixels


def test_a_compressed_body_is_not_unpacked(served: Callable[..., str]) -> None:
    """A body with a content encoding is taken as it is: it is no image, and nothing is unpacked."""
    url = served()
    headers = {"Content-Encoding": "deflate"}
    response = httpx.post(f"{url}/v1/locate", content=zlib.compress(bytes(10_000_000)), headers=headers)

    assert kind_of(response) == (415, "not_an_image")


def test_slow_senders_are_dropped_and_others_are_answered(served: Callable[..., str], tiny_dataset: Path) -> None:
    """A head that never ends, a body that never comes and an idle connection end; meanwhile photos are answered."""
    url = served(header_timeout_s=0.5, upload_timeout_s=0.5)
    photo = (tiny_dataset.parent / "p0" / "3.png").read_bytes()
    head = b"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\n"
    slow = {
        "head": head,
        "silent": b"",
        "body": head + b"Content-Length: 1000\r\n\r\nxx",
        "idle": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "second head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
    }
    connections = {name: connect(url) for name in slow for _ in range(1)}
    for name, connection in connections.items():
        connection.sendall(slow[name])

    assert httpx.post(f"{url}/v1/locate", content=photo).status_code == 200
    came = {name: read_all(connection) for name, connection in connections.items()}  # each ends, or times out
    for connection in connections.values():
        connection.close()
    assert came["head"] == came["silent"] == b""
    assert came["body"].startswith(b"HTTP/1.1 408 ")
    assert came["idle"].startswith(b"HTTP/1.1 200 ")
    assert came["second head"].count(b"HTTP/1.1") == 1


def test_drops_of_a_head_buy_no_time(served: Callable[..., str]) -> None:
    """A byte now and then does not prolong the time that a head may take."""
    url = served(header_timeout_s=0.5)
    with connect(url) as connection:
        connection.settimeout(0.1)
        ended = False
        for _ in range(100):
            try:
                connection.sendall(b"G")
                ended = connection.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break

    assert ended


def test_who_does_not_take_the_answers_is_cut_off(served: Callable[..., str]) -> None:
    """A client that asks a thousand times and reads nothing is dropped once the buffers are full, and fills no more."""
    url = served(timeout_s=0.3)
    asked = 1000
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        host, port = url.removeprefix("http://").split(":")
        connection.connect((host, int(port)))
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        deadline, taken = time.monotonic() + 20, 1.0
        while taken and time.monotonic() < deadline:  # the service says itself how many connections wait
            time.sleep(0.2)
            metrics = httpx.get(f"{url}/metrics").text
            taken = float(metrics.partition("\nplacewise_connections ")[2].partition("\n")[0]) - 1
        answers = read_all(connection).count(b"HTTP/1.1 200")

    assert taken == 0
    assert 0 < answers < asked


def test_connections_are_bounded(served: Callable[..., str]) -> None:
    """Beyond the number of connections new ones are closed, and when others end they are taken again."""
    url = served(connections=5)
    held = [connect(url) for _ in range(5)]
    for connection in held:
        connection.sendall(b"G")
    time.sleep(0.2)
    with connect(url) as refused:
        assert read_all(refused) == b""
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_garbage_is_no_request(served: Callable[..., str]) -> None:
    """Bytes that are no HTTP, and heads without end, get a refusal or nothing, and the service goes on."""
    url = served()
    for garbage in (
        b"\x16\x03\x01" + bytes(100),
        b"GET /\0 HTTP/1.1",
        b"GET " + b"a" * 200_000 + b" HTTP/1.1\r\n",
    ):
        with connect(url) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(garbage + b"\r\n\r\n")
            answer = read_all(connection)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{url}/healthz").status_code == 200


class SlowModel:
    """A tiny model whose network waits to be let go."""

    def __init__(self, tiny: TinyModel) -> None:
        self.tiny, self.card, self.variant = tiny, tiny.card, tiny.variant
        self.read, self.prepare, self.embed = tiny.read, tiny.prepare, tiny.embed
        self.go, self.batches = threading.Event(), list[int]()

    def infer(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Inputs → embeddings, when it may."""
        self.go.wait(10)
        self.batches.append(len(inputs))
        return self.tiny.infer(inputs)


def ask_together(url: str, photo: bytes, count: int, then: Callable[[], None]) -> list[httpx.Response]:
    """Several requests at a time; ``then`` is called when they have been sent."""

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=count)) as client:
            calls = [asyncio.create_task(client.post(f"{url}/v1/locate", content=photo)) for _ in range(count)]
            await asyncio.sleep(0.5)
            then()
            return list(await asyncio.gather(*calls))

    return asyncio.run(run())


@pytest.fixture
def slow(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> SlowModel:
    """A model that the service will use, and that waits."""
    from placewise.service import desk

    model, made = SlowModel(tiny_model), desk.Desk.__init__

    def init(self: desk.Desk, file: object, _: object, *, max_pixels: int) -> None:
        made(self, file, model, max_pixels=max_pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.Desk, "__init__", init)
    return model


def test_beyond_the_queue_is_503_and_everything_in_it_is_answered(
    served: Callable[..., str], slow: SlowModel, tiny_dataset: Path
) -> None:
    """Of 12 requests at a time with room for 5, 5 are answered and 7 are told to come again."""
    url = served(queue=5, max_images=1)
    photo = (tiny_dataset.parent / "p0" / "3.png").read_bytes()
    responses = ask_together(url, photo, 12, slow.go.set)

    assert sorted(response.status_code for response in responses) == [200] * 5 + [503] * 7
    refused = next(response for response in responses if response.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert kind_of(refused) == (503, "busy")
    assert httpx.post(f"{url}/v1/locate", content=photo).status_code == 200


def test_what_comes_together_shares_a_batch(served: Callable[..., str], slow: SlowModel, tiny_dataset: Path) -> None:
    """While the network works on the first photo, the others gather and are seen together, up to the batch's size."""
    url = served(batch=4, batch_wait_ms=0)
    photo = (tiny_dataset.parent / "p0" / "3.png").read_bytes()
    responses = ask_together(url, photo, 9, slow.go.set)

    assert {response.status_code for response in responses} == {200}
    assert max(slow.batches) == 4
    assert sum(slow.batches) == 9
    assert len({json.dumps(response.json()["answers"][0]["hits"]) for response in responses}) == 1


def test_an_answer_that_takes_too_long_is_given_up(
    served: Callable[..., str], slow: SlowModel, tiny_dataset: Path
) -> None:
    """A photo that is not answered in time gets 503, its room is free again, and the next one is answered."""
    url = served(timeout_s=0.3, queue=1, max_images=1)
    photo = (tiny_dataset.parent / "p0" / "3.png").read_bytes()
    late = httpx.post(f"{url}/v1/locate", content=photo)
    slow.go.set()

    assert kind_of(late) == (503, "timeout")
    deadline = time.monotonic() + 10
    while (again := httpx.post(f"{url}/v1/locate", content=photo)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert again.status_code == 200


def test_a_fault_of_the_service_is_a_problem_and_its_cause_stays_inside(
    served: Callable[..., str], slow: SlowModel, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error becomes 500 with an id and no word of its cause, and the next request is answered."""
    url = served()
    photo = (tiny_dataset.parent / "p0" / "3.png").read_bytes()
    slow.go.set()
    with monkeypatch.context() as patch:
        patch.setattr(slow.tiny, "infer", lambda _: 1 / 0)
        broken = httpx.post(f"{url}/v1/locate", content=photo)

    assert kind_of(broken) == (500, "error")
    assert "division" not in broken.text
    assert broken.headers["x-request-id"] in broken.text
    assert httpx.post(f"{url}/v1/locate", content=photo).status_code == 200


def test_the_log_has_a_line_for_each_request_and_no_secret(
    served: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of JSON has id, route, status and the key's name; neither key, query, body nor path."""
    from placewise.service.keys import new_key

    key = new_key(tmp_path / "keys", name="phone", scope="read")
    url = served(keys=tmp_path / "keys")
    with caplog.at_level(logging.INFO, logger="placewise.service"):
        httpx.get(f"{url}/v1/photos?place=hush", headers={"Authorization": f"Bearer {key}", "X-Request-ID": "r1"})
        httpx.post(f"{url}/v1/locate", content=b"hush hush", headers={"Authorization": f"Bearer {key}"})
        httpx.get(f"{url}/hush")
        deadline = time.monotonic() + 10
        while len(caplog.records) < 3 and time.monotonic() < deadline:  # a line is written after its answer
            time.sleep(0.02)
    lines = [logs.JsonLines().format(record) for record in caplog.records if record.name == logs.access.name]
    first = json.loads(lines[0])

    assert len(lines) == 3
    assert (first["request_id"], first["key"], first["route"], first["status"]) == ("r1", "phone", "/v1/photos", 200)
    assert not any(secret in line for line in lines for secret in (key, "hush"))


def test_a_log_line_stays_one_line() -> None:
    """Whatever a field holds, the record is one line of JSON."""
    record = logging.makeLogRecord({"msg": "a\nb", "fields": {"x": 'quote " \n\r\u2028'}, "levelname": "INFO"})
    line = logs.JsonLines().format(record)

    assert len(line.splitlines()) == 1
    assert json.loads(line)["x"] == 'quote " \n\r\u2028'


@given(st.lists(st.floats(0, 5), max_size=60), st.sampled_from([0.5, 1.0, 3.0]))
def test_a_rate_holds_over_every_stretch_of_time(gaps: list[float], per_s: float) -> None:
    """However requests come, in any stretch no more than rate times its length, and twice the rate, go through."""
    now = 0.0
    rates = Rates(per_s, clock=lambda: now)
    through = []
    for gap in gaps:
        now += gap
        with contextlib.suppress(Problem):
            rates.count("someone")
            through.append(now)

    most = max(1.0, 2 * per_s)
    for first, since in enumerate(through):
        for last, until in enumerate(through[first:], first):
            assert last - first + 1 <= most + per_s * (until - since) + 1e-6


def test_a_share_is_taken_at_once_or_not_at_all() -> None:
    """More than is left is refused, and what was held is given back even when the work fails."""
    share = Share(3, detail="full")
    with contextlib.suppress(ZeroDivisionError), share.holding(2):
        with pytest.raises(Problem, match="full"):
            share.take(2)
        raise ZeroDivisionError

    assert share.taken == 0


def test_a_batch_gives_each_its_own() -> None:
    """Results go to those who asked, errors too; who has gone is left out; a broken batch stops no other."""
    seen: list[list[int]] = []

    def work(asked: Sequence[int]) -> Sequence[int | Exception]:
        seen.append(list(asked))
        if 13 in asked:
            raise ZeroDivisionError
        return [ValueError(number) if number == 7 else number * 2 for number in asked]

    async def run() -> tuple[list[int | BaseException], list[int | BaseException]]:
        batcher = Batcher(work, most=8, wait_s=0.01)
        runner = asyncio.create_task(batcher.run())
        calls = [asyncio.create_task(batcher.ask(number)) for number in (1, 7, 3, 4)]
        await asyncio.sleep(0)
        calls[2].cancel()
        first = await asyncio.gather(*calls, return_exceptions=True)
        second = await asyncio.gather(batcher.ask(13), return_exceptions=True)
        third = await asyncio.gather(batcher.ask(5), return_exceptions=True)
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        return first, [*second, *third]

    first, later = asyncio.run(run())

    assert [str(result) if isinstance(result, BaseException) else result for result in first] == [2, "7", "", 8]
    assert isinstance(later[0], ZeroDivisionError)
    assert later[1] == 10
    assert seen == [[1, 7, 4], [13], [5]]

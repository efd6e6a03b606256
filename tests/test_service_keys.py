"""Keys: what they open, how they are kept, and that nothing is readable without one."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner

from placewise.cli import app as command_line
from placewise.errors import OptionError
from placewise.service.app import create_app
from placewise.service.desk import Desk
from placewise.service.keys import KeyRing, new_key, read_keys, revoke_key
from placewise.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import TinyModel

CLIENT = httpx.Client()
OPEN = {"/healthz", "/readyz"}
"""What anybody may know: that the service lives."""


def bearer(key: str) -> dict[str, str]:
    """The head of a request that shows a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module", autouse=True)
def _close_client() -> Iterator[None]:
    yield
    CLIENT.close()


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str, str]:
    """A file of keys, one that may read and one that may write."""
    path = tmp_path / "keys.jsonl"
    return path, new_key(path, name="reader", scope="read"), new_key(path, name="writer", scope="write")


def described(url: str, key: str) -> list[tuple[str, str, bool]]:
    """Method, path and whether it writes, of every operation that the service itself describes."""
    document = CLIENT.get(f"{url}/v1/openapi.json", headers=bearer(key)).json()
    return [
        (
            method,
            path.replace("{number}", "1"),
            method == "delete" or path == "/v1/calibrate" or (method, path) == ("post", "/v1/photos"),
        )
        for path, operations in document["paths"].items()
        for method in operations
    ]


def test_nothing_is_readable_without_a_key(served: Callable[..., str], keys: tuple[Path, str, str]) -> None:
    """Each operation of the description, and the description, gives 401 without a key or with a wrong one."""
    path, read, _ = keys
    url = served(keys=path)
    operations = [*described(url, read), ("get", "/v1/openapi.json", False)]

    assert len(operations) > 10
    for method, where, _writes in operations:
        for headers in (
            {},
            bearer("pw_wrong"),
            {"Authorization": "Bearer"},
            {"Authorization": "Basic eDp5"},
            bearer(read + "x"),
        ):
            response = CLIENT.request(method, url + where, headers=headers)

            assert response.status_code == (200 if where in OPEN else 401), (method, where)
            assert where in OPEN or response.headers["www-authenticate"] == "Bearer"
            assert where in OPEN or response.json()["kind"] == "key"


def test_only_a_key_that_may_write_changes_anything(served: Callable[..., str], keys: tuple[Path, str, str]) -> None:
    """Each operation that writes gives 403 to a key that may only read; that of a writer gets through to the rest."""
    path, read, write = keys
    url = served(keys=path)
    operations = described(url, read)

    assert sum(writes for *_, writes in operations) == 3
    for method, where, writes in operations:
        status = CLIENT.request(method, url + where, headers=bearer(read)).status_code
        assert (status == 403) == writes, (method, where)
        if writes:
            assert CLIENT.request(method, url + where, headers=bearer(write)).status_code not in {401, 403}
    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(write)).json()["may"] == {"read": True, "write": True}


def test_the_page_needs_no_key_and_holds_nothing_of_the_gallery(
    served: Callable[..., str], keys: tuple[Path, str, str]
) -> None:
    """The page comes without a key, so that one can be typed in, and names neither photos nor places."""
    response = CLIENT.get(served(keys=keys[0]))

    assert response.status_code == 200
    assert "served.gallery" not in response.text
    assert "place 1" not in response.text


def test_without_keys_nobody_writes(served: Callable[..., str]) -> None:
    """Where no keys are asked for, reading is allowed and changing is not, unless told."""
    url = served()
    assert CLIENT.delete(f"{url}/v1/photos/1").status_code == 403
    assert CLIENT.get(f"{url}/v1/photos/1").status_code == 200


def test_pages_of_other_sites_get_nothing_without_a_key(served: Callable[..., str]) -> None:
    """A request by another host's name (DNS rebinding), or from another site's page, is refused; our own is not."""
    url = served(allow_anyone="write")
    port = url.rpartition(":")[2]
    for headers, kind in (
        ({"Host": f"evil.example:{port}"}, "other_host"),
        ({"Host": "evil.example"}, "other_host"),
        ({"Sec-Fetch-Site": "cross-site"}, "other_site"),
        ({"Sec-Fetch-Site": "same-site"}, "other_site"),
        ({"Origin": "https://evil.example"}, "other_site"),
        ({"Origin": f"https://evil.example:{port}"}, "other_site"),
        ({"Origin": "null"}, "other_site"),
    ):
        for method, path in (("GET", "/v1/gallery"), ("POST", "/v1/calibrate")):
            response = CLIENT.request(method, url + path, headers=headers)

            assert (response.status_code, response.json()["kind"]) == (403, kind)
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost"):
        for said in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": f"http://{host}"}, {}):
            assert CLIENT.get(f"{url}/v1/gallery", headers={"Host": host, **said}).status_code == 200


def test_a_key_is_kept_as_a_hash_that_only_its_owner_reads(keys: tuple[Path, str, str]) -> None:
    """The file holds no key, is readable by its owner only, and finds each key and no other."""
    path, read, write = keys
    ring = KeyRing(path)

    assert read not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = [ring.find(key) for key in (read, write)]
    assert [key and (key.name, key.scope) for key in found] == [("reader", "read"), ("writer", "write")]
    assert ring.find(read[:-1]) is ring.find("") is ring.find(read + " ") is None
    assert len({read, write}) == 2
    assert len(read) > 43


def test_a_revoked_key_is_refused_by_the_running_service(
    served: Callable[..., str], keys: tuple[Path, str, str]
) -> None:
    """Soon after a key is revoked it opens nothing, and a new one does; with a damaged file none does."""
    path, read, _ = keys
    url = served(keys=path)
    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(read)).status_code == 200
    revoke_key(path, "reader")
    new = new_key(path, name="second", scope="read")
    deadline = time.monotonic() + 10
    while CLIENT.get(f"{url}/v1/gallery", headers=bearer(new)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.02)

    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(read)).status_code == 401
    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(new)).status_code == 200
    kept = path.read_text(encoding="utf-8")
    path.write_text("damaged", encoding="utf-8")
    assert status_by(url, new, 401) == 401
    assert CLIENT.get(f"{url}/readyz").status_code == 200  # the gallery can be read
    away = path.with_name("away")
    path.rename(away)
    assert status_by(url, new, 401) == 401
    path.write_text(kept, encoding="utf-8")
    assert status_by(url, new, 200) == 200
    path.rename(away)
    assert status_by(url, new, 401) == 401
    away.rename(path)  # the very same file
    assert status_by(url, new, 200) == 200
    path.unlink()
    newest = new_key(path, name="third", scope="read")
    assert status_by(url, newest, 200) == 200


def status_by(url: str, key: str, wanted: int) -> int:
    """The status that a key gets, as soon as it is the wanted one."""
    deadline = time.monotonic() + 10
    while (status := CLIENT.get(f"{url}/v1/gallery", headers=bearer(key)).status_code) != wanted:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return status


def test_keys_are_followed_while_the_gallery_is_away(
    served: Callable[..., str], keys: tuple[Path, str, str], tmp_path: Path
) -> None:
    """A key that is revoked opens nothing, whatever else is wrong at the moment."""
    path, read, _ = keys
    url, gallery = served(keys=path), tmp_path / "served.gallery"
    gallery.rename(tmp_path / "away")
    deadline = time.monotonic() + 10
    while CLIENT.get(f"{url}/readyz").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    revoke_key(path, "reader")

    assert status_by(url, read, 401) == 401
    assert CLIENT.get(f"{url}/readyz").status_code == 503
    (tmp_path / "away").rename(gallery)


def test_who_tries_keys_waits(served: Callable[..., str], keys: tuple[Path, str, str]) -> None:
    """Wrong keys are counted by the address that they come from; a right one from there is not."""
    path, read, _ = keys
    url = served(keys=path, rate_per_s=0.5)
    tried = [CLIENT.get(f"{url}/v1/gallery", headers=bearer("pw_wrong")).status_code for _ in range(3)]

    assert tried == [401, 429, 429]
    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(read)).status_code == 200


def test_those_without_a_key_wait_too_beyond_this_machine(served: Callable[..., str]) -> None:
    """Where others can ask without a key, each address has its share."""
    url = served(host="0.0.0.0", allow_anyone="read", rate_per_s=0.5).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    first, second = (CLIENT.get(f"{url}/v1/gallery") for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)


def test_a_key_that_asks_too_often_waits(served: Callable[..., str], keys: tuple[Path, str, str]) -> None:
    """Beyond its share a key gets 429 with the time to wait, and another key does not."""
    path, read, write = keys
    url = served(keys=path, rate_per_s=0.5)
    first, second = (CLIENT.get(f"{url}/v1/gallery", headers=bearer(read)) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 3
    assert second.json()["kind"] == "rate"
    assert CLIENT.get(f"{url}/v1/gallery", headers=bearer(write)).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104  # what is refused
def test_it_does_not_leave_the_machine_without_keys(host: str, tmp_path: Path) -> None:
    """An address that others can reach needs keys or the word that anyone may ask."""
    with pytest.raises(OptionError, match=r"the address must be of this machine only where no key is asked for"):
        Settings(tmp_path / "g", host=host)
    Settings(tmp_path / "g", host=host, keys=tmp_path / "keys")
    Settings(tmp_path / "g", host=host, allow_anyone="read")


def test_this_machine_may_be_called_by_the_address_that_it_listens_on(served: Callable[..., str]) -> None:
    """An address that is printed answers."""
    url = served(host="127.0.0.2")

    assert "127.0.0.2" in url
    assert CLIENT.get(f"{url}/v1/gallery").status_code == 200


@pytest.mark.parametrize("name", ["max_body_mb", "max_megapixels", "timeout_s", "reload_s", "rate_per_s"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_are_finite(tmp_path: Path, name: str, value: float) -> None:
    """What is no number to compare with is refused in one line that names the flag."""
    with pytest.raises(OptionError, match=rf"--{name.replace('_', '-')} must be a finite number, got (inf|nan)"):
        Settings(tmp_path / "g", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["hello\n", '{"name": "x"}\n', '{"name":"x","scope":"all","sha256":"00","made":""}\n'])
def test_a_file_that_is_no_file_of_keys_is_refused(text: str, tmp_path: Path) -> None:
    """A file that something else wrote is one clear line, and is left as it is."""
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(OptionError, match=r"a file of keys must be written by 'placewise keys new'.*line 1"):
        read_keys(path)
    with pytest.raises(OptionError):
        new_key(path, name="a", scope="read")
    assert path.read_text(encoding="utf-8") == text


def test_a_service_without_its_keys_does_not_start(tmp_path: Path, path: Path, tiny_model: TinyModel) -> None:
    """A file of keys that is missing is refused, and not taken for no keys at all."""
    from placewise.gallery_file import GalleryFile

    desk = Desk(GalleryFile.open(path), tiny_model, max_pixels=10**6)
    with pytest.raises(OptionError, match=r"the file of keys must be readable"):
        create_app(Settings(path, keys=tmp_path / "missing"), desk)
    desk.close()


def test_keys_on_the_command_line(tmp_path: Path) -> None:
    """``keys new`` prints the key alone, ``list`` names it without it, ``revoke`` takes it out."""
    file, run = tmp_path / "keys.jsonl", CliRunner()
    made = run.invoke(command_line, ["keys", "new", "--keys", str(file), "--name", "phone"])
    key = made.stdout.strip()
    listed = run.invoke(command_line, ["keys", "list", "--keys", str(file)])

    assert KeyRing(file).find(key) is not None
    assert "phone" in listed.stdout
    assert key not in listed.stdout
    assert json.loads(file.read_text(encoding="utf-8"))["scope"] == "read"
    again = run.invoke(command_line, ["keys", "new", "--keys", str(file), "--name", "phone"])
    assert isinstance(again.exception, OptionError)
    assert run.invoke(command_line, ["keys", "revoke", "phone", "--keys", str(file)]).exit_code == 0
    assert KeyRing(file).find(key) is None

"""The API over a real socket: what it answers, adds, removes and refuses."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from tests.conftest import TinyModel, embeddings

from placewise.core import Photo, Position
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.rank import Place, Stack
from placewise.service.app import create_app
from placewise.service.desk import Desk
from placewise.service.routes import api, health
from placewise.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]


def ask(url: str, *photos: Path, **query: object) -> httpx.Response:
    """Ask where photos were taken."""
    files = [("image", (photo.name, photo.read_bytes())) for photo in photos]
    return httpx.post(f"{url}/v1/locate", files=files, params=query)  # type: ignore[arg-type]


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem that is one."""
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["title"]
    assert "\n" not in document["detail"]
    return response.status_code, document["kind"]


def test_it_answers_as_the_library_does(
    served: Callable[..., str], tmp_path: Path, tiny_dataset: Path, tiny_model: TinyModel
) -> None:
    """An answer has the library's place, confidence, tau, reason and hits, and names each hit's thumbnail."""
    query = tiny_dataset.parent / "p1" / "3.png"
    found = ask(served(), query, k=3).json()
    with GalleryFile.open(tmp_path / "served.gallery") as gallery:
        expected = Locator(gallery, tiny_model).locate(query, k=3)

    (answer,) = found["answers"]
    assert (answer["query"], answer["width"], answer["height"]) == ("3.png", 96, 96)
    assert answer["known"] is expected.known is True
    assert (answer["place"], answer["reason"], answer["tau"]) == (expected.place, expected.reason, expected.tau)
    assert [(hit["path"], hit["similarity"]) for hit in answer["hits"]] == [
        (str(hit.photo.path), pytest.approx(hit.similarity, abs=1e-6)) for hit in expected.hits
    ]
    assert all(hit["thumbnail"] == f"/v1/photos/{hit['id']}/thumbnail" for hit in answer["hits"])
    assert "calibrate" in found["caution"]


def test_one_photo_may_be_sent_as_it_is(served: Callable[..., str], tiny_dataset: Path) -> None:
    """The bytes of a photo as the whole body give the same answer as a form, whatever type is announced."""
    url, photo = served(), tiny_dataset.parent / "p0" / "3.png"
    forms = ask(url, photo).json()["answers"]
    for announced in ("image/png", "text/plain", "application/x-www-form-urlencoded"):
        response = httpx.post(f"{url}/v1/locate", content=photo.read_bytes(), headers={"content-type": announced})

        assert response.json()["answers"] == [{**forms[0], "query": ""}]


def test_of_several_photos_the_broken_one_is_named_and_the_others_are_answered(
    served: Callable[..., str], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Answers come in the order of the photos; what cannot be read is under failures; alone, it is the problem."""
    url, folder = served(), tiny_dataset.parent
    broken, text = tmp_path / "broken.png", tmp_path / "text.png"
    broken.write_bytes((folder / "p0" / "3.png").read_bytes()[:60])
    text.write_bytes(b"no image at all")
    found = ask(url, folder / "p2" / "3.png", broken, text, folder / "p0" / "3.png").json()

    assert [answer["place"] for answer in found["answers"]] == ["place 2", "place 0"]
    assert [(one["query"], one["kind"]) for one in found["failures"]] == [
        ("broken.png", "image_truncated"),
        ("text.png", "not_an_image"),
    ]
    assert problem(ask(url, broken)) == (422, "image_truncated")
    assert problem(ask(url, text)) == (415, "not_an_image")


def test_filters_hold(served: Callable[..., str], tiny_dataset: Path) -> None:
    """Hits come from the wanted places only; a place that is not there, a broken box or a typo is refused."""
    url, photo = served(), tiny_dataset.parent / "p0" / "3.png"
    hits = ask(url, photo, place=["place 1", "place 2"], k=100).json()["answers"][0]["hits"]

    assert {hit["place"] for hit in hits} == {"place 1", "place 2"}
    assert problem(ask(url, photo, place="nowhere")) == (422, "option")
    assert problem(ask(url, photo, box="1,2,3")) == (422, "option")
    assert problem(ask(url, photo, box="nan,0,1,1")) == (422, "option")
    assert problem(ask(url, photo, plaec="place 1")) == (422, "invalid")
    assert problem(ask(url, photo, k=0)) == (422, "invalid")


def test_a_bad_filter_is_its_askers_fault_alone(served: Callable[..., str], tiny_dataset: Path) -> None:
    """Requests that share a batch with one that is refused are answered."""
    url, photo = served(batch_wait_ms=200), tiny_dataset.parent / "p0" / "3.png"

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient() as client:
            calls = [
                client.post(f"{url}/v1/locate", content=photo.read_bytes(), params={"place": place})
                for place in ("place 0", "nowhere", "place 0")
            ]
            return list(await asyncio.gather(*calls))

    assert [response.status_code for response in asyncio.run(all_at_once())] == [200, 422, 200]


def test_the_gallery_says_what_it_holds_and_names_no_path_of_the_machine(
    served: Callable[..., str], tmp_path: Path
) -> None:
    """Counts, model, limits and rights are told; no folder of the machine is in any answer."""
    url = served(max_images=3)
    found = httpx.get(f"{url}/v1/gallery").json()

    assert (found["photos"], found["places"], found["thumbnails"]) == (12, 4, 12)
    assert (found["name"], found["model"]["name"]) == ("served.gallery", "tiny")
    assert found["calibration"] is None
    assert found["may"] == {"read": True, "write": False}
    assert found["limits"]["max_images"] == 3
    assert str(tmp_path) not in json.dumps(found) + httpx.get(f"{url}/v1/photos").text


def test_photos_come_page_by_page(served: Callable[..., str]) -> None:
    """Following ``next`` lists each photo once, in the order of the ids; a place can be picked."""
    url, after, seen = served(), 0, []
    while after is not None:
        page = httpx.get(f"{url}/v1/photos", params={"after": after, "limit": 5}).json()
        seen += page["photos"]
        after = page["next"]

    assert len(seen) == 12
    assert [photo["id"] for photo in seen] == sorted({photo["id"] for photo in seen})
    assert httpx.get(f"{url}/v1/photos/{seen[3]['id']}").json() == seen[3]
    picked = httpx.get(f"{url}/v1/photos", params={"place": "place 3"}).json()["photos"]
    assert [photo["place"] for photo in picked] == ["place 3"] * 3
    assert problem(httpx.get(f"{url}/v1/photos/999")) == (404, "not_found")


def test_the_map_is_spread_evenly(served: Callable[..., str], tmp_path: Path, tiny_model: TinyModel) -> None:
    """Of more photos with positions than wanted, every second is shown, and how many there are is told."""
    with GalleryFile.open_for(tmp_path / "served.gallery", tiny_model.card) as gallery:
        placed = [Photo(PurePosixPath(f"m/{n}.jpg"), "gallery", None, Position(48, n)) for n in range(10)]
        gallery.upsert(placed, embeddings(10))
    found = httpx.get(f"{served()}/v1/map", params={"limit": 5}).json()

    assert found["total"] == 10
    lons = [photo["position"]["lon"] for photo in found["photos"]]
    assert len(lons) == 5
    assert set(np.diff(lons)) == {2}


def test_a_thumbnail_is_a_small_jpeg(served: Callable[..., str]) -> None:
    """A thumbnail comes as JPEG that a browser may keep, but asks for anew; HEAD gives its head."""
    url = served()
    response = httpx.get(f"{url}/v1/photos/1/thumbnail")

    assert response.content.startswith(b"\xff\xd8")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, no-cache"
    for tag, status in ((response.headers["etag"], 304), ('"another"', 200)):
        again = httpx.get(f"{url}/v1/photos/1/thumbnail", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (status, b"" if status == 304 else response.content)
    assert httpx.get(f"{url}/v1/photos/2/thumbnail").headers["etag"] != response.headers["etag"]
    head = httpx.head(f"{url}/v1/photos/1/thumbnail")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


def test_a_photo_is_added_found_and_removed(
    served: Callable[..., str], tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """What was added is on the disk and found when the answer comes; twice is once; removed, it is gone."""
    url = served(allow_anyone="write")
    photo = save_photo(tmp_path / "new.png", place=77)
    query = save_photo(tmp_path / "query.png", place=77, view=1)
    sent = {
        "files": {"image": photo.read_bytes()},
        "data": {"name": "new/77.png", "place": "p 77", "lat": "48.2", "lon": "16.3"},
    }
    added = httpx.post(f"{url}/v1/photos", **sent)  # type: ignore[arg-type]
    number = added.json()["id"]

    assert added.status_code == 201
    assert added.headers["location"] == f"/v1/photos/{number}"
    assert added.json()["position"] == {"lat": 48.2, "lon": 16.3, "heading": None}
    with GalleryFile.open(tmp_path / "served.gallery") as gallery:
        assert gallery.matching(paths=["new/77.png"]) == ["new/77.png"]
        assert len(gallery) == 13
    assert ask(url, query).json()["answers"][0]["place"] == "p 77"
    again = httpx.post(f"{url}/v1/photos", **sent)  # type: ignore[arg-type]
    assert (again.status_code, again.json()["id"]) == (200, number)
    other = httpx.post(f"{url}/v1/photos", files={"image": query.read_bytes()}, data={"name": "new/77.png"})
    assert problem(other) == (409, "taken")
    assert httpx.get(f"{url}{added.json()['thumbnail']}").status_code == 200
    assert httpx.delete(f"{url}/v1/photos/{number}").status_code == 204
    assert problem(httpx.delete(f"{url}/v1/photos/{number}")) == (404, "not_found")
    assert ask(url, query).json()["answers"][0]["place"] != "p 77"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../../etc/passwd"},
        {"name": "/etc/passwd"},
        {"name": "a\x00b"},
        {"name": "a//b"},
        {"name": "x" * 300},
        {"place": "line\nbreak"},
        {"lat": "48"},
        {"lat": "north", "lon": "1"},
        {"lat": "91", "lon": "1"},
        {"lat": "nan", "lon": "1"},
        {"lat": "٤٨", "lon": "1"},
        {"lat": "4_8", "lon": "1"},
        {"plcae": "typo"},
    ],
)
def test_labels_that_cannot_be_are_refused(
    served: Callable[..., str], tmp_path: Path, save_photo: Callable[..., Path], fields: dict[str, str]
) -> None:
    """A name that is no relative path, a place that cannot be shown, half a position or a typo adds nothing."""
    url = served(allow_anyone="write")
    photo = save_photo(tmp_path / "new.png", place=77)
    response = httpx.post(f"{url}/v1/photos", files={"image": photo.read_bytes()}, data=fields)

    assert problem(response)[0] == 422
    assert httpx.get(f"{url}/v1/gallery").json()["photos"] == 12


def test_calibrating_changes_the_decisions_at_once(served: Callable[..., str], tiny_dataset: Path) -> None:
    """After a calibration its tau decides and nothing is cautioned; a share that is none is refused."""
    url = served(allow_anyone="write")
    found = httpx.post(f"{url}/v1/calibrate", params={"false_accept_rate": 0.1}).json()
    located = ask(url, tiny_dataset.parent / "p0" / "3.png").json()

    assert located["answers"][0]["tau"] == pytest.approx(found["tau"])
    assert located["caution"] == ""
    assert found["confidence"] == "similarity"  # four places teach no probability
    assert httpx.get(f"{url}/v1/gallery").json()["calibration"] == found
    assert problem(httpx.post(f"{url}/v1/calibrate", params={"false_accept_rate": 1})) == (422, "invalid")


def test_a_calibration_of_another_ranking_is_not_shown(served: Callable[..., str], tmp_path: Path) -> None:
    """It decides nothing, so that the page must not read confidences by it; the caution says what decides."""
    url = served(allow_anyone="write")
    httpx.post(f"{url}/v1/calibrate")
    with GalleryFile.open(tmp_path / "served.gallery") as gallery:
        gallery.put_ranking(Stack((Place(0.3),)).to_json())
    deadline = time.monotonic() + 10
    while not (found := httpx.get(f"{url}/v1/gallery").json())["caution"] and time.monotonic() < deadline:
        time.sleep(0.02)

    assert found["calibration"] is None
    assert found["caution"].startswith("the gallery is not calibrated for its ranking by place 0.3: tau 0.50 on the")


def test_what_another_process_writes_is_followed(
    served: Callable[..., str], tmp_path: Path, tiny_model: TinyModel, tiny_dataset: Path
) -> None:
    """While another connection adds and removes photos no request fails, and the last state is answered from."""
    url, query = served(), tiny_dataset.parent / "p0" / "3.png"
    row = tiny_model.infer([tiny_model.read(query.read_bytes())])
    statuses = []
    with GalleryFile.open_for(tmp_path / "served.gallery", tiny_model.card) as gallery:
        for turn in range(8):
            gallery.upsert([Photo(PurePosixPath(f"twin/{turn}.png"), "gallery", f"twin {turn}")], row)
            statuses += [ask(url, query).status_code for _ in range(3)]
            if turn < 7:
                gallery.remove([f"twin/{turn}.png"])
    deadline = time.monotonic() + 10
    while (place := ask(url, query).json()["answers"][0]["place"]) != "twin 7" and time.monotonic() < deadline:
        time.sleep(0.02)

    assert set(statuses) == {200}
    assert place == "twin 7"


def test_a_gallery_that_takes_its_place_is_followed(
    served: Callable[..., str], tmp_path: Path, tiny_model: TinyModel, tiny_dataset: Path
) -> None:
    """Another file moved to the gallery's path is answered from and written to; one of another model is not taken."""
    url, query, path = served(allow_anyone="write"), tiny_dataset.parent / "p0" / "3.png", tmp_path / "served.gallery"
    row = tiny_model.infer([tiny_model.read(query.read_bytes())])
    with GalleryFile.open_for(tmp_path / "new.gallery", tiny_model.card) as new:
        new.upsert([Photo(PurePosixPath("other.png"), "gallery", "elsewhere")], row)
    (tmp_path / "new.gallery").rename(path)
    deadline = time.monotonic() + 10
    while (place := ask(url, query).json()["answers"][0]["place"]) != "elsewhere" and time.monotonic() < deadline:
        time.sleep(0.02)
    added = httpx.post(f"{url}/v1/photos", files={"image": query.read_bytes()}, data={"name": "a.png"})

    assert place == "elsewhere"
    assert added.status_code == 201
    with GalleryFile.open(path) as gallery:
        assert len(gallery) == 2
    foreign = TinyModel("foreign")
    GalleryFile.open_for(tmp_path / "foreign.gallery", foreign.card).close()
    (tmp_path / "foreign.gallery").rename(path)
    while httpx.get(f"{url}/readyz").status_code == 200 and time.monotonic() < deadline + 10:
        time.sleep(0.02)
    assert httpx.get(f"{url}/readyz").status_code == 503
    assert ask(url, query).json()["answers"][0]["place"] == "elsewhere"


def test_a_gallery_moved_onto_one_that_is_written_to_is_left_alone(
    served: Callable[..., str], tmp_path: Path, tiny_model: TinyModel, tiny_dataset: Path
) -> None:
    """SQLite's log goes by the file's name: the new file is neither read nor written, and stays whole."""
    url, query, path = served(allow_anyone="write"), tiny_dataset.parent / "p0" / "3.png", tmp_path / "served.gallery"
    row = tiny_model.infer([tiny_model.read(query.read_bytes())])
    assert (
        httpx.post(f"{url}/v1/photos", files={"image": query.read_bytes()}, data={"name": "a.png"}).status_code == 201
    )
    with GalleryFile.open_for(tmp_path / "new.gallery", tiny_model.card) as new:
        new.upsert([Photo(PurePosixPath("other.png"), "gallery", "elsewhere")], row)
    before = (tmp_path / "new.gallery").read_bytes()
    (tmp_path / "new.gallery").rename(path)
    refused = httpx.post(f"{url}/v1/photos", files={"image": query.read_bytes()}, data={"name": "b.png"})
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/readyz").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)

    assert problem(refused) == (503, "gallery")
    assert problem(httpx.get(f"{url}/readyz")) == (503, "gallery")
    assert ask(url, query).json()["answers"][0]["hits"][0]["path"] == "a.png"
    assert path.read_bytes() == before


def test_a_link_may_be_pointed_to_another_gallery(
    served: Callable[..., str], tmp_path: Path, tiny_model: TinyModel, tiny_dataset: Path
) -> None:
    """Where the path is a link, another gallery takes the place of one that is written to, and both stay whole."""
    path, first = tmp_path / "served.gallery", tmp_path / "first.gallery"
    path.rename(first)
    path.symlink_to(first.name)
    url, query = served(allow_anyone="write"), tiny_dataset.parent / "p0" / "3.png"
    row = tiny_model.infer([tiny_model.read(query.read_bytes())])
    sent = {"image": query.read_bytes()}
    assert httpx.post(f"{url}/v1/photos", files=sent, data={"name": "a.png"}).status_code == 201
    with GalleryFile.open_for(tmp_path / "second.gallery", tiny_model.card) as new:
        new.upsert([Photo(PurePosixPath("other.png"), "gallery", "elsewhere")], row)
    (tmp_path / "link").symlink_to("second.gallery")
    (tmp_path / "link").rename(path)
    deadline = time.monotonic() + 10
    while (place := ask(url, query).json()["answers"][0]["place"]) != "elsewhere" and time.monotonic() < deadline:
        time.sleep(0.02)
    added = httpx.post(f"{url}/v1/photos", files=sent, data={"name": "b.png"})

    assert (place, added.status_code) == ("elsewhere", 201)
    for file, photos in ((first, 13), (tmp_path / "second.gallery", 2)):
        with GalleryFile.open(file) as gallery:
            assert (len(gallery), gallery.store.faults()) == (photos, [])
    third = tmp_path / "third.gallery"
    with GalleryFile.open_for(third, tiny_model.card) as new:
        new.upsert([Photo(PurePosixPath("third.png"), "gallery", "third")], row)
    before = third.read_bytes()
    third.rename(first)  # under a name that was written to
    (tmp_path / "link").symlink_to(first.name)
    (tmp_path / "link").rename(path)
    while httpx.get(f"{url}/readyz").status_code == 200 and time.monotonic() < deadline + 10:
        time.sleep(0.02)
    assert problem(httpx.get(f"{url}/readyz")) == (503, "gallery")
    assert first.read_bytes() == before


def test_a_gallery_that_becomes_unreadable_makes_it_unready(served: Callable[..., str], tmp_path: Path) -> None:
    """When the file is damaged underneath, readiness says 503, the message names no path, and answers go on."""
    url = served()
    db = sqlite3.connect(tmp_path / "served.gallery")
    db.execute("UPDATE photos SET lat = 48")  # half a position
    db.execute("INSERT INTO revisions (token, changed) VALUES ('x', 0)")
    db.commit()
    db.close()
    deadline = time.monotonic() + 10
    while (ready := httpx.get(f"{url}/readyz")).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)

    assert problem(ready) == (503, "gallery")
    assert str(tmp_path) not in ready.text
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_unknown_paths_and_methods_are_problems(served: Callable[..., str]) -> None:
    """What is not there is a problem, too, and a wrong method says which are right."""
    url = served()
    wrong = httpx.put(f"{url}/v1/gallery")

    assert problem(httpx.get(f"{url}/v1/nothing")) == (404, "not_found")
    assert problem(httpx.get(f"{url}/static/..%2f..%2fapp.py")) == (404, "not_found")
    assert problem(wrong) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


def test_every_response_protects_the_browser_and_has_an_id(served: Callable[..., str]) -> None:
    """A strict policy and an id are on the page, on answers and on problems; a client's own id is kept if it is one."""
    url = served()
    for path in ("/", "/v1/gallery", "/nothing", "/healthz"):
        headers = httpx.get(url + path, headers={"X-Request-ID": "mine-1"}).headers

        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"] == "mine-1"
        assert "server" not in headers
    assert re.fullmatch(r"[0-9a-f]{16}", httpx.get(url, headers={"X-Request-ID": "a b"}).headers["x-request-id"])


def test_what_is_counted_is_told(served: Callable[..., str], tiny_dataset: Path) -> None:
    """The counters name routes as they are described, and no path that a client invents."""
    url = served()
    ask(url, tiny_dataset.parent / "p0" / "3.png")
    httpx.get(f"{url}/v1/photos/4711")
    httpx.get(f"{url}/secret-path")
    text, deadline = "", time.monotonic() + 10
    while 'route="(none)"' not in text and time.monotonic() < deadline:  # a request is counted after its answer
        text = httpx.get(f"{url}/metrics").text

    assert 'placewise_requests_total{method="POST",route="/v1/locate",status="200"} 1.0' in text
    assert 'route="/v1/photos/{number}",status="404"' in text
    assert "secret-path" not in text
    assert "placewise_batch_photos_count 1.0" in text


def test_it_answers_in_process(tiny_model: TinyModel, path: Path) -> None:
    """The application is plain ASGI: without a socket it answers the same."""
    desk = Desk(GalleryFile.open(path), tiny_model, max_pixels=10**6)
    app = create_app(Settings(path), desk)

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/v1/photos")

    photos = asyncio.run(get()).json()["photos"]
    desk.close()
    assert [photo["path"] for photo in photos] == ["a/1.jpg", "a/2.jpg", "b.jpg"]
    assert photos[0]["position"] == {"lat": 48.2, "lon": 16.37, "heading": 90.0}
    assert [photo["thumbnail"] for photo in photos] == [None, "/v1/photos/2/thumbnail", None]


def test_every_route_setting_and_kind_of_problem_is_documented() -> None:
    """docs/serving.md names each route, each flag with its variable, and each kind of problem in the code."""
    import click

    from placewise.cli_serve import serve

    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    routes = [(method, route.path) for route in (*api.routes, *health.routes) for method in route.methods]  # type: ignore[attr-defined]
    files = (ROOT / "src" / "placewise" / "service").glob("*.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files if file.name != "desk.py")  # knows no HTTP

    assert len(routes) > 10
    for method, path in routes:
        assert f"`{method} {path}`" in text, path
    for option in serve.params:
        assert isinstance(option, click.Option)
        default = (
            ""
            if option.default is None
            else f"{option.default:g}"
            if isinstance(option.default, float)
            else option.default
        )
        assert f"| `{option.opts[0]}` | `{option.envvar}` | {default}" in text, option.name
    for kind in set(re.findall(r'(?:Problem\(\d+, |kind=|Error, \d+, )"(\w+)"', code)):
        assert f"`{kind}`" in text, kind


def test_the_python_client_of_the_documentation_works(
    served: Callable[..., str], tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of docs/serving.md, run on a photo, print its place."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    script = text.partition("```python\n")[2].partition("```")[0].replace("http://127.0.0.1:8750", served())
    photo = tmp_path / "where.jpg"
    photo.write_bytes((tiny_dataset.parent / "p2" / "3.png").read_bytes())
    exec(script.replace("where.jpg", str(photo)))  # noqa: S102  # our own document

    assert "place 2" in capsys.readouterr().out


def test_settings_and_flags_are_the_same() -> None:
    """Each setting has a flag and the same default, and each flag a setting."""
    import dataclasses

    from placewise.cli_serve import serve

    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    flags = {option.name: option.default for option in serve.params}

    assert fields.keys() == flags.keys()
    assert {name: value for name, value in flags.items() if name != "gallery"} == {
        name: value for name, value in fields.items() if name != "gallery"
    }

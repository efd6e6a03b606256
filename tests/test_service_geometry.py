"""Geometry over HTTP: hits that are verified, photos beside one another, and galleries that keep no local features."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image as PillowImage
from tests.conftest import TinyModel, faint

from placewise.checking import features_of
from placewise.features import KIND
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.rank import Place, Stack, Verify

if TYPE_CHECKING:
    from collections.abc import Callable

RANKINGS = pytest.mark.parametrize("stack", [Stack((Place(0.3), Verify(5))), Stack()], ids=["verifying", "plain"])


@pytest.fixture
def serve(served: Callable[..., str], tmp_path: Path, textures: Path, tiny_model: TinyModel) -> Callable[[Stack], str]:
    """A function that serves the textures, with local features, in a ranking."""

    def start(stack: Stack, **values: object) -> str:
        path = tmp_path / "served.gallery"
        path.unlink()
        with Gallery.open_for(path, tiny_model, features=True) as gallery:
            gallery.add(textures / "manifest.csv")
        with GalleryFile.open(path) as file:
            file.put_ranking(stack.to_json())
        return served(**values)

    return start


def post(url: str, photo: Path, **query: object) -> httpx.Response:
    """Send a photo as it is."""
    return httpx.post(url, content=photo.read_bytes(), params=query)  # type: ignore[arg-type]


@RANKINGS
def test_hits_are_verified_as_the_library_does(
    serve: Callable[..., str], stack: Stack, tmp_path: Path, textures: Path, tiny_model: TinyModel
) -> None:
    """With and without ``verify``, hits, inliers, confidence and reason are those of `Locator.locate`."""
    url, query = serve(stack), textures / "0-4.jpg"
    for verify in (None, 0, 3):
        asked = {} if verify is None else {"verify": verify}
        (answer,) = post(f"{url}/v1/locate", query, **asked).json()["answers"]
        with GalleryFile.open(tmp_path / "served.gallery") as file:
            expected = Locator(file, tiny_model).locate(query, verify=verify)

        assert [(hit["path"], hit["inliers"]) for hit in answer["hits"]] == [
            (str(hit.photo.path), hit.inliers) for hit in expected.hits
        ]
        assert (answer["confidence"], answer["reason"]) == (pytest.approx(expected.confidence), expected.reason)
        verified = sum(hit["inliers"] is not None for hit in answer["hits"])
        assert verified == (min(5, verify) if verify is not None else 5 * bool(stack.step(Verify)))


def test_a_photo_beside_one_of_the_gallery(serve: Callable[..., str], textures: Path) -> None:
    """Of one place: accepted, with as many points in both as there are inliers, shifted as the photos are."""
    url = serve(Stack())
    photos = {one["path"]: one["id"] for one in httpx.get(f"{url}/v1/photos").json()["photos"]}
    same = post(f"{url}/v1/photos/{photos['0-0.jpg']}/match", textures / "0-4.jpg").json()
    other = post(f"{url}/v1/photos/{photos['1-0.jpg']}/match", textures / "0-4.jpg").json()

    assert (same["accepted"], same["photo"]["path"]) == (True, "0-0.jpg")
    assert len(same["query_points"]) == len(same["photo_points"]) == same["inliers"] > 50
    assert same["query_size"] == same["photo_size"] == [512, 384]
    shifts = sorted(
        query[0] - photo[0] for query, photo in zip(same["query_points"], same["photo_points"], strict=True)
    )
    assert shifts[len(shifts) // 2] == pytest.approx(44, abs=0.5)
    assert other["accepted"] is False
    assert other["significance"] < same["significance"]


def test_a_match_is_accepted_as_a_hit_is(serve: Callable[..., str], tmp_path: Path, textures: Path) -> None:
    """At the chance by which the gallery ranks, or of as many hits as ``verify`` says."""
    url, path = serve(Stack((Verify(10),))), tmp_path / "served.gallery"
    with GalleryFile.open(path) as file:
        number = file.id_of("0-0.jpg")
        file.put_features(KIND, {number: faint(features_of((textures / "0-0.jpg").read_bytes())).to_bytes()})
    address, photo = f"{url}/v1/photos/{number}/match", textures / "0-4.jpg"
    found = [post(address, photo, **asked).json() for asked in ({}, {"verify": 1}, {"verify": 0}, {"verify": 20})]

    assert [one["accepted"] for one in found] == [False, True, True, False]
    assert {one["significance"] for one in found} == {found[0]["significance"]}
    assert post(address, photo, verify=51).status_code == post(address, photo, hits=3).status_code == 422


def test_a_photo_without_texture_is_verified_too(
    serve: Callable[..., str], tmp_path: Path, tiny_model: TinyModel
) -> None:
    """It has no keypoints, so nothing agrees with it: that is what geometry says, as in the library."""
    url, photo = serve(Stack((Place(0.3), Verify(5)))), tmp_path / "plain.png"
    PillowImage.new("RGB", (256, 192), (200, 30, 60)).save(photo)
    (answer,) = post(f"{url}/v1/locate", photo).json()["answers"]
    with GalleryFile.open(tmp_path / "served.gallery") as file:
        expected = Locator(file, tiny_model).locate(photo)

    assert [hit["inliers"] for hit in answer["hits"]] == [hit.inliers for hit in expected.hits] == [0] * 5
    assert answer["confidence"] == pytest.approx(expected.confidence)


def test_a_photo_that_is_added_keeps_features_where_the_gallery_does(serve: Callable[..., str], textures: Path) -> None:
    """It can be matched at once."""
    url = serve(Stack(), allow_anyone="write")
    added = httpx.post(f"{url}/v1/photos", files={"image": (textures / "7-4.jpg").read_bytes()}).json()
    found = post(f"{url}/v1/photos/{added['id']}/match", textures / "7-4.jpg").json()
    gallery = httpx.get(f"{url}/v1/gallery").json()

    assert found["accepted"] is True
    assert gallery["features"] == gallery["photos"] == 25
    assert gallery["verified"] == 0


def test_verifying_does_not_hold_up_others(serve: Callable[..., str], textures: Path) -> None:
    """While many hits are verified for one, another photo is answered; more than a bound at once is refused."""
    url, photo = serve(Stack()), textures / "0-4.jpg"
    many = [("image", photo.read_bytes())] * 8
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(httpx.post, f"{url}/v1/locate", files=many, params={"verify": 24}, timeout=60)
        time.sleep(0.05)
        assert post(f"{url}/v1/locate", photo, verify=0).status_code == 200
        answers = asked.result().json()["answers"]

    assert len(answers) == 8
    assert {answer["hits"][0]["inliers"] for answer in answers} == {answers[0]["hits"][0]["inliers"]}
    refused = httpx.post(f"{url}/v1/locate", files=many, params={"verify": 26})
    assert (refused.status_code, refused.json()["kind"]) == (422, "too_many")


def test_without_features_nothing_can_be_matched(served: Callable[..., str], tiny_dataset: Path) -> None:
    """A gallery that keeps none says so, for a match and for hits to be verified; ``verify=0`` asks for nothing."""
    url, photo = served(), tiny_dataset.parent / "p0" / "3.png"
    for response in (post(f"{url}/v1/photos/1/match", photo), post(f"{url}/v1/locate", photo, verify=5)):
        assert (response.status_code, response.json()["kind"]) == (409, "features")
        assert "--features" in response.json()["detail"]
    assert post(f"{url}/v1/locate", photo, verify=0).status_code == 200
    assert post(f"{url}/v1/photos/99/match", photo).status_code == 404
    assert post(f"{url}/v1/locate", photo, verify=51).status_code == 422
    both = [("image", photo.read_bytes()), ("image", photo.read_bytes())]
    assert httpx.post(f"{url}/v1/photos/1/match", files=both).json()["kind"] == "too_many"

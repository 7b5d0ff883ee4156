import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from facever.errors import FileError
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold
from facever.inference.embedder import Embedder
from facever.serving.gallery_thread import GalleryThread

Album = dict[str, Any]


def search(client: TestClient, content: bytes, **fields: Any) -> dict[str, Any]:
    response = client.post("/api/search", data=fields, files={"photo": content})
    assert response.status_code == 200, response.text
    return response.json()


def enroll(client: TestClient, content: bytes, name: str, **fields: Any) -> Any:
    return client.post(
        "/api/photos",
        data={"name": name, **fields},
        files={"photo": ("image.jpg", content)},
    )


def names(folder: Path) -> dict[str, int]:
    """Who is enrolled by now, as another process sees it."""
    with Gallery(folder) as gallery:
        return gallery.names()


def units(embedder: Embedder, crops: np.ndarray) -> np.ndarray:
    features = embedder.embed_crops(crops).astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def pixels(address: str) -> np.ndarray:
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    decoded = np.frombuffer(base64.b64decode(content), np.uint8)
    return cv2.imdecode(decoded, cv2.IMREAD_COLOR)[:, :, ::-1]


def test_says_what_the_gallery_holds(client: TestClient) -> None:
    answer = client.get("/api/gallery").json()
    assert (answer["name"], answer["num_people"], answer["num_faces"]) == (
        "people",
        2,
        2,
    )
    assert (answer["threshold"], answer["threshold_from"]) == (0.99999, "gallery")
    assert (answer["threshold_fpir"], answer["threshold_far"]) == (0.01, None)
    assert answer["writable"] is True
    assert (answer["max_bytes"], answer["max_pixels"]) == (25_000_000, 80_000_000)


def test_takes_as_many_pixels_as_it_says(
    make_app: Callable[..., Any], album: Album
) -> None:
    height, width, _ = album["Ann"].photo.shape
    for limit, status in ((height * width, 200), (height * width - 1, 413)):
        app = make_app(max_pixels=limit)
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            assert client.get("/api/gallery").json()["max_pixels"] == limit
            answer = client.post("/api/search", files={"photo": album["Ann"].png})
            assert answer.status_code == status
    assert f"over the {limit:,} that are taken" in answer.json()["error"]


def test_faces_of_low_quality_are_refused_and_counted(
    make_app: Callable[..., Any], album: Album, folder: Path
) -> None:
    eyes = {
        name: [float(np.hypot(*(points[1] - points[0]))) for points in drawn.landmarks]
        for name, drawn in album.items()
    }
    # On the photo of both, Bob is the larger face.
    small, large = sorted(eyes["both"])
    least = (small + large) / 2
    app = make_app(min_quality={"eye-distance": least})
    both = {"photo": album["both"].png}
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        said = client.get("/api/gallery").json()
        assert (said["min_quality"], said["num_refused"]) == (
            {"eye-distance": least},
            0,
        )
        assert client.post("/api/search", files=both).status_code == 200
        why = (
            f"quality too low: eye-distance is {small:.6g}, and at least {least:g} is "
            "asked for: take another photo of this face"
        )
        answer = client.post("/api/search", files=both, data={"face": 1})
        assert (answer.status_code, answer.json()) == (422, {"error": why})
        two = {"first": album["both"].png, "second": album["both"].png}
        answer = client.post("/api/verify", files=two, data={"second_face": 1})
        assert answer.json() == {"error": f"second photo: {why}"}
        refused = enroll(client, album["both"].png, "Cy", face=1)
        assert (refused.status_code, refused.json()) == (422, {"error": why})
        assert enroll(client, album["both"].png, "Di").status_code == 201
        assert client.get("/api/gallery").json()["num_refused"] == 3
    assert names(folder) == {"Ann": 1, "Bob": 1, "Di": 1}


def test_finds_an_enrolled_person_as_brute_force_does(
    client: TestClient, album: Album, embedder: Embedder
) -> None:
    answer = search(client, album["Ann"].png, k=9)

    enrolled = units(embedder, np.concatenate([album["Ann"].crops, album["Bob"].crops]))
    [query] = units(embedder, album["Ann"].crops)
    assert (answer["known"], answer["name"]) == (True, "Ann")
    assert [match["name"] for match in answer["matches"]] == ["Ann", "Bob"]
    assert [match["source"] for match in answer["matches"]] == [
        "Ann/1.jpg",
        "Bob/1.jpg",
    ]
    found = [match["cosine"] for match in answer["matches"]]
    assert found == pytest.approx(enrolled @ query, abs=1e-5)
    assert [match["same"] for match in answer["matches"]] == [True, False]


def test_shows_the_face_and_its_crop(client: TestClient, album: Album) -> None:
    answer = search(client, album["Ann"].png)
    height, width, _ = album["Ann"].photo.shape
    assert (answer["height"], answer["width"]) == (height, width)
    [face] = answer["faces"]
    assert np.allclose(face["landmarks"], album["Ann"].landmarks[0])
    assert face["box"] == pytest.approx(
        [*album["Ann"].landmarks[0].min(0) - 20, *album["Ann"].landmarks[0].max(0) + 20]
    )
    assert face["score"] == 0.9
    np.testing.assert_array_equal(pixels(answer["crop"]), album["Ann"].crops[0])


def test_answers_nobody_below_the_threshold(client: TestClient, album: Album) -> None:
    answer = search(client, album["who"].png)
    assert (answer["known"], answer["name"]) == (False, None)
    assert [match["same"] for match in answer["matches"]] == [False, False]


def test_without_a_threshold_nobody_is_ruled_out(
    client: TestClient, album: Album, folder: Path
) -> None:
    with Gallery(folder) as gallery:
        gallery.set_threshold(None)
    answer = search(client, album["who"].png)
    assert (answer["known"], answer["name"], answer["threshold"]) == (None, None, None)
    assert answer["matches"][0]["same"] is None


def test_looks_at_the_face_that_is_asked_for(client: TestClient, album: Album) -> None:
    """Bob is the larger one, and is drawn on the right."""
    largest = search(client, album["both"].png)
    other = search(client, album["both"].png, face=1)
    assert (largest["face"], other["face"], len(largest["faces"])) == (0, 1, 2)
    assert other["name"] == "Ann"
    np.testing.assert_array_equal(pixels(other["crop"]), album["Ann"].crops[0])
    np.testing.assert_array_equal(pixels(largest["crop"]), album["both"].crops[1])
    response = client.post(
        "/api/search", data={"face": 2}, files={"photo": album["both"].png}
    )
    assert response.status_code == 422
    assert "face must be below 2" in response.json()["error"]


def test_matches_are_people_or_photos(client: TestClient, album: Album) -> None:
    enroll(client, album["other Ann"].png, "Ann")
    people = search(client, album["Ann"].png)
    photos = search(client, album["Ann"].png, by="photo")
    assert sorted(match["name"] for match in people["matches"]) == ["Ann", "Bob"]
    assert sorted(match["name"] for match in photos["matches"]) == ["Ann", "Ann", "Bob"]
    assert len(search(client, album["Ann"].png, by="photo", k=1)["matches"]) == 1


def test_an_empty_gallery_answers_with_no_match(
    client: TestClient, album: Album
) -> None:
    for name in ("Ann", "Bob"):
        client.delete("/api/people", params={"name": name})
    answer = search(client, album["Ann"].png)
    assert (answer["matches"], answer["known"]) == ([], False)


def test_compares_two_photos(
    client: TestClient, album: Album, embedder: Embedder
) -> None:
    def verify(first: str, second: str, **fields: int) -> dict[str, Any]:
        files = {"first": album[first].png, "second": album[second].png}
        return client.post("/api/verify", data=fields, files=files).json()

    left, right = units(
        embedder, np.concatenate([album["Ann"].crops, album["Bob"].crops])
    )
    answer = verify("Ann", "Bob")
    assert answer["cosine"] == pytest.approx(left @ right, abs=1e-5)
    assert (answer["same"], answer["threshold"]) == (False, 0.99999)
    assert len(answer["first"]["faces"]) == len(answer["second"]["faces"]) == 1
    assert verify("Ann", "Ann")["same"] is True
    assert verify("Ann", "both", second_face=1)["same"] is True
    assert verify("Ann", "both")["same"] is False
    assert verify("both", "Ann", first_face=1)["cosine"] == pytest.approx(1, abs=1e-5)


def test_says_which_of_two_photos_has_no_face(client: TestClient, album: Album) -> None:
    blank = cv2.imencode(".png", np.zeros((99, 99, 3), np.uint8))[1].tobytes()
    for first, second, which in [
        (blank, album["Ann"].png, "first"),
        (album["Ann"].png, blank, "second"),
    ]:
        response = client.post("/api/verify", files={"first": first, "second": second})
        assert response.status_code == 422
        assert response.json()["error"].startswith(
            f"{which} photo: no face found in this photo; is it upright"
        )
    files = {"first": album["Ann"].png, "second": b"hello"}
    response = client.post("/api/verify", files=files)
    assert response.status_code == 415
    assert response.json()["error"].startswith("second photo: this file is no photo")


def test_enrolls_for_good_and_removes_again(
    client: TestClient, album: Album, folder: Path
) -> None:
    response = enroll(client, album["who"].png, " Cy ")
    assert response.status_code == 201
    added = response.json()
    assert (added["name"], added["was_known"]) == ("Cy", False)
    assert names(folder) == {"Ann": 1, "Bob": 1, "Cy": 1}
    assert search(client, album["who"].png)["name"] == "Cy"

    again = enroll(client, album["who"].png, "Cy").json()
    assert (again["id"], again["was_known"]) == (added["id"], True)
    assert names(folder)["Cy"] == 1

    response = client.delete(f"/api/photos/{added['id']}")
    assert (response.status_code, response.json()) == (200, {"num_removed": 1})
    assert names(folder) == {"Ann": 1, "Bob": 1}
    assert search(client, album["who"].png)["known"] is False
    response = client.delete(f"/api/photos/{added['id']}")
    assert response.status_code == 404
    assert response.json() == {"error": "no photo with this id is enrolled"}


def test_photos_of_one_name_and_faces_of_one_photo_are_others(
    client: TestClient, album: Album, folder: Path
) -> None:
    """Phones call all of their photos image.jpg."""
    for content, face in [
        (album["Ann"].png, 0),
        (album["Bob"].png, 0),
        (album["both"].png, 0),
        (album["both"].png, 1),
    ]:
        assert enroll(client, content, "Di", face=face).json()["was_known"] is False
    assert names(folder)["Di"] == 4
    [match] = search(client, album["Ann"].png, k=1)["matches"]
    assert match["cosine"] == pytest.approx(1, abs=1e-5)


def test_removes_a_person_of_any_name(
    client: TestClient, album: Album, folder: Path
) -> None:
    name = "../Ann & Bob/?#%2F ⭐"
    for photo in ("Ann", "Bob"):
        assert enroll(client, album[photo].png, name).status_code == 201
    entries = client.get("/api/photos", params={"name": name}).json()
    assert [entry["name"] for entry in entries] == [name, name]
    response = client.delete("/api/people", params={"name": name})
    assert response.json() == {"num_removed": 2}
    assert names(folder) == {"Ann": 1, "Bob": 1}
    response = client.delete("/api/people", params={"name": name})
    assert response.status_code == 404
    assert client.get("/api/photos", params={"name": name}).json() == []


def test_a_blank_name_is_refused(client: TestClient, album: Album) -> None:
    response = enroll(client, album["Ann"].png, "  ")
    assert response.status_code == 422
    assert response.json() == {"error": "name must not be blank: whose face is this?"}


def test_lists_people_by_part_of_a_name(client: TestClient, album: Album) -> None:
    for name in ("Annika", "JOANN"):
        enroll(client, album["who"].png, name)
    assert client.get("/api/people").json()["num_people"] == 4
    answer = client.get("/api/people", params={"like": "aNN", "limit": 2}).json()
    assert answer == {
        "num_people": 3,
        "people": [
            {"name": "Ann", "num_faces": 1},
            {"name": "Annika", "num_faces": 1},
        ],
    }


def test_only_looks_without_write(make_app: Any, album: Album, folder: Path) -> None:
    with TestClient(make_app(write=False), base_url="http://localhost") as client:
        assert client.get("/api/gallery").json()["writable"] is False
        [entry] = client.get("/api/photos", params={"name": "Ann"}).json()
        for response in (
            enroll(client, album["who"].png, "Cy"),
            client.delete(f"/api/photos/{entry['id']}"),
            client.delete("/api/people", params={"name": "Ann"}),
        ):
            assert response.status_code == 403
            assert "--write" in response.json()["error"]
        assert search(client, album["Ann"].png)["name"] == "Ann"
    assert names(folder) == {"Ann": 1, "Bob": 1}


def test_sees_what_others_change(
    client: TestClient, album: Album, folder: Path, embedder: Embedder
) -> None:
    assert search(client, album["who"].png)["known"] is False
    with Gallery(folder, embedder.model_fingerprint) as gallery:
        gallery.add(["Cy"], embedder.embed_crops(album["who"].crops), ["Cy.jpg"])
        gallery.set_threshold(Threshold(0.5, "far", 0.001, 3))
    answer = search(client, album["who"].png)
    assert (answer["name"], answer["threshold"]) == ("Cy", 0.5)
    assert (answer["threshold_far"], answer["threshold_fpir"]) == (0.001, None)


def test_a_gallery_that_went_over_to_another_model_is_refused(
    client: TestClient, album: Album, folder: Path
) -> None:
    with Gallery(folder) as gallery:
        ids = [entry.id for entry in gallery.entries()]
        gallery.replace_model(dict.fromkeys(ids, np.ones(8)), [], "another", {})
    response = client.post("/api/search", files={"photo": album["Ann"].png})
    assert response.status_code == 409
    assert "of another model by now" in response.json()["error"]


def test_what_the_disk_says_stays_in_the_terminal(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def fail(*_: Any) -> None:
        raise FileError(f"{folder}: the disk is full")

    monkeypatch.setattr(GalleryThread, "ask", fail)
    response = client.get("/api/people")
    assert response.status_code == 500
    assert str(folder) not in response.text


def test_wrong_values_are_one_line(client: TestClient, album: Album) -> None:
    response = client.post(
        "/api/search", files={"photo": album["Ann"].png}, data={"k": 0}
    )
    assert response.status_code == 422
    assert response.json()["error"] == "k: Input should be greater than or equal to 1"
    assert client.post("/api/search").json() == {"error": "photo: Field required"}
    assert client.get("/api/nothing").json() == {"error": "Not Found"}
    assert client.put("/api/people").status_code == 405

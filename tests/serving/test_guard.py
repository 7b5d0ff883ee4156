from typing import Any

from fastapi.testclient import TestClient

TOKEN = "a-token-of-many-letters"


HOSTS = {
    "127.0.0.1:8000": 200,
    "127.0.0.1": 200,
    "localhost:1234": 200,
    "LocalHost": 200,
    "[::1]:8000": 200,
    "evil.example": 403,
    "evil.example:8000": 403,
    "127.0.0.1.evil.example": 403,
    "localhost.evil.example:8000": 403,
    "evil.example:127.0.0.1": 403,
    "[::1].evil.example": 403,
    "[::1": 403,
    "": 403,
}


def test_goes_by_this_machines_names_alone(client: TestClient) -> None:
    for host, status in HOSTS.items():
        for address in ("/", "/page.js", "/api/people", "/openapi.json"):
            response = client.get(address, headers={"host": host})
            assert response.status_code == status, host
            assert "access-control-allow-origin" not in response.headers


OWN = "http://127.0.0.1:8000"
SENDERS = [
    ({}, True),
    ({"sec-fetch-site": "same-origin", "origin": OWN}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"origin": OWN}, True),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9999"}, False),
    ({"origin": "http://127.0.0.1:9999"}, False),
    ({"origin": "http://localhost:8000"}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": "http://[evil.example"}, False),
    ({"origin": "null"}, False),
    ({"sec-fetch-site": "same-origin", "origin": "http://evil.example"}, False),
    ({"sec-fetch-site": "cross-site", "origin": OWN}, False),
]


def test_other_pages_change_and_ask_nothing(client: TestClient) -> None:
    nobody = {"name": "Nobody"}
    for headers, taken in SENDERS:
        removed = client.delete("/api/people", params=nobody, headers=headers)
        assert removed.status_code == (404 if taken else 403), headers
        asked = client.post("/api/search", headers=headers, files={"photo": b"x"})
        assert asked.status_code == (415 if taken else 403), headers
        if not taken:
            assert asked.json()["error"].startswith("another web page has sent this")


def test_a_link_from_elsewhere_opens_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


SENT = [
    (f"Bearer {TOKEN}", 200),
    (f"bearer  {TOKEN} ", 200),
    ("Bearer", 401),
    ("Bearer ", 401),
    (TOKEN, 401),
    (f"Basic {TOKEN}", 401),
    (f"Bearer {TOKEN}x", 401),
    (f"Bearer {TOKEN[:-1]}", 401),
    (f"Bearer {TOKEN.upper()}", 401),
    ("Bearer \u00fc".encode("latin-1"), 401),
    (None, 401),
]


def test_asks_for_the_token(make_app: Any) -> None:
    app = make_app(host="0.0.0.0", token=TOKEN)
    with TestClient(app, base_url="http://any.name") as client:
        for sent, status in SENT:
            headers = {} if sent is None else {"authorization": sent}
            response = client.get("/api/people", headers=headers)
            assert response.status_code == status, sent
            if status == 401:
                assert response.headers["www-authenticate"] == "Bearer"
                assert "Bearer TOKEN" in response.json()["error"]
                assert TOKEN not in response.text
        # Whose page holds nothing of the gallery.
        page = client.get("/")
        assert page.status_code == 200
        assert TOKEN not in page.text


def test_the_token_guards_all_of_the_api(make_app: Any) -> None:
    app = make_app(host="0.0.0.0", token=TOKEN)
    description = app.openapi()
    assert description["components"]["securitySchemes"]["HTTPBearer"]
    with TestClient(app, base_url="http://any.name") as client:
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                assert operation["security"] == [{"HTTPBearer": []}]
                address = path.format(photo_id="x")
                assert client.request(method, address).status_code == 401


def test_a_token_is_taken_on_loopback_too(make_app: Any) -> None:
    """Behind a server that ends TLS, whose name is not this machine's."""
    app = make_app(host="127.0.0.1", token=TOKEN)
    with TestClient(app, base_url="http://faces.example") as client:
        assert client.get("/api/people").status_code == 401
        headers = {
            "authorization": f"Bearer {TOKEN}",
            "origin": "https://faces.example",
        }
        assert client.get("/api/people", headers=headers).status_code == 200

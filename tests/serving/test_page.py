import re
from importlib import resources

from fastapi.testclient import TestClient

PAGE = resources.files("facever.serving") / "page"


FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
NONE = [
    "/page.html",
    "/page/page.js",
    "/../pyproject.toml",
    "/%2e%2e/%2e%2e/pyproject.toml",
    "/page.js/../../app.py",
    "//etc/passwd",
    "/docs",
    "/redoc",
    "/api/photos/..%2f..%2fgallery.sqlite",
]


def test_sends_its_files(client: TestClient) -> None:
    for address, (name, kind) in FILES.items():
        response = client.get(address)
        assert response.status_code == 200
        assert response.content == (PAGE / name).read_bytes()
        assert response.headers["content-type"].startswith(kind)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy


def test_sends_nothing_else(client: TestClient) -> None:
    for address in NONE:
        assert client.get(address).status_code in (404, 405), address


def test_needs_nothing_from_elsewhere() -> None:
    for name in ("page.html", "page.css", "page.js"):
        text = (PAGE / name).read_text(encoding="utf-8")
        elsewhere = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", text))
        # The name of SVG, which nobody opens.
        assert elsewhere <= {"http://www.w3.org/2000/svg"}, name
        assert "style=" not in text
        assert not re.search(r"\bon\w+=", text)

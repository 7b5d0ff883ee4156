import socket

import pytest

from facever.errors import ParameterError
from facever.serving.binding import choose_access, is_loopback, listen, page_address


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    access = choose_access(host, None)
    assert access.token is None
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(access.hosts)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "faces.example", "", "127.0.0.1.example"]
)
def test_anything_else_gets_a_token_of_its_own(host: str) -> None:
    assert not is_loopback(host)
    tokens = {choose_access(host, None).token for _ in range(3)}
    assert len(tokens) == 3
    assert all(token is not None and len(token) == 32 for token in tokens)


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "ü" * 20, "x" * 16 + "\n"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(
        ParameterError, match=f"16 letters or more, .* got {len(token)}"
    ):
        choose_access("0.0.0.0", token)


def test_a_given_token_is_taken() -> None:
    assert choose_access("0.0.0.0", "x" * 16).token == "x" * 16


def test_listens_at_a_free_port() -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        ports = {first.getsockname()[1], second.getsockname()[1]}
        assert len(ports) == 2
        assert 0 not in ports


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ParameterError, match=rf"127\.0\.0\.1:{port} .*another --port"
        ):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_no_port_is_refused(port: int) -> None:
    with pytest.raises(
        ParameterError, match=rf"port must be in \[0, 65535\], got {port}"
    ):
        listen("127.0.0.1", port)


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"cannot listen at 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0)


def test_the_address_opens_the_page() -> None:
    assert page_address("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert page_address("::1", 80, None) == "http://[::1]:80/"
    address = page_address("0.0.0.0", 80, "secret")
    assert address.endswith(":80/#token=secret")
    assert "0.0.0.0" not in address


def test_connections_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as sock:
        with socket.create_connection(sock.getsockname()):
            accepted, _ = sock.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

"""Whatever is sent, no answer is the server's own fault."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

# A form of the right fields is still refused where its photo is none.
UNFIT = [positive_data_acceptance]
FEW = settings(
    max_examples=6,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", GenerationMode)
def test_answers_as_it_is_described(address: str, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 8
    asked = set()
    for operation in operations:

        @FEW
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.call_and_validate(excluded_checks=UNFIT)
            asked.add(case.operation.label)

        # Some take nothing that could be wrong.
        with suppress(Unsatisfiable):
            check()
    assert len(asked) == (8 if mode is GenerationMode.POSITIVE else 6), asked


def photo(kind: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (50, 40, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


PHOTOS = {kind: photo(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")}
FILES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda kind, cut, junk: PHOTOS[kind][:cut] + junk + PHOTOS[kind][cut:],
        st.sampled_from(sorted(PHOTOS)),
        st.integers(0, 400),
        st.binary(max_size=40),
    ),
    st.builds(
        lambda kind, cut: PHOTOS[kind][:cut],
        st.sampled_from(sorted(PHOTOS)),
        st.integers(0, 4000),
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=FILES,
    second=FILES,
    name=st.text(max_size=30),
    face=st.one_of(st.integers(), st.text(max_size=5)),
)
def test_no_file_is_the_servers_fault(
    client: TestClient, first: bytes, second: bytes, name: str, face: Any
) -> None:
    fields = {"name": name, "face": face}
    for address in ("/api/search", "/api/photos"):
        files = {"photo": (name, first)}
        answer = client.post(address, data=fields, files=files)
        assert answer.status_code in (400, 413, 415, 422)
        assert "\n" not in answer.json()["error"]
    answer = client.post("/api/verify", files={"first": first, "second": second})
    assert answer.status_code in (400, 413, 415, 422)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), boundary=st.sampled_from(["", "; boundary=x"]))
def test_no_form_is_the_servers_fault(
    client: TestClient, body: bytes, boundary: str
) -> None:
    headers = {"content-type": f"multipart/form-data{boundary}"}
    for content in (body, b"--x\r\n" + body + b"\r\n--x--\r\n"):
        answer = client.post("/api/search", content=content, headers=headers)
        assert answer.status_code in (400, 413, 415, 422)

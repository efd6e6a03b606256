"""The description of the API: whatever it allows, and what it does not, is answered without a fault of the service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_requests_made_from_the_description_find_no_fault(served: Callable[..., str]) -> None:
    """Right and wrong requests to each operation get answers of the described status, type and shape, and no 5xx."""
    url = served(allow_anyone="write")
    description = httpx.get(f"{url}/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=url)
    operations = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]  # an error has none, and fails

    assert len(operations) >= 12
    for operation in operations:
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                cases = operation.as_strategy(generation_mode=mode)
                _ask(cases, max_examples=8)
            except Unsatisfiable:
                if mode is schemathesis.GenerationMode.POSITIVE:
                    raise  # an operation without parameters has no wrong requests
    asked = re.findall(r"^placewise_requests_total.* (\d+)", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert sum(map(int, asked)) > 8 * len(operations)


def _ask(cases: st.SearchStrategy[Any], *, max_examples: int) -> None:
    @seed(0)
    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    ask()


def test_the_description_has_examples_and_says_what_protects_it(served: Callable[..., str]) -> None:
    """Each operation has a summary and problems, the key is declared, and values have examples."""
    document = httpx.get(f"{served()}/v1/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["components"]["schemas"]["HitDocument"]["properties"]["path"]["examples"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            is_open = path in {"/healthz", "/readyz"}
            assert is_open or operation["security"] == [{"key": []}]
            assert is_open or "401" in operation["responses"]
            problem = operation["responses"].get("422", {"content": {"application/problem+json": 1}})
            assert list(problem["content"]) == ["application/problem+json"], path

"""The contract as a whole: nothing in it is forgotten, and the documents say what the code does."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from mien.v1 import gallery_service_pb2, operations_service_pb2, recognition_service_pb2, types_pb2
from mien_server.config.limits import Limits
from mien_server.records.faces import ImageStatus
from mien_server.rpc.absent import ABSENT_METHODS, absent_features
from mien_server.rpc.methods.table import SERVICES, STREAM_METHODS, UNARY_METHODS

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = REPOSITORY / "server" / "mien_server"
API_DOCUMENT = REPOSITORY / "docs" / "API.md"
SCREAMING = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
VARIABLE_PREFIXES = ("GRPC_", "MIEN_", "MKL_", "NUMEXPR_", "OMP_", "OPENBLAS_", "XDG_")
"""How names of environment variables begin, which look like reasons."""


def test_every_method_is_implemented_or_absent() -> None:
    """Each method of the three services is either a function or in the table of absences, never both or neither."""
    declared = {method.full_name for service in SERVICES for method in service.methods}
    implemented = UNARY_METHODS.keys() | STREAM_METHODS.keys()
    assert implemented | ABSENT_METHODS.keys() == declared
    assert not implemented & ABSENT_METHODS.keys()


def test_every_service_of_the_package_is_served() -> None:
    """A service added to the contract is served without anybody remembering to."""
    files = (gallery_service_pb2, recognition_service_pb2, operations_service_pb2, types_pb2)
    declared = {service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()}
    assert {service.full_name for service in SERVICES} == declared


def test_streams_are_those_of_the_contract() -> None:
    """A method that streams in the contract streams in the server."""
    streaming = {method.full_name for service in SERVICES for method in service.methods if method.client_streaming}
    assert streaming == STREAM_METHODS.keys()


def test_server_info_lists_every_absence() -> None:
    """GetServerInfo and the refusals come from one table."""
    assert {feature.name for feature in absent_features()} == ABSENT_METHODS.keys()


def test_limits_of_the_contract_are_the_servers() -> None:
    """Every limit that the server holds is stated by GetServerInfo, and no other."""
    stated = [field.name for field in operations_service_pb2.Limits.DESCRIPTOR.fields]
    assert stated == [field.name for field in dataclasses.fields(Limits)]


def _constants(tree: ast.AST) -> Iterator[str]:
    """Every text of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _names_defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _reasons_of_the_code() -> set[str]:
    """Every reason the server can give: `reason="X"`, other texts in SCREAMING_SNAKE_CASE, statuses of images."""
    texts: set[str] = set()
    names: set[str] = set()
    named: set[str] = set()
    for path in SERVER.rglob("*.py"):
        if path.name.endswith("_pb2.py"):
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        texts |= {text for text in _constants(tree) if SCREAMING.fullmatch(text)}
        names |= set(_names_defined(tree))
        named |= set(re.findall(r'reason\s?=\s?"([A-Z0-9_]+)"', source))
    images = {f"IMAGE_{status.name}" for status in ImageStatus if status is not ImageStatus.OK}
    reasons = {text for text in texts - names if not text.startswith(VARIABLE_PREFIXES)}
    return reasons | named | images


def _reasons_of_the_document() -> set[str]:
    rows = [line for line in API_DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return {reason for row in rows for reason in re.findall(r"`([A-Z][A-Z0-9_]+)`", row.split("|")[3])}


def test_every_reason_is_in_the_table_of_errors() -> None:
    """Every reason the server can give has a row in docs/API.md, and no row speaks of a reason that is gone."""
    code, document = _reasons_of_the_code(), _reasons_of_the_document()
    assert code - document == set(), "reasons without a row"
    assert document - code == set(), "rows without a reason"

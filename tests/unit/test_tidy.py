"""The tree's own rules, held by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "benchmarks", "client", "docs", "examples", "index_tools", "protos", "server", "tests", "tools")
PACKAGE_ROOTS = ("client", "index_tools", "protos", "server")
TEXT_SUFFIXES = {".cfg", ".go", ".java", ".js", ".cpp", ".md", ".proto", ".py", ".pyi", ".sh", ".toml", ".txt", ".yaml"}
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
# A home, a build place or a mount of somebody's machine. `(?<![\w.])` lets relative paths pass.
MACHINE_PATH = re.compile(r"(?<![\w.}\])])/(work|root|home|Users|mnt|workspace|build)/[\w.]")
UNCONDITIONAL_TODO = re.compile(r"(#|//|<!--)\s*(TODO|FIXME|XXX)\b(?!\((when|once|if|until|after) )")
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HTML_IMAGE = re.compile(r'<img[^>]*\bsrc="([^"]+)"')


def tree() -> Iterator[Path]:
    """Every text file of the tree that a person wrote."""
    candidates = [path for path in REPOSITORY.iterdir() if path.is_file()]
    for folder in FOLDERS:
        candidates += [path for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    for path in sorted(candidates):
        is_text = path.suffix in TEXT_SUFFIXES or (not path.suffix and path.name not in {".git", "LICENSE"})
        if is_text and not GENERATED.search(path.name) and not {"__pycache__", "node_modules"} & set(path.parts):
            yield path


def python_files() -> list[Path]:
    return [path for path in tree() if path.suffix == ".py"]


def files_of_tests() -> list[Path]:
    return [path for path in python_files() if path.name.startswith("test_")]


def proto_files() -> list[Path]:
    return [path for path in tree() if path.suffix == ".proto"]


def shown(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    this_file = Path(__file__).resolve()
    return [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in tree()
        if path != this_file
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_a_file_is_short_enough_to_read_in_one_sitting() -> None:
    """No Python file that a person wrote is longer than FILE_LINES_MAX lines."""
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_a_function_fits_a_screen() -> None:
    """No function is longer than FUNCTION_LINES_MAX lines, its docstring not counted."""
    too_long = []
    for path in python_files():
        for function in functions(path):
            first = function.body[0]
            has_docstring = ast.get_docstring(function) is not None
            docstring_lines = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            length = (function.end_lineno or 0) - function.lineno + 1 - docstring_lines
            if length > FUNCTION_LINES_MAX:
                too_long.append(f"{shown(path)}:{function.lineno}: {function.name} has {length} lines")
    assert too_long == []


def test_every_folder_of_a_package_says_what_lives_there() -> None:
    """Every folder with code in a package has an __init__.py with a docstring."""
    silent = []
    for root in PACKAGE_ROOTS:
        folders = {path.parent for path in (REPOSITORY / root).rglob("*.py") if path.parent != REPOSITORY / root}
        for folder in sorted(folders):
            init = folder / "__init__.py"
            if not init.exists() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))):
                silent.append(shown(init))
    assert silent == []


def test_there_is_no_package_beside_a_package() -> None:
    """The folders that hold the packages hold one each, and are no packages themselves."""
    for root in PACKAGE_ROOTS:
        assert not (REPOSITORY / root / "__init__.py").exists(), root
        packages = [path.parent.name for path in (REPOSITORY / root).glob("*/__init__.py")]
        assert len(packages) == 1, (root, packages)


def test_every_package_ships_its_types() -> None:
    """Each package has the py.typed file that lets a user's type checker read it."""
    missing = [
        shown(path.parent)
        for root in PACKAGE_ROOTS
        for path in (REPOSITORY / root).glob("*/__init__.py")
        if not (path.parent / "py.typed").exists()
    ]
    assert missing == []


def test_every_test_says_what_must_hold() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{shown(path)}:{function.lineno}: {function.name}"
        for path in files_of_tests()
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_every_test_file_lies_where_it_is_found() -> None:
    """Every file of tests lies in one of the folders that say what kind of tests they are."""
    kinds = {"unit", "property", "recall", "recovery", "integration", "compat", "stress"}
    strays = [shown(path) for path in files_of_tests() if path.relative_to(REPOSITORY / "tests").parts[0] not in kinds]
    assert strays == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    """Nothing in the tree holds an absolute path of the machine it was written on."""
    assert lines_matching(MACHINE_PATH) == []


def test_a_todo_names_its_condition() -> None:
    """A TODO says when it is to be done, as in `TODO(when the format changes): ...`."""
    assert lines_matching(UNCONDITIONAL_TODO) == []


def test_the_readme_names_the_two_commands() -> None:
    """The README tells a stranger the two commands to start with."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme
    assert "make test" in readme


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link or picture of a Markdown page leads to a file of the tree."""
    dead = []
    for page in (path for path in tree() if path.suffix == ".md"):
        text = page.read_text(encoding="utf-8")
        links = [first or second for first, second in MARKDOWN_LINK.findall(text)] + HTML_IMAGE.findall(text)
        for link in links:
            target = link.split("#")[0]
            is_relative = target and "://" not in target and not target.startswith("mailto:")
            if is_relative and not (page.parent / target).exists():
                dead.append(f"{shown(page)}: {link}")
    assert dead == []


def test_constraints_pin_exactly_and_name_no_host() -> None:
    """Every constraint is one exact version of one package, with no address in it."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert loose == []


# --- The contract -------------------------------------------------------------------------------------------------


def without_comments(proto: Path) -> str:
    return re.sub(r"//[^\n]*", "", proto.read_text(encoding="utf-8"))


def screaming(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def test_an_enum_starts_with_unspecified_and_prefixes_its_values() -> None:
    """The zero of each enum is <NAME>_UNSPECIFIED and each value starts with the enum's name."""
    wrong = []
    for proto in proto_files():
        for name, body in re.findall(r"\benum\s+(\w+)\s*\{([^}]*)\}", without_comments(proto)):
            values = dict(re.findall(r"(\w+)\s*=\s*(\d+)\s*;", body))
            prefix = screaming(name) + "_"
            if values.get(f"{prefix}UNSPECIFIED") != "0":
                wrong.append(f"{shown(proto)}: {name} has no {prefix}UNSPECIFIED = 0")
            wrong += [f"{shown(proto)}: {name}.{value}" for value in values if not value.startswith(prefix)]
    assert wrong == []


def test_a_public_proto_package_is_its_path() -> None:
    """A file of the contract declares the package that its folder spells."""
    root = REPOSITORY / "protos"
    for proto in root.rglob("*.proto"):
        expected = ".".join(proto.parent.relative_to(root).parts)
        assert re.search(r"^package\s+([\w.]+);", without_comments(proto), re.MULTILINE)[1] == expected  # type: ignore[index]


def test_each_call_has_its_own_request_and_response() -> None:
    """The call DoThis takes DoThisRequest and answers with DoThisResponse, defined in the same file."""
    call = re.compile(r"\brpc\s+(\w+)\s*\(\s*(?:stream\s+)?([\w.]+)\s*\)\s*returns\s*\(\s*(?:stream\s+)?([\w.]+)\s*\)")
    calls = [(proto, *found) for proto in proto_files() for found in call.findall(without_comments(proto))]
    assert calls
    for proto, name, request, response in calls:
        assert (request, response) == (f"{name}Request", f"{name}Response"), shown(proto)
        messages = set(re.findall(r"\bmessage\s+(\w+)", without_comments(proto)))
        assert {request, response} <= messages, shown(proto)


def test_names_of_the_contract_have_the_usual_case() -> None:
    """Messages, enums and services are UpperCamelCase, fields lower_snake_case, and services end in Service."""
    field = re.compile(r"^\s*(?:optional |repeated )?(?:map<[^>]*>|[\w.]+)\s+(\w+)\s*=\s*\d+\s*[;\[]", re.MULTILINE)
    wrong = []
    for proto in proto_files():
        text = without_comments(proto)
        types = re.findall(r"\b(?:message|enum|service)\s+(\w+)\s*\{", text)
        wrong += [name for name in types if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name)]
        wrong += [name for name in field.findall(text) if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]
        wrong += [name for name in re.findall(r"\bservice\s+(\w+)", text) if not name.endswith("Service")]
    assert wrong == []


@pytest.mark.parametrize("proto", proto_files(), ids=shown)
def test_no_number_is_used_twice(proto: Path) -> None:
    """Within one message no two fields share a number, oneofs included."""
    # Nested bodies are cut out from the inside, so that what is left of each message is its own fields.
    text = re.sub(r"\boneof\s+\w+\s*\{([^}]*)\}", r"\1", without_comments(proto))
    body = re.compile(r"\b(message|enum|service)\s+(\w+)\s*\{([^{}]*)\}")
    while found := body.search(text):
        kind, name, content = found.groups()
        numbers = re.findall(r"=\s*(\d+)\s*[;\[]", content)
        if kind == "message":
            assert len(numbers) == len(set(numbers)), name
        text = text[: found.start()] + text[found.end() :]

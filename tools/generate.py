"""Generate the Python code of the .proto files, or check that what is there is what they say.

    python tools/generate.py           write it beside the .proto files
    python tools/generate.py --check   write nothing; list what differs and exit 1

The compilers are those of the environment, pinned in pyproject.toml, so that equal sources give equal bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
GENERATED_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


@dataclass(frozen=True)
class Source:
    """A folder of .proto files.

    Attributes:
        root: what import paths are relative to, itself relative to the repository.
        package: the folder of the files, relative to `root`.
    """

    root: str
    package: str


SOURCES = (Source("protos", "mien/v1"), Source("server", "mien_server/records"))


def compile_protos(source: Source, output: Path) -> None:
    """Write the Python code of every .proto file of `source` under `output`; gRPC code where there is a service."""
    root = REPOSITORY / source.root
    files = sorted(path.relative_to(root).as_posix() for path in (root / source.package).glob("*.proto"))
    services = [name for name in files if name.endswith("_service.proto")]
    # google/rpc/*.proto comes with googleapis-common-protos.
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"-I{sysconfig.get_path('purelib')}"]
    # protoc looks for the mypy_grpc plugin on the PATH.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(*arguments: str) -> None:
        subprocess.run([*protoc, *arguments], cwd=root, env=environment, check=True)

    output.mkdir(parents=True, exist_ok=True)
    run(f"--python_out={output}", f"--pyi_out={output}", *files)
    if services:
        run(f"--grpc_python_out={output}", f"--mypy_grpc_out=only_sync,quiet:{output}", *services)


def generated_files(folder: Path) -> dict[str, Path]:
    """The generated files of `folder` by name."""
    return {path.name: path for pattern in GENERATED_PATTERNS for path in folder.glob(pattern)}


def stale_files(source: Source, fresh: Path) -> list[str]:
    """Paths, relative to the repository, of generated files that are missing, different or of no .proto file."""
    folder = Path(source.root, source.package)
    wanted, present = generated_files(fresh / source.package), generated_files(REPOSITORY / folder)
    return [
        (folder / name).as_posix()
        for name in sorted(wanted.keys() | present.keys())
        if name not in wanted or name not in present or wanted[name].read_bytes() != present[name].read_bytes()
    ]


def main() -> int:
    """Run as a script; answers the exit code."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the .proto files.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when something is stale")
    is_check = parser.parse_args().check
    stale_count = 0
    for source in SOURCES:
        with tempfile.TemporaryDirectory() as temporary:
            fresh = Path(temporary)
            compile_protos(source, fresh)
            for name in stale_files(source, fresh):
                stale_count += 1
                if is_check:
                    print(f"{name} is not what the .proto files give; run `make proto`")
                    continue
                print(f"writing {name}")
                made = fresh / Path(name).relative_to(source.root)
                if made.exists():
                    shutil.copyfile(made, REPOSITORY / name)
                else:
                    (REPOSITORY / name).unlink()
    if not stale_count:
        print("generated code is up to date")
    return 1 if is_check and stale_count else 0


if __name__ == "__main__":
    sys.exit(main())

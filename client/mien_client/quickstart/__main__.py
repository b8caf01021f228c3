"""The tour: `python -m mien_client.quickstart [--once] [--data DIR] [--port PORT]`."""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.text import Text

from mien_client import Client, MienClientError
from mien_client.cli.annotated_files import annotate_file
from mien_client.cli.output import Output
from mien_client.quickstart.group import compose_group
from mien_client.quickstart.samples import SampleFailure, default_folder, fetch_samples
from mien_client.quickstart.server import ServerFailure, free_port, log_end, running_server
from mien_client.quickstart.tour import GALLERY, Sighting, enrol_people, identify_all

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tour and answers its exit code: 0 when every name is right, 1 otherwise, 130 when interrupted."""
    arguments = _arguments(argv)
    output = Output(is_json=False)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        if arguments.data is not None:
            return _tour(arguments, arguments.data, output)
        with tempfile.TemporaryDirectory(prefix="mien-quickstart-") as folder:
            return _tour(arguments, Path(folder) / "store", output)
    except KeyboardInterrupt:
        output.note("Interrupted.")
        return 130
    except (SampleFailure, ServerFailure, MienClientError, OSError) as error:
        output.note(f"quickstart: {error}", style="red")
        return 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mien_client.quickstart",
        description="From photographs to names: fetch samples, start a server, enrol, identify, draw.",
    )
    parser.add_argument("--once", action="store_true", help="end after the tour; fail when a name is wrong")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the store here; default: a temporary folder")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: a free one")
    parser.add_argument("--out", type=Path, default=Path("build/quickstart"), metavar="DIR", help="where pictures go")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="where sample photographs are kept")
    return parser.parse_args(argv)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tour(arguments: argparse.Namespace, store: Path, output: Output) -> int:
    start_s = time.monotonic()
    samples = fetch_samples(arguments.samples or default_folder(), lambda text: _step(output, text))
    _step(output, f"{len(samples)} sample photographs are in {next(iter(samples.values())).parent}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    group, annotated = arguments.out / "group.jpg", arguments.out / "group-named.jpg"
    log = arguments.out / "server.log"
    log.unlink(missing_ok=True)
    compose_group(samples, group)
    port = arguments.port or free_port()
    _step(output, f"starting mien-server on 127.0.0.1:{port}, store {store}")
    with running_server(store, port, log) as server, Client(f"127.0.0.1:{port}") as client:
        enrol_people(client, samples, lambda text: _step(output, text))
        sightings = identify_all(client, samples, group)
        _show(sightings, output)
        refused = annotate_file(group.read_bytes(), sightings[-1].answer, annotated)
        if refused:
            output.note(f"The group picture {refused}", style="red")
        output.say(f"The group picture with names: {annotated}")
        is_right = all(sighting.is_right for sighting in sightings)
        verdict = "Every name is right, and the stranger is unknown." if is_right else "NOT every name is right."
        output.say(f"{verdict} {time.monotonic() - start_s:.1f} s in all.")
        if not arguments.once:
            _say_what_next(output, port, samples["obama.jpg"])
            _until_interrupted(server, log)
            output.say("Ending the server.")
    return 0 if is_right and not refused else 1


def _until_interrupted(server: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for Ctrl-C, which is how people end it and no failure; a server that ends by itself is one."""
    try:
        server.wait()
    except KeyboardInterrupt:
        return
    raise ServerFailure(f"mien-server ended with code {server.returncode}; its log says:\n{log_end(log)}")


def _step(output: Output, text: str) -> None:
    output.say(Text("- ", style="dim") + text)


def _show(sightings: Sequence[Sighting], output: Output) -> None:
    rows: list[Sequence[str | Text]] = []
    for sighting in sightings:
        name, note = sighting.picture, sighting.note
        took = f"{sighting.elapsed_ms:.0f} ms"
        for face in sighting.faces:
            who = Text(face.match.name, style="green") if face.match else Text("Unknown", style="red")
            similarity = f"{face.candidates[0].similarity:.3f}" if face.candidates else "-"
            rows.append((name, note, who, similarity, str(face.decision), took))
            name, note, took = "", "", ""
        if not sighting.faces:
            rows.append((name, note, Text("no face found", style="red"), "-", "-", took))
        if not sighting.is_right:
            wanted = ", ".join(one or "a stranger" for one in sighting.expected)
            rows.append(("", Text(f"expected, from left to right: {wanted}", style="red"), "", "", "", ""))
    output.say("")
    output.table(
        [
            ("Photograph", "whole"),
            "What it shows",
            ("Who", "whole"),
            ("Similarity", "right"),
            ("Decision", "whole"),
            ("Time", "right"),
        ],
        rows,
    )
    output.say("")


def _say_what_next(output: Output, port: int, photograph: Path) -> None:
    mien = f"{_mien_command()} --server 127.0.0.1:{port}"
    output.say(
        "\nThe server is running. In another terminal:\n\n"
        f"  {mien} gallery show {GALLERY}\n"
        f"  {mien} identify {shlex.quote(str(photograph))} --gallery {GALLERY} --annotate named.jpg\n"
        f"  {mien} enroll YOUR_FOLDER --gallery {GALLERY}        # one folder a person in it\n\n"
        "Ctrl-C ends it."
    )


def _mien_command() -> str:
    """The `mien` beside this Python, as it can be pasted."""
    mien = Path(sys.executable).parent / "mien"
    if not mien.exists():
        return f"{shlex.quote(sys.executable)} -m mien_client.cli.main"
    here = Path.cwd()
    return shlex.quote(str(mien.relative_to(here) if mien.is_relative_to(here) else mien))


if __name__ == "__main__":
    sys.exit(main())

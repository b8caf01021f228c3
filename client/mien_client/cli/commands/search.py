"""`mien search`: the nearest enrolled faces, without a decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_client import Client, Effort, EmbeddingBlock, FaceNeighbors, SearchAnswer
from mien_client.cli import exits
from mien_client.cli.output import counted
from mien_client.cli.pictures import Rejection, load, plain_message, shown, unreadable
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands, positive_int

__all__ = ["add"]

_EXAMPLES = """\
examples:
  mien search face.jpg --gallery people
  mien search --embedding probes.npy --gallery mine -k 20 --exact --json
"""


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add(
        "search", _run, "list the enrolled faces nearest to a photograph's or an embedding", epilog=_EXAMPLES
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a photograph; every face is looked up")
    parser.add_argument("--embedding", type=Path, metavar="NPY", help="in place of it: an array [d] or [n, d]")
    parser.add_argument("--normalize", action="store_true", help="the embeddings are not of unit norm; divide by it")
    add_gallery(parser)
    parser.add_argument("-k", type=positive_int, default=10, metavar="K", help="faces for each probe; default: 10")
    parser.add_argument("--exact", action="store_true", help="compare with every row")
    parser.add_argument("--explain", action="store_true", help="say what the search cost")


def _run(arguments: Arguments, session: Session) -> int:
    if (arguments.file is None) == (arguments.embedding is None):
        raise exits.UsageFailure("give either a photograph or --embedding FILE.npy")
    answer = _search(arguments, session.client)
    session.output.document(answer)
    for image in answer.images:
        if image.image.error is not None:
            session.output.note(f"mien: {arguments.file}: {plain_message(image.image.error)}", style="red")
            return exits.REFUSED
    probes = [*answer.embeddings, *(face for image in answer.images for face in image.faces)]
    session.output.table(
        [("Probe", "right"), ("Rank", "right"), "Identity", ("Similarity", "right"), "Face"],
        [row for number, probe in enumerate(probes, start=1) for row in _rows(number, probe)],
    )
    _explain(answer, session)
    return exits.NOT_ALL if any(probe.error for probe in probes) else exits.DONE


def _search(arguments: Arguments, client: Client) -> SearchAnswer:
    effort = Effort(exact=True) if arguments.exact else None
    if arguments.embedding is not None:
        block = EmbeddingBlock(_array(arguments.embedding), normalize=arguments.normalize)
        return client.search_faces(
            arguments.gallery, embeddings=block, k=arguments.k, effort=effort, explain=arguments.explain
        )
    picture = load(arguments.file, client.get_server_info().limits)
    if isinstance(picture, Rejection):
        raise exits.UsageFailure(f"{picture.file} {picture.message}")
    return client.search_faces(
        arguments.gallery, images=[picture.image], k=arguments.k, effort=effort, explain=arguments.explain
    )


def _array(path: Path) -> npt.NDArray[np.floating]:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise exits.UsageFailure(f"{shown(path)} {unreadable(error)}") from error
    except (ValueError, EOFError) as error:
        # numpy's own words advise to load pickles, which run whatever is in them.
        raise exits.UsageFailure(f"{shown(path)} is no .npy file of numbers, as numpy.save writes it") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim not in {1, 2} or not array.size:
        raise exits.UsageFailure(f"{shown(path)} holds no array [d] or [n, d] of numbers")
    return array.astype(np.float32)


def _rows(number: int, probe: FaceNeighbors) -> list[tuple[str, ...]]:
    if probe.error is not None:
        return [(str(number), "-", plain_message(probe.error), "", "")]
    return [
        (str(number), str(rank), near.identity_id, f"{near.similarity:.4f}", near.face_id)
        for rank, near in enumerate(probe.neighbors, start=1)
    ]


def _explain(answer: SearchAnswer, session: Session) -> None:
    told = answer.info.explanation
    if told is None:
        return
    timings = ", ".join(f"{timing.stage} {timing.milliseconds:.2f} ms" for timing in told.timings)
    session.output.say(
        f"plan {told.plan}: {counted(told.rows_scanned, 'row')} compared of {told.matching_faces} that count, "
        f"{told.rows_rescored} rescored, "
        f"{told.lists_scanned} of {told.lists_total} lists, {counted(told.tail_rows, 'row')} of the tail, "
        f"estimated rank-1 agreement {told.recall_estimate:.4f}; {timings}"
    )

"""`mien verify A B`: the same person?"""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from mien_client import DecisionPolicy, EnrolledFace, EnrolledIdentity, Image, InvalidArgument, Limits
from mien_client.cli import exits
from mien_client.cli.output import in_short
from mien_client.cli.pictures import Rejection, load, plain_message
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]

_EXAMPLES = """\
A and B are photographs; with --gallery one may also be identity:ID or face:ID.

examples:
  mien verify passport.jpg camera.jpg
  mien verify camera.jpg identity:ada --gallery people
"""


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("verify", _run, "say whether two photographs show the same person", epilog=_EXAMPLES)
    parser.add_argument("left", metavar="A", help="a photograph, identity:ID or face:ID")
    parser.add_argument("right", metavar="B", help="likewise")
    add_gallery(parser, required=False)
    parser.add_argument("--recipe", default="", help="without a gallery; the server's default if absent")
    parser.add_argument("--threshold", type=float, metavar="S", help="similarity of the same person")


def _run(arguments: Arguments, session: Session) -> int:
    limits = session.client.get_server_info().limits
    left = _side(arguments.left, arguments.gallery, limits)
    right = _side(arguments.right, arguments.gallery, limits)
    policy = None if arguments.threshold is None else DecisionPolicy(similarity=arguments.threshold)
    try:
        answer = session.client.verify_faces(
            left, right, gallery=arguments.gallery, recipe=arguments.recipe, policy=policy
        )
    except InvalidArgument as error:
        raise _by_file(error, arguments) from None
    session.output.document(answer)
    word = Text(answer.decision, style="green" if answer.is_same else "red")
    threshold = answer.threshold
    session.output.say(
        word + f": similarity {answer.similarity:.3f}, threshold {threshold.similarity:.3f} ({in_short(threshold)})."
    )
    for name, image in ((arguments.left, answer.left_image), (arguments.right, answer.right_image)):
        if image is not None and len(image.faces) > 1:
            session.output.note(f"{name} shows {len(image.faces)} faces; the largest was compared.")
    return exits.DONE if answer.is_same else exits.NOT_ALL


def _by_file(error: InvalidArgument, arguments: Arguments) -> InvalidArgument:
    """The error with the file's name in place of the field's."""
    for violation in error.violations:
        side = violation.field.partition(".")[0]
        if side in {"left", "right"}:
            message = f"{getattr(arguments, side)}: {plain_message(error)}"
            return InvalidArgument(message, code=error.code, reason=error.reason, metadata=error.metadata)
    return error


def _side(text: str, gallery: str, limits: Limits) -> Image | EnrolledFace | EnrolledIdentity:
    kind, colon, name = text.partition(":")
    if colon and kind in {"identity", "face"} and not Path(text).exists():
        if not gallery:
            raise exits.UsageFailure(f"{text} is of a gallery; say which with --gallery NAME")
        return EnrolledIdentity(name) if kind == "identity" else EnrolledFace(name)
    picture = load(Path(text), limits)
    if isinstance(picture, Rejection):
        raise exits.UsageFailure(f"{picture.file} {picture.message}")
    return picture.image

"""`mien info`: what is this server?"""

from __future__ import annotations

from mien_client.cli import exits
from mien_client.cli.commands.gallery import index_words
from mien_client.cli.output import counted
from mien_client.cli.session import Arguments, Session
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]

_DAMAGES_SHOWN_MAX = 5


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("info", _run, "show the server: version, recipes, galleries, limits")
    parser.add_argument("--limits", action="store_true", help="show every limit of a request")


def _run(arguments: Arguments, session: Session) -> int:
    info = session.client.get_server_info()
    output = session.output
    output.document(info)
    since = info.start_time.isoformat(" ", "seconds") if info.start_time else "?"
    output.say(f"Mien {info.version} at {session.client.address}, started {since}")
    output.say(f"Store {info.store_id}, format {info.format_version}, revision {info.revision}")
    if info.serves_damaged:
        output.say(f"It serves a damaged store without what is damaged: {counted(info.damage_count, 'thing')}")
    for damage in info.damages[:_DAMAGES_SHOWN_MAX]:
        # What to do about it is said of all of them together.
        output.say(f"Damaged: {damage.message.partition('; ')[0]}")
    if info.damage_count > _DAMAGES_SHOWN_MAX:
        output.say(f"... and {info.damage_count - _DAMAGES_SHOWN_MAX} more, see --json")
    for reason in info.degraded_reasons:
        output.say(f"Degraded: {reason}")
    output.table(
        ["Recipe", "Detector", "Embedder", ("Dimension", "right"), "State"],
        [
            (
                f"{recipe.name} (default)" if recipe.name == info.default_recipe else recipe.name,
                recipe.detector,
                recipe.embedder,
                recipe.dimension,
                "ready" if recipe.available else recipe.unavailable_reason,
            )
            for recipe in info.recipes
        ],
    )
    if info.galleries:
        output.table(
            ["Gallery", ("Identities", "right"), ("Faces", "right"), "Index"],
            [(one.name, one.identity_count, one.face_count, index_words(one.index_state)) for one in info.galleries],
        )
    else:
        output.say("No galleries yet. Make one: mien gallery create NAME")
    if arguments.limits:
        rows = [(name, str(getattr(info.limits, name))) for name in info.limits.__dataclass_fields__]
        output.table(["Limit", ("Value", "right")], rows)
    return exits.DONE

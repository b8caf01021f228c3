"""`mien gallery create|list|show|update|delete`."""

from __future__ import annotations

import argparse

from mien_client import DecisionPolicy, Gallery, IndexState
from mien_client.cli import exits
from mien_client.cli.expiring import length_words, time_to_live
from mien_client.cli.output import Output, counted
from mien_client.cli.session import Arguments, Session
from mien_client.cli.subcommands import Subcommands, positive_int

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """The arguments."""
    group = commands.add_group("gallery", "make, show, change and delete galleries")
    create = group.add("create", _create, "make a gallery", epilog=_CREATE_EXAMPLES)
    create.add_argument("name", metavar="NAME", help="lower-case letters, digits, - and _")
    model = create.add_mutually_exclusive_group()
    model.add_argument("--recipe", default="", help="how photographs become embeddings; the server's default if absent")
    model.add_argument("--precomputed", default="", metavar="MODEL", help="your own embeddings; the model's name")
    create.add_argument("--dimension", type=positive_int, metavar="D", help="components of a precomputed embedding")
    create.add_argument("--display-name", default="", metavar="TEXT", help="for people")
    _add_thresholds(create)
    _add_time_to_live(create)
    group.add("list", _list, "list galleries")
    show = group.add("show", _show, "show one gallery")
    show.add_argument("name", metavar="NAME")
    update = group.add("update", _update, "change a gallery", epilog=_UPDATE_EXAMPLES)
    update.add_argument("name", metavar="NAME")
    update.add_argument("--display-name", metavar="TEXT", help="for people")
    _add_thresholds(update)
    _add_time_to_live(update)
    delete = group.add("delete", _delete, "delete a gallery")
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--force", action="store_true", help="delete the identities and faces in it too")


_CREATE_EXAMPLES = """\
examples:
  mien gallery create people
  mien gallery create staff --recipe dlib --target-fpir 0.01
  mien gallery create mine --precomputed my-model-1 --dimension 512
  mien gallery create visitors --ttl 30d
"""

_UPDATE_EXAMPLES = """\
What --ttl says holds for faces that are enrolled afterwards.

examples:
  mien gallery update visitors --ttl 7d
  mien gallery update visitors --ttl never
"""


def _add_time_to_live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ttl",
        type=time_to_live,
        metavar="LENGTH",
        help="how long faces that name no time of their own are kept: 30d, 12h, ...; never: for ever",
    )


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--threshold", type=float, metavar="S", help="cosine similarity at or above which a face is a match"
    )
    threshold.add_argument(
        "--target-fpir",
        type=float,
        metavar="F",
        help="share of strangers that may be called by a name; the server finds the similarity for it",
    )


def _create(arguments: Arguments, session: Session) -> int:
    if bool(arguments.precomputed) != (arguments.dimension is not None):
        raise exits.UsageFailure("--precomputed MODEL and --dimension D go together")
    made = session.client.create_gallery(
        arguments.name,
        recipe=arguments.recipe,
        precomputed=arguments.precomputed,
        dimension=arguments.dimension or 0,
        display_name=arguments.display_name,
        decision_policy=_decision_policy(arguments),
        default_time_to_live=arguments.ttl,
    )
    session.output.document(made)
    session.output.say(f"Made gallery {made.name}: {_model(made)}.")
    return exits.DONE


def _decision_policy(arguments: Arguments) -> DecisionPolicy | None:
    if arguments.threshold is None and arguments.target_fpir is None:
        return None
    return DecisionPolicy(similarity=arguments.threshold, target_fpir=arguments.target_fpir)


def _update(arguments: Arguments, session: Session) -> int:
    changes = {
        "display_name": arguments.display_name,
        "decision_policy": _decision_policy(arguments),
        "default_time_to_live": arguments.ttl,
    }
    if all(change is None for change in changes.values()):
        raise exits.UsageFailure("nothing to change; give --display-name, --threshold, --target-fpir or --ttl")
    changed = session.client.update_gallery(arguments.name, **changes)
    session.output.document(changed)
    session.output.say(f"Changed gallery {changed.name}; faces enrolled from now on are kept {_kept_words(changed)}.")
    return exits.DONE


def _list(_arguments: Arguments, session: Session) -> int:
    galleries = list(session.client.list_galleries())
    session.output.document({"galleries": galleries})
    if not galleries:
        session.output.say("No galleries yet. Make one: mien gallery create NAME")
        return exits.DONE
    session.output.table(
        ["Gallery", "Model", ("Identities", "right"), ("Faces", "right"), "Kept", "Index"],
        [
            (
                one.name,
                _model(one),
                one.identity_count,
                one.face_count,
                _kept_words(one),
                index_words(one.index_state),
            )
            for one in galleries
        ],
    )
    return exits.DONE


def _show(arguments: Arguments, session: Session) -> int:
    gallery = session.client.get_gallery(arguments.name)
    session.output.document(gallery)
    _print_gallery(gallery, session.output)
    return exits.DONE


def _print_gallery(gallery: Gallery, output: Output) -> None:
    policy = gallery.decision_policy
    rows: list[tuple[str, str]] = [
        ("name", gallery.name),
        ("display name", gallery.display_name),
        ("model", _model(gallery)),
        ("fingerprint", gallery.model.fingerprint),
        ("identities", str(gallery.identity_count)),
        ("faces", str(gallery.face_count)),
        ("decision", _decision_words(policy)),
        ("kept", _kept_words(gallery)),
        ("index", index_words(gallery.index_state)),
        ("measured", _measured_words(gallery.index_state)),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(gallery.labels.items()))),
        ("made", gallery.create_time.isoformat(" ", "seconds") if gallery.create_time else ""),
        ("revision", str(gallery.revision)),
    ]
    output.table(["", ""], [row for row in rows if row[1]])
    if gallery.index_state.ladder:
        output.table(
            [
                ("Step", "right"),
                ("Lists", "right"),
                ("Rank-1 agreement", "right"),
                ("Recall at 10", "right"),
                ("Milliseconds", "right"),
            ],
            [
                (step.step, step.lists, f"{step.rank1_agreement:.4f}", f"{step.recall_at_10:.4f}", step.milliseconds)
                for step in gallery.index_state.ladder
            ],
            title="Efforts, as last measured",
        )


def _delete(arguments: Arguments, session: Session) -> int:
    gone = session.client.delete_gallery(arguments.name, force=arguments.force)
    document = {
        "gallery": arguments.name,
        "deleted_identities": gone.deleted_identities,
        "deleted_faces": gone.deleted_faces,
        "revision": gone.revision,
    }
    session.output.document(document)
    session.output.say(
        f"Deleted gallery {arguments.name} with {counted(gone.deleted_identities, 'identity', 'identities')} and "
        f"{counted(gone.deleted_faces, 'face')}."
    )
    return exits.DONE


def _model(gallery: Gallery) -> str:
    model = gallery.model
    kind = f"recipe {model.recipe}" if model.recipe else f"precomputed {model.precomputed}"
    return f"{kind}, {counted(model.dimension, 'component')}"


def _kept_words(gallery: Gallery) -> str:
    """How long faces are kept that name no time of their own."""
    return "for ever" if gallery.default_time_to_live is None else length_words(gallery.default_time_to_live)


def _decision_words(policy: DecisionPolicy) -> str:
    if policy.similarity is not None:
        return f"match at similarity {policy.similarity:.3f} and above"
    if policy.target_fpir is not None:
        return f"false positive identification rate {policy.target_fpir:g}"
    if policy.target_fmr is not None:
        return f"false match rate {policy.target_fmr:g}"
    return "the recipe's default"


def index_words(state: IndexState) -> str:
    """How a gallery is searched now, in a few words."""
    words = state.state.lower()
    if state.generation:
        words += f", generation {state.generation}: {counted(state.indexed_rows, 'row')}"
    if state.segment_count > 1:
        words += f" in {state.segment_count} segments"
    if state.tail_rows and state.generation:
        words += f" + {state.tail_rows} newer"
    if state.tombstones:
        words += f", {state.tombstones} of them deleted"
    if state.detail:
        words += f" ({state.detail})"
    return words


def _measured_words(state: IndexState) -> str:
    """What the index is known to find, in a few words."""
    if state.measure_time is None:
        return ""
    words = (
        f"{state.default_agreement:.4f} agreement with exact search, "
        f"among {counted(state.measured_rows, 'row')}, {state.measure_time.isoformat(' ', 'seconds')}"
    )
    if state.drift is not None and state.drift > 0:
        words += f"; {state.drift:.4f} less than promised before"
    return words

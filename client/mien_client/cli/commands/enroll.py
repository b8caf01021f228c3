"""`mien enroll`: one folder a person, every photograph counts."""

from __future__ import annotations

import csv
from pathlib import Path

from mien_client import EnrollmentPolicy, MienClientError, MultipleFaces
from mien_client.cli import exits
from mien_client.cli.enrolling import EnrolmentReport, enrol
from mien_client.cli.expiring import moment_of, moment_or_length
from mien_client.cli.folders import Photograph, people_folder, photographs_of
from mien_client.cli.output import Output, counted
from mien_client.cli.pictures import Rejection, rejection_rows
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands, positive_int

__all__ = ["add"]

_JOBS = 4
# More rejected files than this are counted on a terminal, and told in full by --rejects and --json.
_REJECTIONS_SHOWN_MAX = 50

_EXAMPLES = """\
DIR holds one folder a person; the folder's name is the identity's id, and every file in it is a photograph of that
person. Running the command again is safe: what is there already is counted, not added, and keeps its time of expiry.

examples:
  mien enroll photographs --gallery people
  mien enroll photographs --gallery people --rejects rejected.csv
  mien enroll visitors --gallery people --expires 30d
  mien enroll --identity ada --display-name "Ada Lovelace" ada-1.jpg ada-2.jpg --gallery people
"""


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("enroll", _run, "add photographs of people to a gallery", epilog=_EXAMPLES)
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="a folder of folders; FILES with --identity")
    add_gallery(parser)
    parser.add_argument("--identity", default="", metavar="ID", help="all FILES show this one person")
    parser.add_argument("--display-name", default="", metavar="TEXT", help="the name of --identity, for people")
    parser.add_argument(
        "--multiple-faces",
        choices=["refuse", "largest", "all"],
        help="a photograph with several faces; default: as the gallery says, which is refuse unless changed",
    )
    parser.add_argument(
        "--expires",
        type=moment_or_length,
        metavar="WHEN",
        help="when the faces are found no more: a length of time (30d, 12h) or a date (2027-01-01), UTC; "
        "default: as the gallery says",
    )
    parser.add_argument("--rejects", type=Path, metavar="CSV", help="write every rejected file and its reason here")
    parser.add_argument(
        "--jobs", type=positive_int, default=_JOBS, metavar="N", help=f"requests under way at once; default: {_JOBS}"
    )


def _run(arguments: Arguments, session: Session) -> int:
    photographs, rejections = _plan(arguments)
    policy = None
    if arguments.multiple_faces:
        policy = EnrollmentPolicy(multiple_faces=MultipleFaces(arguments.multiple_faces.upper()))
    # Before a minute of reading files, not after it.
    session.client.get_gallery(arguments.gallery)
    limits = session.client.get_server_info().limits
    report = EnrolmentReport(arguments.gallery, files=len(rejections), rejected=rejections)
    try:
        with session.output.progress("Enrolling", len(photographs)) as advance:
            enrol(
                session.client,
                report,
                photographs,
                limits=limits,
                policy=policy,
                expire_time=None if arguments.expires is None else moment_of(arguments.expires),
                jobs=arguments.jobs,
                advance=advance,
            )
    except (MienClientError, KeyboardInterrupt) as error:
        session.output.note(_stopped(report, error))
        raise
    report.rejected.sort(key=lambda one: one.file)
    if arguments.rejects is not None:
        _write_csv(arguments.rejects, report.rejected)
    session.output.document(report)
    _print_report(report, session.output, arguments.rejects)
    return exits.NOT_ALL if report.rejected else exits.DONE


def _stopped(report: EnrolmentReport, error: BaseException) -> str:
    done = f"Stopped with {counted(report.enrolled, 'photograph')} enrolled and {report.already_there} already there."
    # What the server refused once it refuses again.
    is_passing = isinstance(error, KeyboardInterrupt) or (
        isinstance(error, MienClientError) and exits.exit_code(error) == exits.UNREACHABLE
    )
    return f"{done} Run the same command again to go on." if is_passing else done


def _plan(arguments: Arguments) -> tuple[list[Photograph], list[Rejection]]:
    paths: list[Path] = arguments.paths
    if arguments.identity:
        return photographs_of(arguments.identity, arguments.display_name, paths), []
    if len(paths) > 1 or paths[0].is_file():
        raise exits.UsageFailure(
            "give one folder that holds a folder a person, or name the person of the files: "
            "mien enroll --identity ID FILES --gallery NAME"
        )
    if arguments.display_name:
        raise exits.UsageFailure("--display-name goes with --identity")
    return people_folder(paths[0])


def _print_report(report: EnrolmentReport, output: Output, csv_path: Path | None) -> None:
    if report.rejected:
        shown = report.rejected[:_REJECTIONS_SHOWN_MAX]
        output.table([("File", "path"), "Reason", "What to do"], rejection_rows(shown), title="Rejected")
        if len(report.rejected) > len(shown):
            where = f"all are in {csv_path}" if csv_path else "--rejects CSV writes all of them to a file"
            output.say(f"... and {len(report.rejected) - len(shown)} more; {where}")
    if any(one.reason == "MULTIPLE_FACES" for one in report.rejected):
        output.say("--multiple-faces largest enrols the largest face of a photograph that shows several.")
    if report.warned:
        faces = counted(len(report.warned), "enrolled face is", "enrolled faces are")
        output.say(f"{faces} not fit for much (small, blurred, turned away, ...); --json names them.")
    output.say(
        f"{counted(report.files, 'file')} into {report.gallery}: {report.enrolled} enrolled, {report.already_there} "
        f"already there, {len(report.rejected)} rejected; "
        f"{counted(report.identities_created, 'new identity', 'new identities')}."
    )


def _write_csv(path: Path, rejections: list[Rejection]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "identity_id", "reason", "message"])
            writer.writerows((one.file, one.identity_id, one.reason, one.message) for one in rejections)
    except OSError as error:
        raise exits.UsageFailure(f"--rejects {path} cannot be written: {error.strerror or error}") from error

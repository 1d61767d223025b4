"""`xai-core review`: rounds in which a team judges pictures: make, list, close, export, import, agreement, minutes."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xai_core.data.datasets import Dataset
    from xai_core.review.rounds import Round, VerdictKind

VERDICTS_BYTES = 2**20


def add_to(commands: Commands) -> None:
    """Add the command `review` with its actions."""
    command = commands.add_parser(
        "review",
        help="rounds in which a team judges pictures: make, list, close, export, import, agreement, minutes",
        epilog="Rounds are in the database of XAI_REVIEW_DB, or in data/review.sqlite, which the app uses as well.",
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")
    _add_new(actions)
    listing = actions.add_parser("list", help="list all rounds")
    arguments.add_json(listing)
    listing.set_defaults(run=_list)
    export = actions.add_parser("export", help="write a round as JSON, and its votes, verdicts and corrected labels as CSV")
    _add_round(export)
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    export.set_defaults(run=_export)
    opening = actions.add_parser("import", help="open an exported round (JSON) as a new one")
    opening.add_argument("file", type=Path, metavar="FILE")
    opening.set_defaults(run=_import)
    agreement = actions.add_parser("agreement", help="how far the reviewers of a round agree")
    _add_round(agreement)
    arguments.add_json(agreement)
    agreement.set_defaults(run=_agreement)
    state = actions.add_parser("state", help="close the voting of a round of yours (discussion), or end it (done)")
    _add_round(state)
    state.add_argument("state", choices=("discussion", "done"))
    state.set_defaults(run=_state)
    minutes = actions.add_parser("minutes", help="write the minutes of a round")
    _add_round(minutes)
    minutes.add_argument("--out", type=Path, required=True, metavar="FILE", help=".html, .pdf or .md")
    minutes.set_defaults(run=_minutes)


def _add_round(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("round", metavar="ROUND", help="id of a round, see: review list")


def _add_new(actions: Commands) -> None:
    new = actions.add_parser("new", help="make a round of predictions that `classify` wrote")
    new.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a Parquet file of `classify`")
    new.add_argument(
        "--data", required=True, metavar="DATA", help="the dataset that they are of: a folder, ZIP, table, world"
    )
    new.add_argument("--title", required=True)
    pictures = new.add_argument_group("which pictures (several are joined and mixed; default: all errors)")
    pictures.add_argument("--errors", action="store_true", help="all errors")
    pictures.add_argument("--most-confident", type=int, default=0, metavar="N", help="the N most confident errors")
    pictures.add_argument("--true", metavar="CLASS", help="one cell of the confusion matrix, with --predicted")
    pictures.add_argument("--predicted", metavar="CLASS")
    pictures.add_argument("--sample", type=int, default=0, metavar="N", help="N pictures drawn by chance")
    pictures.add_argument("--controls", type=int, default=0, metavar="N", help="N right predictions drawn by chance")
    voting = new.add_argument_group("how it is voted on")
    voting.add_argument(
        "--verdicts", type=Path, metavar="FILE.toml", help="verdicts of your own: [[verdict]] id, title, definition"
    )
    voting.add_argument("--votes-each", type=int, default=0, metavar="K", help="votes for each picture (default: of all)")
    voting.add_argument("--repeats", type=float, default=0.0, metavar="S", help="share of hidden repeats, 0 to 0.5")
    voting.add_argument(
        "--blind", choices=("until voted", "until closed"), default="until voted", help="(default: until voted)"
    )
    voting.add_argument(
        "--as-listed", action="store_true", help="the same order for everybody (default: by chance for each)"
    )
    voting.add_argument("--reveal-after-vote", action="store_true", help="show the prediction only after the vote")
    voting.add_argument("--anonymous", action="store_true", help="leave out the names of reviewers")
    voting.add_argument("--seed", type=int, default=0, help="seed of samples, controls, repeats and orders (default: 0)")
    maps = new.add_argument_group("maps")
    maps.add_argument(
        "--maps", choices=("always", "never", "random"), default="always", help="random: on half of the pictures"
    )
    maps.add_argument("--method", default="grad_cam", metavar="ID", help="method of the maps (default: grad_cam)")
    maps.add_argument("--cut", default="", help="where the model is cut (default: the method's usual place)")
    arguments.add_weights(new)
    new.set_defaults(run=_new)


def _new(args: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import find_method
    from xai_core.data.datasets import open_dataset
    from xai_core.review import from_predictions, rounds
    from xai_core.review.database import open_database

    if (args.true is None) != (args.predicted is None):
        raise BadRequest("A cell of the confusion matrix needs both --true and --predicted.")
    find_method(args.method)
    store, owner, dataset = open_database(), from_predictions.machine_owner(), open_dataset(args.data)
    own: dict[str, Any] = {} if args.verdicts is None else {"verdicts": _verdicts(args.verdicts)}
    round = from_predictions.create(
        args.predictions, dataset, args.title, all_errors=args.errors, most_confident=args.most_confident,
        cell=None if args.true is None else (args.true, args.predicted), sample=args.sample, controls=args.controls,
        person=owner, engine=store, track=arguments.bar, votes_each=args.votes_each, repeats=args.repeats, blind=args.blind,
        random_order=not args.as_listed, reveal_after_vote=args.reveal_after_vote, anonymous=args.anonymous, seed=args.seed,
        maps=args.maps, method=args.method, cut=args.cut, **own,
    )  # fmt: skip
    print(round.id)
    print(f"{round.pictures:,} pictures: {round.settings.source}")
    for name, reason in round.settings.left_out.items():
        print(f"left out: {name}: {reason}")
    for role, token in rounds.invitations(store, round, owner).items():
        print(f"invite a {role}: ?round={round.id}&invite={token}")
    if round.settings.maps != rounds.NEVER:
        _compute_maps(store, round, dataset, args.weights)


def _compute_maps(store: Engine, round: Round, dataset: Dataset, weights: str | None) -> None:
    """The round is there before its maps are: it can be voted on without them."""
    from xai_core.models.loading import load_model
    from xai_core.review import round_maps

    arguments.say("Computing the maps...")
    without = round_maps.compute(store, round, dataset, load_model(round.settings.model, weights), arguments.bar)
    for name, reason in without.items():
        print(f"no map: {name}: {reason}")


def _verdicts(file: Path) -> tuple[VerdictKind, ...]:
    """A round's own verdicts: [[verdict]] tables with id, title and definition."""
    from xai_core.core.files import read_regular
    from xai_core.review.rounds import VerdictKind

    try:
        tables = tomllib.loads(read_regular(file, VERDICTS_BYTES).decode())["verdict"]
        verdicts = tuple(VerdictKind(*(table[name] for name in VerdictKind._fields)) for table in tables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(
            f"{file} has no verdicts that can be read ({error}). Write tables [[verdict]] with id, title and definition."
        ) from None
    if not all(isinstance(text, str) for verdict in verdicts for text in verdict):
        raise BadRequest(f"{file}: id, title and definition of a verdict are texts.")
    return verdicts


def _list(args: argparse.Namespace) -> None:
    from xai_core.review import rounds
    from xai_core.review.database import open_database

    rows = [
        {
            "id": round.id, "title": round.title, "state": round.state, "pictures": round.pictures,
            "owner": round.owner.in_words(), "model": round.settings.model, "made": round.made.isoformat(" ", "seconds"),
        }
        for round in rounds.listed(open_database())
    ]  # fmt: skip
    arguments.print_rows(
        rows, args.json, lambda row: f"{row['id']}  {row['state']:<10}  {row['pictures']:>5} pictures  {row['title']}"
    )


def _round(args: argparse.Namespace) -> tuple[Engine, Round]:
    from xai_core.review import rounds
    from xai_core.review.database import open_database

    store = open_database()
    return store, rounds.load(store, args.round)


def _state(args: argparse.Namespace) -> None:
    from xai_core.review import from_predictions, rounds

    store, round = _round(args)
    print(rounds.set_state(store, round, args.state, from_predictions.machine_owner()).state)


def _export(args: argparse.Namespace) -> None:
    from xai_core.review import round_files

    store, round = _round(args)
    files = {
        "round.json": round_files.export_json(store, round), "votes.csv": round_files.votes_csv(store, round),
        "verdicts.csv": round_files.verdicts_csv(store, round), "relabelled.csv": round_files.relabelled_csv(store, round),
    }  # fmt: skip
    arguments.write(files, args.out)


def _import(args: argparse.Namespace) -> None:
    from xai_core.core.files import read_regular
    from xai_core.review import from_predictions, round_files
    from xai_core.review.database import open_database
    from xai_core.review.round_reader import MOST_BYTES

    try:
        data = read_regular(args.file, MOST_BYTES)
    except OSError as error:
        raise BadRequest(f"{args.file} cannot be read: {error.strerror or error}.") from None
    round = round_files.import_json(open_database(), data, from_predictions.machine_owner())
    print(round.id)
    print(f"{round.title}: {round.pictures:,} pictures")


def _agreement(args: argparse.Namespace) -> None:
    import dataclasses

    from xai_core.review import agreement, votes
    from xai_core.review.minutes_document import COEFFICIENTS, coefficient_in_words

    store, round = _round(args)
    table = votes.table(store, round)
    whole, by_verdict = agreement.agreement(table), agreement.by_verdict(table)
    if args.json:
        print(
            json.dumps(
                {
                    "round": round.id, "overall": dataclasses.asdict(whole),
                    "by_verdict": {verdict: dataclasses.asdict(each) for verdict, each in by_verdict.items()},
                },
                indent=2,
            )
        )  # fmt: skip
        return
    print(f"{round.title}: {whole.votes:,} votes of {whole.people:,} people on {whole.pictures:,} pictures")
    for name, title in COEFFICIENTS.items():
        statistic = getattr(whole, name)
        remark = f"  ({statistic.scope or statistic.why})" if statistic.scope or statistic.why else ""
        print(f"{title:<26} {coefficient_in_words(name, statistic)}{remark}")
    for verdict, each in by_verdict.items():
        alpha = coefficient_in_words("krippendorff", each.krippendorff)
        print(f"  {round.settings.verdict_title(verdict):<26} Krippendorff's alpha {alpha}")


def _minutes(args: argparse.Namespace) -> None:
    from xai_core.core.files import write_atomically
    from xai_core.review import minutes, minutes_document

    def markdown(of: minutes.Minutes) -> bytes:
        return minutes_document.to_markdown(of).encode()

    writers = {".html": minutes_document.to_html, ".pdf": minutes_document.to_pdf, ".md": markdown}
    if args.out.suffix not in writers:
        raise BadRequest(f"Minutes are a file .html, .pdf or .md, not {args.out.name}.")
    store, round = _round(args)
    write_atomically(args.out, writers[args.out.suffix](minutes.minutes(store, round)))
    print(args.out)

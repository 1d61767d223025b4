"""The command line: `xai-core --help`, in a checkout `python -m xai_core --help`."""

import os
import sys
from collections.abc import Sequence

from xai_core.cli import (
    app,
    arguments,
    audit,
    classify,
    compare,
    compare_models,
    evaluate,
    explain,
    fetch,
    measure,
    merge,
    methods,
    metrics,
    models,
    pairs_benchmark,
    probe,
    prompts,
    regions,
    report,
    review,
    train,
    weights,
    world,
)
from xai_core.cli.arguments import Parser
from xai_core.core import settings
from xai_core.core.errors import XaiError
from xai_core.core.version import __version__

COMMANDS = (
    app, explain, compare, measure, compare_models, classify, audit, regions, evaluate, pairs_benchmark, merge, fetch,
    report, review, methods, metrics, models, weights, probe, prompts, train, world,
)  # fmt: skip
MISTAKE = 2
INTERRUPTED, CLOSED_PIPE = 130, 141  # what shells report of programs that SIGINT and SIGPIPE ended: 128 + the signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    0    the command did its work
    2    it could not: one line on the standard error says why
    130  it was interrupted by Ctrl+C
    141  the reader of the standard output left, as in `xai-core methods | head`
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered goes nowhere: else Python reports the same error once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = _parser()
        args, args_more = parser.parse_known_args(argv)
        if args_more and not getattr(args, "takes_more", False):
            parser.error(f"unrecognized arguments: {' '.join(args_more)}")
        args.more = args_more
        settings.check()
        arguments.refuse_addresses(args)
        arguments.name_own_code(args)
        args.run(args)
    except XaiError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever was typed
        return MISTAKE
    return 0


def _parser() -> Parser:
    parser = Parser(prog=settings.PROGRAM, description="Why did an image classifier decide as it did?")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`xai-core app`: serve the dashboard."""

import argparse
import runpy
import sys

from xai_core.cli.arguments import Commands
from xai_core.core import settings
from xai_core.core.errors import BadRequest


def add_to(commands: Commands) -> None:
    """Add the command `app`. Its parser sets `takes_more`: arguments that it does not know reach it as `args.more`."""
    command = commands.add_parser(
        "app",
        help="serve the dashboard",
        epilog="Every option of `streamlit run` may follow, such as --server.headless true.",
        allow_abbrev=False,
    )
    command.add_argument(
        "--address", default="localhost", help="address to serve at: 0.0.0.0 opens it to the network (default: localhost)"
    )
    command.add_argument(
        "--model", action="append", default=[], metavar="MODULE:FUNCTION",
        help="a function of your own that returns a model; may be given several times (XAI_MODELS lists such functions too)",
    )  # fmt: skip
    command.add_argument("--port", type=int, help="port to serve at (default: 8501, or the next one that is free)")
    command.set_defaults(run=_app, takes_more=True)


def _app(args: argparse.Namespace) -> None:
    """Run Streamlit in this process, so that it gets the signals that are meant for it."""
    for name in args.model:
        if not settings.MODEL_FUNCTION.fullmatch(name):
            raise BadRequest(f"--model names a function as package.module:function, not '{name}'.")
    port = [] if args.port is None else [f"--server.port={args.port}"]
    address = f"--server.address={args.address}"
    sys.argv = ["streamlit", "run", str(settings.RESOURCES / "Home.py"), address, *port, *args.more]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)

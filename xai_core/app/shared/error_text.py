"""An error's message as a page shows it."""

from xai_core.core import markdown, settings


def error_text(error: Exception | str) -> str:
    """The message as Markdown that shows it literally, without the folders of the server."""
    return markdown.escape(settings.without_folders(str(error)))

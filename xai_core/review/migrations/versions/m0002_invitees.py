"""People who are invited by their identity before they have come."""

from alembic import op

from xai_core.review.migrations import only_append
from xai_core.review.tables import invitees

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    invitees.create(op.get_bind())
    only_append.make([invitees])

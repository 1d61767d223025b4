"""What alembic runs: the migrations, on the connection that `review/database.py` gives."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()

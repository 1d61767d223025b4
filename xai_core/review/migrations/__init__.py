"""How the tables of the review store came about, step by step: alembic runs what a database lacks."""

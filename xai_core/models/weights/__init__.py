"""Where weights come from, how they are fetched, and how their files are read and checked."""

"""The page Jobs: the long work of the server."""

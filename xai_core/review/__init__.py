"""What people say of pictures: rounds of a team, their votes and verdicts, tags and notes.

The public names, each loaded when it is first used:

from xai_core import review
round = review.create("predictions.parquet", "photos/", "Boats", most_confident=50, controls=10)
review.table(review.open_database(), round)  # all votes, once the voting is closed
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The only part of the package that imports streamlit: caches, controls, session state and display of the pages."""

import gc

# The garbage collector would go through all objects of the libraries again and again while more of them are imported: a
# fifth of the processor's time of that. Streamlit collects at the end of every run anyway.
gc.set_threshold(100_000, 50, 100)

"""The only part of the package that imports streamlit: caches, controls, session state and display of the pages."""

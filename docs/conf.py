"""How Sphinx builds these pages: Markdown through MyST, the API from docstrings, warnings as errors (`make docs`)."""

from gymtwist import __version__

project = "gymtwist"
author = "the gymtwist authors"
copyright = "the gymtwist authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "gymtwist"

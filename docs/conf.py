"""How Sphinx builds the manual: ``make docs``, without the network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from facever.version import __version__

project = "facever"
author = "facever contributors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_reference",
    "docstrings",
    "mathml",
    "option_reference",
    "shell_lines",
]
smartquotes = False  # They make one dash of an option's two.
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "facever"
html_static_path = ["_static"]
html_css_files = ["facever.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
# Pages that stand alone need no list of neighbours.
_ALONE = ("changelog", "contributing", "install", "results", "speed", "tutorial")
html_sidebars = {page: [] for page in _ALONE}
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

"""Pictures: inline SVG for the pages, and the same curves as files for documents."""

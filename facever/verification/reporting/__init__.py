"""Results as files for people and programs.

``report`` writes the files of an evaluation of pairs: the page (``page``), the numbers
(``report_json``) and the curves for documents (``document_figures``).
``identification_page`` makes the pages of identification and BLUFR. The sections of a
page are in ``tables``, ``error_rates_section``, ``calibration_section`` and
``worst_errors``; its charts in
``charts``, drawn with ``svg``; its HTML in ``markup`` and ``report_template.html``.
"""

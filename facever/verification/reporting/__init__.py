"""Results as files for people and programs.

``report`` writes the files of an evaluation of pairs: the page (``page``), the numbers
(``report_json``) and the curves for documents (``charts.documents``). The pages of
identification and BLUFR, of templates and of suites are in ``identification_page``,
``templates_page`` and ``suite_page``. What a page consists of lies in two rooms,
``sections`` and ``charts``; its HTML in ``markup`` and ``report_template.html``.
"""

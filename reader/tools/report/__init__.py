"""Implements `diptych report`: a self-contained HTML page about a dataset.

    write.py           START HERE: dataset folder → HTML file
    distributions.py   rows of samples/ → distributions, longest captions, formats
    token_counts.py    captions → number of occurrences of each token
    gallery.py         selection of records, with thumbnails
    captions.py        token ids of a caption → tokens to display
    key_accounting.py  counts of written and rejected keys → bar segments
    rejects.py         example rejects for each reason
    charts.py          selection of charts
    histogram.py       distribution → bars and axis ticks
    display_text.py    formatting of numbers and untrusted text
    page.py            all contents → HTML: page.html, charts.html, page.css, filter.js

Captions, keys and file names are untrusted text. They reach the page only through
`display_text.shown` and jinja2's escaping. No script contains any of them, and the
page's Content Security Policy forbids all scripts, styles and requests except its own.
"""

# Number of examples by default. The page then has about 1.5 MB.
DEFAULT_SAMPLES = 60

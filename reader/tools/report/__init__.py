"""`diptych report`: what a dataset is, on a page of HTML that needs no network.

    write.py           START HERE: a folder → a page on disk
    distributions.py   rows of samples/ → distributions, longest captions, formats
    token_counts.py    captions → how often each token occurs
    gallery.py         which records are shown, with thumbnails; captions.py: as tokens
    key_accounting.py  what became of every key       rejects.py   examples of these
    charts.py          which charts are drawn; histogram.py: bars and axis ticks
    display_text.py    numbers and untrusted text, fit to be shown
    page.py            all of it → HTML: page.html, charts.html, page.css, filter.js

Captions, keys and file names are untrusted text. They reach the page through
`display_text.shown` and jinja2's escaping alone; no script holds any of them, and the
page's own policy forbids all scripts, styles and requests but its own.
"""

# Examples that are shown unless more or fewer are asked for: a page of about 1.5 MB.
DEFAULT_SAMPLES = 60

"""`diptych report`: what a dataset is, on a page of HTML that needs no network.

    report.py        START HERE: a folder → a page on disk
    statistics.py    rows of samples/ → distributions, the longest captions, formats
    vocabulary.py    captions → how often each token occurs
    gallery.py       which records are shown, and what of them; thumbnails.py, tokens.py
    books.py         what became of every key          rejects.py   examples of these
    charts.py        what is drawn; distribution.py, histogram.py, marks.py draw it
    text.py          numbers and strangers' text, fit to be shown
    page.py          all of it → HTML: page.html, charts.html, page.css, filter.js

Captions, keys and names of files are anybody's text. They reach the page through
`text.shown` and jinja2's escaping alone; no script holds any of them, and the page's
own policy forbids all scripts, styles and requests but its own.
"""

# Examples that are shown unless more or fewer are asked for: a page of about 1.5 MB.
DEFAULT_SAMPLES = 60

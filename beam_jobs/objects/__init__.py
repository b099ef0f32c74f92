"""Objects in buckets: what the job asks of `gs://` and `s3://`, and nothing more.

Buckets know no folders, no renaming and no locks. Names are listed by prefix, an object
appears whole or not at all, and one can be created on condition that there is none.
"""

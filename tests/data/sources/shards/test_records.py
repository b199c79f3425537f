"""What is counted of a shard."""

import hashlib

from ngldm.data.sources.shards.records import Tally


def test_the_tally_has_size_and_hash_of_all_that_came() -> None:
    tally = Tally()
    for part in (b"abc", b"", b"defg"):
        tally.update(part)
    assert (tally.size, tally.sha256) == (7, hashlib.sha256(b"abcdefg").hexdigest())

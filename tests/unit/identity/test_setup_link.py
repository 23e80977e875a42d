from __future__ import annotations

import threading
import time

import pytest

from gateway.errors import ConflictError, ForbiddenError
from gateway.identity.setup_link import LIFE_S, SetupLink

NOW = 1_800_000_000.0


def test_the_link_works_once(tmp_path):
    link = SetupLink(tmp_path)
    token = link.issue(now=NOW)
    with link.redeem(token, now=NOW + 1):
        pass
    with pytest.raises(ForbiddenError), link.redeem(token, now=NOW + 2):
        pass


def test_the_file_is_private_and_does_not_hold_the_token(tmp_path):
    token = SetupLink(tmp_path).issue(now=NOW)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert token.encode() not in file.read_bytes()


def test_a_link_lapses(tmp_path):
    link = SetupLink(tmp_path)
    token = link.issue(now=NOW)
    assert link.matches(token, now=NOW + LIFE_S - 1)
    with pytest.raises(ForbiddenError), link.redeem(token, now=NOW + LIFE_S):
        pass


def test_a_new_link_ends_the_one_before(tmp_path):
    link = SetupLink(tmp_path)
    old, new = link.issue(now=NOW), link.issue(now=NOW)
    assert not link.matches(old, now=NOW)
    assert link.matches(new, now=NOW)


def test_a_failure_while_redeeming_opens_the_link_again(tmp_path):
    link = SetupLink(tmp_path)
    token = link.issue(now=NOW)
    with pytest.raises(ConflictError), link.redeem(token, now=NOW):
        raise ConflictError("the store said no")
    assert link.matches(token, now=NOW)


def test_of_many_who_redeem_at_once_one_gets_through(tmp_path):
    link = SetupLink(tmp_path)
    token = link.issue(now=NOW)
    through, barrier = [], threading.Barrier(8)

    def race():
        barrier.wait()
        try:
            with link.redeem(token, now=NOW):
                through.append(1)
                time.sleep(0.1)  # long enough for all the others to try
        except ForbiddenError:
            pass

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 1


def test_a_withdrawn_or_torn_link_lets_nobody_in(tmp_path):
    link = SetupLink(tmp_path)
    token = link.issue(now=NOW)
    (tmp_path / "setup-link.json").write_bytes(b'{"digest"')
    assert not link.matches(token, now=NOW)
    token = link.issue(now=NOW)
    link.withdraw()
    assert not link.matches(token, now=NOW)
    assert not list(tmp_path.iterdir())

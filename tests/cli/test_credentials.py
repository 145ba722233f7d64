"""Who is logged in where: in a file that nobody else reads, changed by one at a time."""

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.client.credentials import Credential, CredentialsFile, default_path
from cli.failure import Failed

URL = "http://127.0.0.1:8000"


@pytest.fixture
def file(tmp_path: Path) -> CredentialsFile:
    return CredentialsFile(tmp_path / "girih" / "credentials.json")


def credential(number: int = 0) -> Credential:
    return Credential(access_token="a", refresh_token=f"r{number}", expires_at_s=number, url=URL)


def test_what_is_kept_can_be_read_again(file: CredentialsFile) -> None:
    with file.locked() as sessions:
        sessions[URL] = credential(7)

    assert file.read() == {URL: credential(7)}


def test_only_the_owner_can_read_it(file: CredentialsFile) -> None:
    with file.locked() as sessions:
        sessions[URL] = credential()

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_not_used(file: CredentialsFile) -> None:
    with file.locked() as sessions:
        sessions[URL] = credential()
    file.path.chmod(0o644)

    with pytest.raises(Failed, match="can be read by others") as caught:
        file.read()

    assert caught.value.exit_code == 78


def test_who_changes_it_at_once_loses_nothing(file: CredentialsFile) -> None:
    begin = threading.Barrier(8)

    def count(_number: int) -> None:
        begin.wait()
        for _ in range(20):
            with file.locked() as sessions:
                now = sessions.get(URL, credential())
                sessions[URL] = credential(int(now.expires_at_s) + 1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))

    assert file.read() == {URL: credential(160)}


def test_a_change_is_kept_even_when_its_block_fails(file: CredentialsFile) -> None:
    with file.locked() as sessions:
        sessions[URL] = credential()

    def end_session() -> None:
        with file.locked() as sessions:
            del sessions[URL]
            raise Failed("the session has ended")

    with pytest.raises(Failed, match="has ended"):
        end_session()

    assert file.read() == {}


def test_the_last_login_stands_last_also_when_it_was_there_before(file: CredentialsFile) -> None:
    with file.locked() as sessions:
        sessions |= {"one": credential(), "two": credential()}
    with file.locked() as sessions:
        sessions["one"] = sessions.pop("one")

    assert list(file.read()) == ["two", "one"]


def kept(**changed: object) -> str:
    return json.dumps({"sessions": {"u": asdict(credential()) | changed}})


BROKEN = (
    *("", "nonsense", "[]", '{"sessions": {"u": {"x": 1}}}', "{}", "[" * 100_000),
    *(kept(expires_at_s=None), kept(url=5), kept(data_dir=5), kept(access_token=None)),
)


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_explained(file: CredentialsFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.touch(0o600)
    file.path.write_text(text)

    with pytest.raises(Failed, match="remove it and log in again"):
        file.read()


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    file = CredentialsFile(tmp_path / "file" / "credentials.json")

    with pytest.raises(Failed, match="name another with GIRIH_CREDENTIALS"), file.locked():
        pytest.fail("it was locked")


def test_secrets_are_in_no_text_of_it() -> None:
    answer = repr(Credential(access_token="s3cret", refresh_token="s3cret", expires_at_s=0))

    assert "s3cret" not in answer


def test_it_lies_where_configuration_lies(tmp_path: Path) -> None:
    assert default_path({"XDG_CONFIG_HOME": "/config"}) == Path("/config/girih/credentials.json")
    assert default_path({"GIRIH_CREDENTIALS": "/mine.json"}) == Path("/mine.json")
    assert json.dumps(str(default_path({}))).endswith('.config/girih/credentials.json"')

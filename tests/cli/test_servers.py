"""Which girih is meant, and whose session is sent to it."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from girih import servers
from girih.credentials import Credential
from girih.servers import Server, chosen

URL = "http://127.0.0.1:8080"


@pytest.fixture
def up() -> Iterator[Callable[[Path], None]]:
    """Makes a folder look as while `girih up` runs in it; what that leaves behind stays."""
    with ExitStack() as held:
        yield lambda folder: _hold(made(folder), held)
        held.close()


def _hold(folder: Path, held: ExitStack) -> None:
    lock = held.enter_context((folder / ".girih" / "lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)


def made(folder: Path, address: str = "127.0.0.1:8080") -> Path:
    """A folder that `girih up` was killed in."""
    addresses = {"EVENTS_ADDRESS": "127.0.0.1:5", "LATTICE_ADDRESS": "0.0.0.0:6"}
    (folder / ".girih").mkdir(parents=True)
    (folder / ".girih" / "lock").touch()
    environ = {"GATEWAY_ADDRESS": address, **addresses}
    state = {"environ": environ, "is_ready": True}
    (folder / ".girih" / "state.json").write_text(json.dumps(state))
    return folder


def session(url: str = URL, data_dir: Path | None = None) -> Credential:
    return Credential(
        access_token="a",
        refresh_token="r",
        expires_at_s=0.0,
        url=url,
        data_dir=str(data_dir or ""),
    )


def test_the_girih_of_a_folder_is_found_there_and_below(
    tmp_path: Path, up: Callable[[Path], None]
) -> None:
    up(tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    for folder in (tmp_path, below):
        answer = chosen(None, {}, folder, {"other": session("https://elsewhere")})
        assert (answer.url, answer.events_address) == (URL, "127.0.0.1:5")
        assert answer.lattice_address == "127.0.0.1:6"


def test_a_girih_that_is_starting_is_not_called_yet(
    tmp_path: Path, up: Callable[[Path], None]
) -> None:
    up(tmp_path)
    state = tmp_path / ".girih" / "state.json"
    state.write_text(state.read_text().replace("true", "false"))

    with pytest.raises(servers.NotRunning, match="still starting"):
        chosen(None, {}, tmp_path, {})


def test_a_girih_that_has_stopped_is_nobody_else(tmp_path: Path) -> None:
    made(tmp_path)
    logins = {"other": session("https://elsewhere"), "this": session(URL, tmp_path / ".girih")}

    with pytest.raises(servers.NotRunning, match=r"not running here .*; start it: girih up"):
        chosen(None, {}, tmp_path, logins)
    with pytest.raises(servers.NotRunning, match="profile this"):
        chosen("this", {}, tmp_path / "elsewhere", logins)


def test_a_session_of_a_folder_is_not_sent_to_who_listens_there_now(tmp_path: Path) -> None:
    made(tmp_path)
    logins = {"this": session(URL, tmp_path / ".girih")}

    stranger = chosen(URL, {}, tmp_path, logins)

    assert stranger == Server(url=URL)
    assert stranger.profile_in(logins) is None


def test_a_session_of_a_folder_stays_good_when_it_listens_elsewhere(
    tmp_path: Path, up: Callable[[Path], None]
) -> None:
    up(tmp_path)
    logins = {"this": session("http://127.0.0.1:1", tmp_path / ".girih")}

    for named in (None, "this", URL):
        answer = chosen(named, {}, tmp_path, logins)
        assert (answer.url, answer.profile_in(logins)) == (URL, "this")


def test_outside_of_every_folder_it_is_the_last_login(tmp_path: Path) -> None:
    logins = {"first": session("https://first"), "last": session("https://last")}

    answer = chosen(None, {}, tmp_path, logins)

    assert (answer.url, answer.profile, answer.is_last) == ("https://last", "last", True)


def test_without_a_login_nobody_is_called(tmp_path: Path) -> None:
    with pytest.raises(servers.NoServer, match="`girih up` starts one"):
        chosen(None, {}, tmp_path, {})


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"GIRIH_URL": "https://a/", "GIRIH_PROFILE": "p"}, "https://a"),
        ({"GIRIH_PROFILE": "p", "GATEWAY_ADDRESS": "127.0.0.1:1"}, "https://of-p"),
        ({"GATEWAY_ADDRESS": "0.0.0.0:1"}, "http://127.0.0.1:1"),
        ({"GATEWAY_ADDRESS": "[::]:1", "GATEWAY_HTTP_TRANSPORT": "tls"}, "https://[::1]:1"),
    ],
)
def test_the_environment_comes_before_the_folder(
    tmp_path: Path, up: Callable[[Path], None], environ: dict[str, str], url: str
) -> None:
    up(tmp_path)
    logins = {"p": session("https://of-p")}

    assert chosen(None, environ, tmp_path, logins).url == url
    assert chosen("https://said", environ, tmp_path, logins).url == "https://said"


def test_two_logins_at_one_server_are_told_apart_by_their_profiles() -> None:
    logins = {"ada": session(), "omar": session(), "elsewhere": session("https://elsewhere")}

    assert chosen("ada", {}, Path("/"), logins).profile_in(logins) == "ada"
    assert chosen(URL, {}, Path("/"), logins).profile_in(logins) == "omar"


def test_a_folder_that_another_user_made_above_is_not_followed(
    tmp_path: Path, up: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    up(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(servers.NoServer):
        chosen(None, {}, tmp_path, {})


def test_an_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(servers.NoProfile, match="no profile 'x'; there are ada"):
        chosen("x", {}, Path("/"), {"ada": session()})


NO_URLS = (
    *("ftp://x", "http://", "http://x?y", "http://x:abc", "http://x y"),
    *("http://u@x", "http://@x", "http://:secret@x", "http://x\\@y"),
    *("http://local\nhost", "http://x\n", " http://x", "http://x/é"),
)


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    with pytest.raises(servers.NoUrl, match="must be the URL of a gateway"):
        chosen(url, {}, Path("/"), {})

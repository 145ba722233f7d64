"""Server-sent events, read as the HTML standard says."""

from cli.client.sse import ServerEvent, server_events


def read(text: str) -> list[ServerEvent]:
    return list(server_events(text.split("\n")))


def test_an_event_has_its_id_and_its_data() -> None:
    assert read("id: 7\ndata: {}\n\n") == [ServerEvent("message", "{}", "7")]


def test_a_heartbeat_is_no_event() -> None:
    assert read(": alive\n\n: alive\n\n") == []


def test_an_event_that_was_cut_off_is_none() -> None:
    assert read("id: 7\ndata: {}") == []


def test_the_last_id_stays_until_another_is_said() -> None:
    assert [event.id for event in read("id: 7\ndata: a\n\ndata: b\n\nid: 8\ndata: c\n\n")] == [
        *("7", "7", "8")
    ]


def test_a_kind_is_for_one_event() -> None:
    kinds = [event.kind for event in read("event: error\ndata: a\n\ndata: b\n\n")]
    assert kinds == ["error", "message"]


def test_data_of_several_lines_is_one_text() -> None:
    assert read("data: a\ndata:b\n\n")[0].data == "a\nb"

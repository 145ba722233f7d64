"""What a person reads of a gateway's refusal."""

from typing import Any

from cli.client.rest import ErrorBody, Refused


def refusal(*violations: tuple[str, str]) -> Refused:
    fields = [{"field": field, "description": text} for field, text in violations]
    details: dict[str, Any] = {"reason": "INVALID_INPUT", "violations": fields}
    first = "{}: {}".format(*violations[0]) if violations else "the request is not valid"
    error = {"code": "INVALID_ARGUMENT", "message": f"{first} (and more)", "details": details}
    body = ErrorBody.of(400, {"error": error}, "c-1")
    assert body is not None
    refused = body.refusal()
    assert isinstance(refused, Refused)
    return refused


def test_every_bad_field_is_told_by_the_name_of_its_option() -> None:
    refused = refusal(("size", "must be 1 or more"), ("shape[2]", "must be 1 or more"))

    assert str(refused.naming({"size": "--size", "shape": "--shape"})).splitlines() == [
        "--size: must be 1 or more",
        "--shape[2]: must be 1 or more",
        "INVALID_INPUT, correlation id c-1",
    ]


def test_a_refusal_without_fields_is_told_by_its_message() -> None:
    assert str(refusal()).splitlines()[0] == "the request is not valid (and more)"


def test_what_a_gateway_says_of_a_field_does_not_move_the_cursor() -> None:
    assert "\x1b" not in str(refusal(("\x1b[2Ja", "must be"), ("b", "must be \x1b[1A")))

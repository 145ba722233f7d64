"""The routes that are no rpcs: how the gateway is, and its keys. Nobody needs a token for them."""

from typing import Any, Final

from gateway.openapi import failures
from gateway.openapi.components import json_content, reference, response

Json = dict[str, Any]

_TAG: Final = "health"

_X: Final = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
_KID: Final = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
"""The example of a key, and of its thumbprint, in RFC 8037."""


def tag() -> Json:
    return {"name": _TAG, "description": "How the gateway and what is behind it are."}


def paths() -> Json:
    serving = {"status": "SERVING"}
    parts = {"events": {**serving, "latencyMs": 0.9}, "lattice": {**serving, "latencyMs": 1.1}}
    away = {"status": "UNREACHABLE", "latencyMs": 1000.0}
    down = {"status": "NOT_SERVING", "parts": {**parts, "lattice": away}}
    live = json_content(reference("Liveness"), serving)
    key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": _KID, "x": _X}
    keys = json_content(reference("KeySet"), {"keys": [key]})
    return {
        "/health": _path(
            "health_report",
            "Every part and its state",
            "Asks every service behind the gateway now.",
            response("All serves.", json_content(reference("Health"), {**serving, "parts": parts})),
            response("Not all.", json_content(reference("Health"), down)),
        ),
        "/health/live": _path(
            "health_live",
            "The process answers",
            "Says nothing of what is behind it: a restart would not mend that.",
            response("It does.", live),
        ),
        "/health/ready": _path(
            "health_ready",
            "Requests may be sent here",
            "They may when every service behind the gateway serves, and the gateway is not "
            "about to stop.",
            response("They may.", live),
        ),
        "/health/database": _path(
            "health_database",
            "The event store reaches its database",
            "Asks the event store now, which asks its database.",
            response("It does.", json_content(reference("DatabaseHealth"), {"reachable": True})),
        ),
        "/.well-known/jwks.json": _path(
            "keys",
            "The public keys of access tokens",
            "With them anybody can check a token of this gateway's. A token names its key by "
            "`kid`; several keys are listed while one is being replaced by the next.",
            response("The keys.", {"application/jwk-set+json": keys["application/json"]}),
        ),
    }


def _path(
    operation_id: str, summary: str, description: str, well: Json, down: Json | None = None
) -> Json:
    operation = {
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "tags": [_TAG],
        "security": [],
        "responses": {
            "200": well,
            "429": failures.shared(429),
            "431": failures.shared(431),
            "500": failures.shared(500),
            "503": down or failures.shared(503),
        },
    }
    return {"get": operation}

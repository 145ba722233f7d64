"""Which kind of endpoint an http rule leads to."""

from gateway.backends.remote import Backend
from gateway.contract.descriptors import HTTP_BODY
from gateway.contract.rules import Rule
from gateway.endpoints.byte_uploads import ByteUploadEndpoint
from gateway.endpoints.downloads import DownloadEndpoint
from gateway.endpoints.endpoint import Endpoint, EndpointContext
from gateway.endpoints.streams import StreamEndpoint
from gateway.endpoints.unary import UnaryEndpoint
from gateway.endpoints.uploads import UploadEndpoint


def build_endpoint(context: EndpointContext, rule: Rule, backend: Backend) -> Endpoint:
    """Raises ContractError for a rule that cannot be served, or that nobody says a scope of."""
    if rule.takes_bytes:
        return ByteUploadEndpoint(context, rule, backend)
    if rule.method.client_streaming:
        return UploadEndpoint(context, rule, backend)
    if not rule.method.server_streaming:
        return UnaryEndpoint(context, rule, backend)
    if rule.method.output_type.full_name == HTTP_BODY:
        return DownloadEndpoint(context, rule, backend)
    return StreamEndpoint(context, rule, backend)

"""What a worker runs: a function and its argument, which come pickled by the service.

Imports nothing that compiles: what is asked for imports it, once the compiler knows where it may
write.
"""

import pickle
from typing import Any


def perform(payload: bytes) -> Any:  # noqa: ANN401 - whatever the function answers
    """Call a function with its argument.

    The payload is from the service, over the connection that Dask secures: who may send to a
    worker may run anything there.
    """
    function, argument = pickle.loads(payload)  # noqa: S301 - see above
    return function(argument)

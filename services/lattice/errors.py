"""What can go wrong with lattices, by name. Knows nothing of how errors reach callers."""

from typing import ClassVar

from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Scalar,
    Unavailable,
)


class LatticeNotFound(NotFound):
    """There is no lattice of this id, or it was deleted."""

    reason: ClassVar[str] = "LATTICE_NOT_FOUND"


class RequestIdReused(AlreadyExists):
    """The request id was used for another lattice."""

    reason: ClassVar[str] = "REQUEST_ID_REUSED"


class LatticeChanged(Conflict):
    """The lattice kept changing while it was to be changed."""

    reason: ClassVar[str] = "LATTICE_CHANGED"


class LatticesChanged(Conflict):
    """The tenant's lattices kept changing while they were counted."""

    reason: ClassVar[str] = "LATTICES_CHANGED"


class PlanLimit(PermissionDenied):
    """The tenant's plan does not allow this: `limit` says what of it, and `maximum` how much."""

    reason: ClassVar[str] = "PLAN_LIMIT"


class PlanMissing(PermissionDenied):
    """The caller's token names no plan, so nothing may be created with it."""

    reason: ClassVar[str] = "PLAN_MISSING"


class ComputeBusy(ResourceExhausted):
    """As much is computed, and waits to be computed, as the process admits."""

    reason: ClassVar[str] = "COMPUTE_BUSY"


class _RepeatedInVain(ResourceExhausted):
    """A limit that the same call reaches again, however long its caller waits."""

    def __init__(self, message: str, **metadata: Scalar) -> None:
        super().__init__(message, retry_after_s=None, **metadata)


class WorkTooLarge(_RepeatedInVain):
    """The work is estimated to be more than a call may have done. Do not repeat it."""

    reason: ClassVar[str] = "WORK_TOO_LARGE"


class AnswerTooLarge(_RepeatedInVain):
    """The answer does not fit into one message. Repeating the call changes nothing."""

    reason: ClassVar[str] = "ANSWER_TOO_LARGE"


class ConsumerTooSlow(DeadlineExceeded):
    """The caller of a stream did not take a part of its answer in time."""

    reason: ClassVar[str] = "CONSUMER_TOO_SLOW"


class FieldNotFound(NotFound):
    """The lattice has no field of this name."""

    reason: ClassVar[str] = "FIELD_NOT_FOUND"


class FieldExists(AlreadyExists):
    """The lattice has a field of this name."""

    reason: ClassVar[str] = "FIELD_EXISTS"


class UploadNotFound(NotFound):
    """There is no such upload: it was finished, or has expired."""

    reason: ClassVar[str] = "UPLOAD_NOT_FOUND"


class UploadOffset(Conflict):
    """An upload is not where its sender goes on."""

    reason: ClassVar[str] = "UPLOAD_OFFSET"


class UploadsFull(_RepeatedInVain):
    """A tenant has begun as many uploads as may be unfinished at once. Do not repeat it."""

    reason: ClassVar[str] = "UPLOADS_FULL"


class StorageUnavailable(Unavailable):
    """Where arrays are kept cannot be reached, or has no room."""

    reason: ClassVar[str] = "STORAGE_UNAVAILABLE"


class WorkersUnavailable(Unavailable):
    """There are no workers for what one machine's memory does not hold, or they died of it."""

    reason: ClassVar[str] = "WORKERS_UNAVAILABLE"


class ChunkDamaged(DataLoss):
    """A chunk that an event speaks of is missing, or is not what was written."""

    reason: ClassVar[str] = "CHUNK_DAMAGED"


class TransformUnfit(InvalidInput):
    """A step of a chain makes sense, and not for what it is to be applied to."""

    reason: ClassVar[str] = "TRANSFORM_UNFIT"


class UnstableStep(InvalidInput):
    """Steps of diffusion would not converge."""

    reason: ClassVar[str] = "UNSTABLE_STEP"


class NothingToUndo(FailedPrecondition):
    """Nothing was changed since the field was created, or everything is undone."""

    reason: ClassVar[str] = "NOTHING_TO_UNDO"


class NothingToRedo(FailedPrecondition):
    """Nothing is undone that could be done again."""

    reason: ClassVar[str] = "NOTHING_TO_REDO"


class StateGone(NotFound):
    """What a field was is not kept any more, nor what it could be computed from."""

    reason: ClassVar[str] = "STATE_GONE"


class JobNotFound(NotFound):
    """There is no job of this id."""

    reason: ClassVar[str] = "JOB_NOT_FOUND"


class JobFinished(Conflict):
    """The job has succeeded or failed: there is nothing to stop."""

    reason: ClassVar[str] = "JOB_ENDED"


class JobNotCancelled(Conflict):
    """Only a job that was cancelled is gone on with."""

    reason: ClassVar[str] = "JOB_NOT_CANCELLED"


class JobNotBegun(Conflict):
    """The job has computed nothing yet that could be shown."""

    reason: ClassVar[str] = "JOB_NOT_BEGUN"


class JobsChanged(Conflict):
    """The tenant's jobs kept changing meanwhile."""

    reason: ClassVar[str] = "JOBS_CHANGED"

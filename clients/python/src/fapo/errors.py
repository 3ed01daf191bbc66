"""What a server says when it says no."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class FapoError(Exception):
    """A call that failed.

    Attributes:
        reason: the stable upper-case name, such as `TOKEN_EXPIRED`; `docs/errors/<reason>.md` says what to do.
        code: the gRPC status code.
        fields: the parts of the request that are wrong, as (field, what is wrong).
        retry_after: seconds after which the same call may succeed; None where it fails again.
    """

    def __init__(self, message, reason, code, fields=(), retry_after=None):
        super().__init__(f"{reason}: {message}" if reason else message)
        self.reason = reason
        self.code = code
        self.fields = list(fields)
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: grpc.RpcError) -> "FapoError":
        """Reads the details that came with a status."""
        reason, fields, retry_after = "", [], None
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                fields = [(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(error.details(), reason, error.code(), fields, retry_after)

"""The client. One channel, safe to share between threads."""

import hashlib
import json
import time
import uuid
from pathlib import Path

import grpc
import yaml

from .errors import FapoError
from .optimizer.v1 import optimizer_service_pb2 as pb
from .optimizer.v1 import optimizer_service_pb2_grpc as rpc
from .common.v1 import case_pb2
from .project import project_files

#: Bytes of one message of an upload.
PART = 1 << 20
#: Contents looked up at once.
LOOK_UP = 5_000
#: How long a call may take; a stream has no such end.
DEADLINE = 60.0
#: Waits between tries to reach a server that went away, in seconds.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)


class Client:
    """Jobs on a fapo server.

    Args:
        server: `host:port` of the optimizer's gRPC service.
        token: the token that `fapo token create` printed; None where the server asks for none.
        tls: root certificates in PEM where the server speaks TLS; `True` for the machine's own.
    """

    def __init__(self, server, token=None, tls=None):
        if tls:
            roots = None if tls is True else tls
            self._channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(roots))
        else:
            self._channel = grpc.insecure_channel(server)
        self._stub = rpc.OptimizerServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the channel; jobs go on."""
        self._channel.close()

    def submit(self, folder, request_id=None, goal="optimize", split="val", cases=None, sample=0):
        """Uploads what the server does not have yet of the project in `folder`, and makes a job of it.

        Args:
            request_id: sent again with the same content it gives the same job; made up where absent.
            goal: `optimize`, or `evaluate` with `split`, `cases` and `sample`.

        Returns:
            The job, as `fapo.optimizer.v1.Job`.
        """
        folder = Path(folder)
        files = project_files(folder)
        hashes = {name: _sha256(path) for name, path in files.items()}
        self._upload({hashes[name]: path for name, path in files.items()})
        request = pb.SubmitJobRequest(
            request_id=request_id or str(uuid.uuid4()),
            project=_project_name(folder),
            files=[pb.ManifestFile(path=name, sha256=hashes[name]) for name in files],
            goal=_goal(goal, split, cases, sample),
        )
        return self._call(self._stub.SubmitJob, request).job

    def job(self, job_id):
        """A job as it stands."""
        return self._call(self._stub.GetJob, pb.GetJobRequest(job_id=job_id)).job

    def jobs(self, project=""):
        """All jobs, newest first, page by page."""
        token = ""
        while True:
            page = self._call(self._stub.ListJobs, pb.ListJobsRequest(project=project, page_token=token))
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def watch(self, job_id, after_seq=0):
        """A job's events as they come, each as (seq, body), until the job is final.

        A server that goes away for a while is asked again from the last event on: none is lost and none comes twice.
        """
        tries = 0
        while True:
            try:
                request = pb.WatchJobRequest(job_id=job_id, after_seq=after_seq)
                for message in self._stub.WatchJob(request, metadata=self._metadata):
                    for event in message.events:
                        tries, after_seq = 0, event.seq
                        yield event.seq, json.loads(event.body_json)
                    if message.HasField("job"):
                        return
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or tries == len(WAITS):
                    raise FapoError.of(error) from error
                time.sleep(WAITS[tries])
                tries += 1

    def cancel(self, job_id):
        """Ends a job for good."""
        return self._call(self._stub.CancelJob, pb.CancelJobRequest(job_id=job_id)).job

    def pause(self, job_id):
        """Begins nothing new of a job until it is resumed."""
        return self._call(self._stub.PauseJob, pb.PauseJobRequest(job_id=job_id)).job

    def resume(self, job_id):
        """Lets a paused job go on."""
        return self._call(self._stub.ResumeJob, pb.ResumeJobRequest(job_id=job_id)).job

    def lineage(self, job_id):
        """A job's variants and decisions."""
        return self._call(self._stub.GetLineage, pb.GetLineageRequest(job_id=job_id))

    def variant(self, job_id, variant_id):
        """The files of a variant, by path relative to `pipeline/`."""
        request = pb.GetVariantRequest(job_id=job_id, variant_id=variant_id)
        reply = self._call(self._stub.GetVariant, request)
        return {file.path: file.content for file in reply.files.files}

    def report(self, job_id, format="markdown"):
        """A job's report as bytes: `markdown`, `html` or `json`."""
        value = pb.ReportFormat.Value(f"REPORT_FORMAT_{format.upper()}")
        return self._call(self._stub.GetReport, pb.GetReportRequest(job_id=job_id, format=value)).content

    def _call(self, method, request):
        try:
            return method(request, timeout=DEADLINE, metadata=self._metadata)
        except grpc.RpcError as error:
            raise FapoError.of(error) from error

    def _upload(self, contents):
        hashes = list(contents)
        for start in range(0, len(hashes), LOOK_UP):
            request = pb.FindMissingBlobsRequest(sha256=hashes[start : start + LOOK_UP])
            missing = self._call(self._stub.FindMissingBlobs, request).sha256
            for sha256 in missing:
                try:
                    self._stub.UploadBlobs(_parts(contents[sha256]), metadata=self._metadata)
                except grpc.RpcError as error:
                    raise FapoError.of(error) from error


def _parts(path):
    """A file as the messages of an upload."""
    with open(path, "rb") as file:
        part = file.read(PART)
        while True:
            following = file.read(PART)
            yield pb.UploadBlobsRequest(data=part, last=not following)
            if not following:
                return
            part = following


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


def _project_name(folder):
    return yaml.safe_load((folder / "fapo.yaml").read_text(encoding="utf-8")).get("name", "")


def _goal(goal, split, cases, sample):
    if goal == "optimize":
        return pb.Goal(optimize=pb.OptimizeGoal())
    if goal == "evaluate":
        value = case_pb2.Split.Value(f"SPLIT_{split.upper()}")
        return pb.Goal(evaluate=pb.EvaluateGoal(split=value, cases=cases, sample=sample))
    raise ValueError(f"the goal is `optimize` or `evaluate`, not {goal!r}")

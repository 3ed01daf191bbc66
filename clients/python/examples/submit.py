"""Submits a project and prints its progress.

    python submit.py PROJECT --server 127.0.0.1:7401 [--token-file FILE]

The last line is a JSON object with the job's id, status and lineage hash.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from fapo import Client, FapoError


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", help="the project's folder")
    parser.add_argument("--server", default=os.environ.get("FAPO_SERVER", "127.0.0.1:7401"))
    parser.add_argument("--token-file", help="a file with the token; else FAPO_TOKEN is used")
    parser.add_argument("--request-id", help="sent again it gives the same job")
    args = parser.parse_args()
    token = Path(args.token_file).read_text().strip() if args.token_file else os.environ.get("FAPO_TOKEN")
    with Client(args.server, token) as client:
        job = client.submit(args.project, request_id=args.request_id)
        print(f"job {job.job_id}", file=sys.stderr)
        for seq, event in client.watch(job.job_id):
            print(f"{seq:4} {describe(event)}", file=sys.stderr)
        job = client.job(job.job_id)
    status = type(job).DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[job.status].name
    print(
        json.dumps(
            {
                "job": job.job_id,
                "status": status.removeprefix("JOB_STATUS_").lower(),
                "baseline": job.baseline.mean if job.baseline.HasField("mean") else None,
                "best": job.best.mean if job.best.HasField("mean") else None,
                "lineage_hash": job.lineage_hash,
            }
        )
    )
    return 0 if status == "JOB_STATUS_DONE" else 1


def describe(event):
    """An event in one line: its kind, and the short values beside it."""
    facts = [
        f"{key}={value}"
        for key, value in event.items()
        if key != "event" and (isinstance(value, (int, float)) or (isinstance(value, str) and len(value) < 60))
    ]
    return f"{event['event']}: {', '.join(facts)}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (FapoError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")

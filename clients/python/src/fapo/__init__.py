"""A client of fapo servers: submit a project, watch its job, read what came of it."""

from .client import Client
from .errors import FapoError
from .project import project_files

__all__ = ["Client", "FapoError", "project_files"]

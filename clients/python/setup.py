"""Makes the messages and stubs from the protos whenever the package is built: generated code is never committed."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "proto"


class BuildWithProtos(build_py):
    """Runs the protobuf compiler before the package's files are collected."""

    def run(self):
        generate()
        # found anew: the generated packages were not there when setuptools looked first
        self.packages = self.distribution.packages = [
            ".".join(folder.relative_to(HERE / "src").parts)
            for folder in sorted({file.parent for file in (HERE / "src").rglob("*.py")})
        ]
        super().run()


def generate():
    """Writes `fapo/<service>/v1/*_pb2{,_grpc}.py` below `src`."""
    from grpc_tools import protoc

    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    if not sources:
        raise SystemExit(f"no protos in {PROTOS}: build the client inside a checkout of fapo")
    out = HERE / "src"
    includes = protoc._get_resource_file_name("grpc_tools", "_proto")
    failed = protoc.main(
        ["protoc", f"-I{PROTOS}", f"-I{includes}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
        + sources
    )
    if failed:
        raise SystemExit("the protobuf compiler failed")
    for folder in {path.parent for path in (out / "fapo").rglob("*_pb2.py")}:
        while folder != out:
            (folder / "__init__.py").touch()
            folder = folder.parent


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithProtos})

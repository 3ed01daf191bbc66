"""A worker of fapo: loads one function, and calls it as often as it is asked.

It speaks JSON lines: requests on what was its standard input, replies on what was its standard output.

    {"load": {"root": DIR, "file": FILE, "function": NAME, "output_bytes": N, "printed_bytes": N}}
    {"call": INPUT}

    {"ready": VERSION}                                   once, before anything else
    {"loaded": true}
    {"output": VALUE, "printed": TEXT, "cpu": SECONDS}   the CPU time of this process so far
    {"error": ONE_LINE, "memory": BOOL, "printed": TEXT, "cpu": SECONDS}

The two descriptors are put aside before the user's code is loaded, so that nothing it prints, and nothing that a library
writes, is taken for a reply. What it prints with Python is collected; what is written below Python goes to standard error.

Modules are loaded once and keep what they keep: a function that remembers things from call to call can, and nobody
promises that the next call meets the same worker.
"""

import importlib.util
import io
import json
import os
import sys
import time
import traceback

import fapo

MODULE = "fapo_unit"


def put_aside():
    """The two descriptors of the protocol, away from 0 and 1; programs that are started do not inherit them."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(0, closefd=False)
    return requests, replies


class Printed(io.TextIOBase):
    """Keeps the beginning of what is printed."""

    def __init__(self):
        self.most = 4096
        self.begin()

    def begin(self):
        self.parts, self.left = [], self.most

    def writable(self):
        return True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        if self.left > 0:
            self.parts.append(text[: self.left])
            self.left -= len(text)
        return len(text)

    def kept(self):
        text = "".join(self.parts)
        return text + "\n[cut]" if self.left < 0 else text


class Unit:
    """The function, and how to speak of its errors."""

    def __init__(self, load):
        self.root = load["root"]
        self.file = load["file"]
        self.function = None
        self.name = load["function"]
        self.output_bytes = load["output_bytes"]

    def load(self):
        path = os.path.join(self.root, self.file)
        # what stands beside the file comes first, as for any script; then the root
        sys.path[:0] = list(dict.fromkeys([os.path.dirname(path), self.root]))
        spec = importlib.util.spec_from_file_location(MODULE, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE] = module
        spec.loader.exec_module(module)
        self.function = getattr(module, self.name, None)
        if not callable(self.function):
            raise AttributeError(f"there is no function `{self.name}` in {self.file}")

    def call(self, value):
        fapo._inputs = value
        try:
            output = self.function(value)
        finally:
            fapo._inputs = None
        return self.encode(output)

    def encode(self, output):
        try:
            # NaN and the infinities are no JSON; a lone surrogate is no text
            line = json.dumps(output, allow_nan=False, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"`{self.name}` returned what JSON cannot hold: {error}") from None
        if len(line) > self.output_bytes:
            raise ValueError(f"`{self.name}` returned {len(line)} bytes, more than the {self.output_bytes} allowed")
        return line

    def line(self, error):
        """The exception and where it was raised, in one line."""
        kind = type(error).__name__
        # a syntax error says its place by itself, without the folder
        text = error.msg if isinstance(error, SyntaxError) and error.filename else str(error)
        text = " ".join(str(text).split())
        if len(text) > 500:
            text = text[:500] + "..."
        where = self.where(error)
        said = f"{kind}: {text}" if text else kind
        return f"{said} ({where})" if where else said

    def where(self, error):
        if isinstance(error, SyntaxError) and error.filename:
            return f"{self.relative(error.filename)}:{error.lineno}"
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if self.is_own(frame.filename)]
        if own:
            return f"{self.relative(own[-1].filename)}:{own[-1].lineno}"
        return None

    def is_own(self, path):
        return os.path.abspath(path).startswith(self.root + os.sep)

    def relative(self, path):
        return os.path.relpath(path, self.root) if self.is_own(path) else path


def main():
    requests, replies = put_aside()
    printed = Printed()
    sys.stdout = sys.stderr = printed
    unit = None

    def reply(line):
        replies.write(line + b"\n")
        replies.flush()

    def say(**parts):
        reply(json.dumps(parts).encode("ascii"))

    say(ready=sys.version.split()[0])
    for request in requests:
        printed.begin()
        try:
            request = json.loads(request)
            if "load" in request:
                load = request.pop("load")
                printed.most = load["printed_bytes"]
                unit = Unit(load)
                unit.load()
                say(loaded=True)
            else:
                output = unit.call(request.pop("call"))
                tail = json.dumps({"printed": printed.kept(), "cpu": time.process_time()})
                reply(b'{"output": ' + output + b", " + tail[1:].encode("ascii"))
        except BaseException as error:  # SystemExit too: a worker ends when it is told to
            memory = isinstance(error, MemoryError)
            line = unit.line(error)
            del error
            say(error=line, memory=memory, printed=printed.kept(), cpu=time.process_time())


if __name__ == "__main__":
    main()

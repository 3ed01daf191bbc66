"""What a step or a scorer gets, within easy reach.

A function is called with one dict. This module gives the same dict to code that is further down, and finds things in it:

    import fapo

    def run(inputs):
        for document in fapo.documents():
            ...
        question = fapo.get("input.question", default="")

Everything here belongs to the call that is under way. Nothing is written anywhere, and there is no network.
"""

_inputs = None


def inputs():
    """The dict that the function was called with."""
    if _inputs is None:
        raise RuntimeError("there are no inputs outside a call")
    return _inputs


def get(path, default=None, within=None):
    """What stands at a path such as `steps.retrieve.docs.0.text`, or `default` where there is nothing."""
    value = inputs() if within is None else within
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return default
    return value


def documents(within=None):
    """All documents, in order: dicts with a `text`, wherever they stand in lists; one with the same `doc_id` (or `id`) only once."""
    found, seen = [], set()

    def visit(value):
        if isinstance(value, dict):
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                if isinstance(inner, dict) and isinstance(inner.get("text"), str):
                    name = inner.get("doc_id", inner.get("id"))
                    if name is None or name not in seen:
                        found.append(inner)
                        if name is not None:
                            seen.add(name)
                else:
                    visit(inner)

    visit(inputs() if within is None else within)
    return found


def text(documents_=None, separator="\n\n"):
    """The documents' texts as one."""
    return separator.join(document["text"] for document in (documents() if documents_ is None else documents_))

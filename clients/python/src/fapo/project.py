"""Which files of a folder are a project's: those that `fapo submit` sends."""

from pathlib import Path

import yaml

#: Single files beside fapo.yaml that a project may have.
BESIDE = ("fapo.yaml", "PLAYBOOK.md")


def project_files(folder) -> dict[str, Path]:
    """The files that a job is made of, by path relative to `folder` with `/` between the parts.

    Data, documents and simulated worlds are those that fapo.yaml names; the rest stands at fixed places. Hidden files, and all else that lies in
    the folder, stay where they are.

    Raises:
        FileNotFoundError: where there is no fapo.yaml, or a file that it names is not there.
        ValueError: where a named file lies outside the folder.
    """
    root = Path(folder)
    spec = yaml.safe_load((root / "fapo.yaml").read_text(encoding="utf-8")) or {}
    files = {name: root / name for name in BESIDE if (root / name).is_file()}
    data = spec.get("data") or {}
    named = [data.get(split) for split in ("train", "val", "test")]
    named += list((data.get("corpora") or {}).values())
    named += [model.get("world") for model in (spec.get("models") or {}).values()]
    for name in filter(None, named):
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"fapo.yaml names {name}, which is outside the project's folder")
        if not path.is_file():
            raise FileNotFoundError(f"fapo.yaml names {name}, and there is no such file in {root}")
        files[Path(name).as_posix()] = path
    for tree, endings in (("pipeline", None), ("scorers", (".py",)), ("agents", (".md",))):
        for path in sorted((root / tree).rglob("*")):
            parts = path.relative_to(root).parts
            hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
            if path.is_file() and not hidden and (endings is None or path.suffix in endings):
                files["/".join(parts)] = path
    return dict(sorted(files.items()))

"""Where am I: this machine or Colab, which folders to use; and how files are written so that none is lost."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CONTENT = Path("/content")  # the local disk of a Colab runtime
DRIVE = CONTENT / "drive/MyDrive"
NAME = "chest-xray-notebooks"
# what runs of the project
PARTS = ("utils", "study", "models", "notebooks", "examples", "data_manifest.csv", "requirements.txt")
WRITTEN = ".written.json"  # in a folder of results: {file: digest of what was written there}
COMMIT = "$Format:%h$"  # git fills it in where it makes a zip of the project
RUNTIME_MENU = "Runtime > Change runtime type"
RECORDED = ("tensorflow", "keras", "numpy", "scikit-learn", "pillow")  # whose versions a result records


class ExplainedError(Exception):
    """An error whose message is all that a reader needs: what was looked for, where, and what to do next.

    Notebooks show the message alone, without a traceback.
    """

    def _render_traceback_(self):  # IPython asks for this
        return [str(self)]


def in_colab():
    """True inside a Colab notebook or a process started by one. Kaggle's machines are built on Colab's."""
    on_kaggle = "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    return not on_kaggle and ("google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ)


def in_notebook():
    """True where figures and bars can be shown, and not in a plain Python process."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@dataclass(frozen=True)
class Workspace:
    """The folders and switches of one session.

    home: what must survive the session (runs, figures); on Drive where it is mounted.
    scratch: fast local disk for the packed images; lost with a Colab runtime.
    quick: CXR_QUICK=1, everything small on the same code path.
    data: CXR_DATA, a folder or zip of radiographs, or None.
    read_only: the folder of results that was meant, if it can be read and not written, as on a full Drive;
        then `home` is another one, and runs and radiographs are looked for in both.
    """

    home: Path
    scratch: Path
    quick: bool
    data: Path | None
    read_only: Path | None = None

    @property
    def homes(self):
        """The folders of results to look into. Raises ExplainedError if Drive is not there any more."""
        try:
            check_connected(self.home)
        except OSError as error:
            raise ExplainedError(
                f"{error}: your runs and radiographs there cannot be read. Run the Setup cell again. If that "
                "does not help: Runtime > Disconnect and delete runtime, and then run all cells."
            ) from None
        return [folder for folder in (self.home, self.read_only) if folder]

    @property
    def runs(self):
        return self.home / "runs"

    @property
    def local_runs(self):
        """Where a training works; the same as `runs` unless that is on Drive."""
        return self.scratch / "runs"

    @property
    def on_drive(self):
        return self.home.is_relative_to(DRIVE)


def open_workspace(use_drive=True):
    """Read the headless settings (CXR_HOME, CXR_QUICK, CXR_DATA) and return a Workspace."""
    here = CONTENT / "cxr" if in_colab() else PROJECT / "results"
    default = DRIVE / NAME if use_drive and os.path.isdir(DRIVE) else here
    wanted = Path(os.environ.get("CXR_HOME") or default).expanduser().resolve()
    home = save_somewhere(wanted, check_writable)
    read_only = wanted if home != wanted and wanted.is_dir() else None
    if read_only:
        print(f"What lies in {read_only} is still read: your runs, and your radiographs.")
    data = os.environ.get("CXR_DATA")
    return Workspace(
        home=home,
        scratch=here if in_colab() else home,
        quick=os.environ.get("CXR_QUICK") == "1",
        data=Path(data).expanduser().resolve() if data else None,
        read_only=read_only,
    )


# Files


@contextlib.contextmanager
def whole(path):
    """Where to write a file so that `path` holds the old or the new content, never half of it.

    Yields a hidden path beside it that no other process uses. When the block ends without an error,
    what was written there is on the disk and takes the name `path`; nothing happens if the block
    removed it. Every file is written so.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        yield partial
        if partial.exists():
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path, content):
    """Write text or bytes to `path`, whole or not at all; returns the path."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_beside(folder, files):
    """Write files, {name: text or bytes}, into a folder, where what somebody has changed since stays.

    Which files are as they were written, WRITTEN in the folder tells. Any other stays; the new one gets a
    number, and a sentence says so. Returns the paths.
    """
    folder, paths, kept = Path(folder), [], []
    written = json.loads((folder / WRITTEN).read_text()) if (folder / WRITTEN).exists() else {}
    for name, content in files.items():
        new, number = Path(name), 1
        while (path := folder / new).exists() and (now := digest(path.read_bytes())) != digest(content):
            if written.get(new.as_posix()) == now:
                break
            number += 1
            new = Path(name).with_stem(f"{Path(name).stem}_{number}")
        kept += [f"{name} (the new one: {new.name})"] if number > 1 else []
        written[new.as_posix()] = digest(content)
        paths.append(write_whole(path, content))
    write_whole(folder / WRITTEN, json.dumps(written, indent=1))
    if kept:
        print(f"In {folder} these files were changed by somebody, so they stay: {', '.join(kept)}.")
    return paths


def check_connected(folder):
    """Raise OSError if a folder is on Google Drive and Drive is not mounted any more.

    Without this, files would go to the runtime's own disk, and block the next mounting.
    """
    if DRIVE in (Path(folder), *Path(folder).parents) and not os.path.ismount(DRIVE.parent):
        raise OSError(f"{DRIVE.parent} is not connected")


def check_writable(folder):
    """Make `folder` if need be, and write and delete a small file there; returns it. Raises OSError."""
    check_connected(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-test-", buffering=0) as file:
        file.write(b"test")
        os.fsync(file.fileno())
    return Path(folder)


def save_somewhere(folder, save):
    """save(folder); where that cannot be written, the same elsewhere, and a sentence says where.

    save: function of a folder. Returns what it returns.
    """
    folder = Path(folder)
    try:
        check_connected(folder)
        return save(folder)
    except OSError as error:
        other = (CONTENT / "cxr" if in_colab() else Path(tempfile.gettempdir()) / NAME) / folder.name
        print(f"{folder} cannot be written ({error}). The files go to {other} instead; copy them from there.")
        return save(other)


def lock(path):
    """A lock on a file or folder, for all processes of this machine; a filelock.FileLock, not yet acquired.

    It lies in the temporary folder: on Google Drive and network disks a lock may not hold. The system
    frees it when the process ends, however it ends.
    """
    from filelock import FileLock

    name = f"chest-xray-{digest(str(Path(path).absolute()))}.lock"
    return FileLock(Path(tempfile.gettempdir()) / name)


def digest(content):
    """First 16 hexadecimal digits of the SHA-256 of bytes or text."""
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")  # file names may be no text
    return hashlib.sha256(content).hexdigest()[:16]


def show_files(folder, pattern="*", download=False):
    """Say in one line what lies in a folder; in Colab, `download` hands it to the browser, zipped."""
    paths = [path for path in sorted(Path(folder).rglob(pattern)) if path.is_file() and path.name[0] != "."]
    names = ", ".join(path.name for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
    count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    print(f"{folder}: {count}, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB ({names})")
    if download and paths and in_colab():
        from google.colab import files

        packed = paths[0]
        if len(paths) > 1:
            packed = Path(tempfile.mkdtemp()) / f"{Path(folder).name}.zip"  # read later, by the browser
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in paths:
                    archive.write(path, path.relative_to(folder))
        files.download(str(packed))


def copy_to_local_disk():
    """Copy what runs of this project to Colab's own disk; returns the copy's folder.

    Code on a mounted Drive fails when the connection drops, and every later import in Python with it.
    """
    copy = CONTENT / NAME
    partial = Path(tempfile.mkdtemp(dir=CONTENT))
    for part in PARTS:
        take = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        take(PROJECT / part, partial / part)
    shutil.rmtree(copy, ignore_errors=True)  # a copy that was broken off
    partial.chmod(0o755)
    print(f"The project's code was copied from {PROJECT} to {copy}. Changes there count after a restart.")
    return partial.rename(copy)


def progress(items, doing, each=1):
    """The same items, with a bar that shows only where it takes long. each: how many things an item holds."""
    from tqdm.auto import tqdm

    return tqdm(items, doing, unit="", unit_scale=each, delay=2, mininterval=1)


# What a result records of where it was computed


def version_of(package):
    """Installed version of `package` without importing it, or 'missing'."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def versions():
    """Versions that belong in every record of a result: {'python': '3.12.1', ...}."""
    return {"python": platform.python_version()} | {name: version_of(name) for name in RECORDED}


def code_version():
    """Which version of the code this is: a git commit, '+' if changed since; from a zip, its commit."""
    describe = ["git", "-C", str(PROJECT), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no git" if COMMIT.startswith("$") else COMMIT


def device_name():
    """The name of the GPU or TPU, else the number of CPU cores."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        if names:
            return names.splitlines()[0]
    if version_of("tensorflow") == "missing" and version_of("jax") != "missing":
        import jax

        if (device := jax.devices()[0]).platform != "cpu":
            return device.device_kind  # such as TPU v5 lite
    return f"CPU, {os.cpu_count()} cores"

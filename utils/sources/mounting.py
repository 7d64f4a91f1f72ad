"""Google Drive in Colab: mount it, and what its failures mean. Needs no PyDrive2, which TPU runtimes lack.

No flush() here: Colab uploads by itself, and flush_and_unmount takes Drive away from the running notebook.
"""

import re

from ..data.formats import DataError
from ..workspace import DRIVE, check_writable

RESTART = "Choose Runtime > Disconnect and delete runtime, and run this notebook again."
ADVICE = {  # what a failure says: what to do; the first that fits
    "unsupported in|no module": "That works only in Colab (with its standard runtimes).",
    "client.secrets|non.interactive": "Simplest: download the file by hand and set CXR_DATA to its path.",
    "credential|rejected|insufficientPerm": "Run this cell again and tick every box of the permissions.",
    "timeout": "Try again; if My Drive holds thousands of files at its top, move them into a folder first.",
    "mount failed|already contain": f"Save what is there and not on Drive, if anything. {RESTART}",
    "storageQuota|no space|disk quota": "The disk or Drive is full. Delete files, also in the trash.",
    "abusive": "Google takes this file for harmful and does not give it away. Make a new zip of the images.",
    "web page|quota": "Too many downloads, or too big for a virus check: use a copy in your own Drive.",
    "read-only|permission denied|not permitted": "You may only read there. Choose another folder.",
    "no such|not connected|input/output|a directory": "Check the path; on Drive, run the Setup cell again.",
    "status 401|token": f"The sign-in has expired. {RESTART}",
    "domain policy|status 403": "Ask the owner to share it with you, or sign in with another Google account.",
    "status 404": "Is the link complete, and shared with the account you signed in with?",
    "": "Google or your connection does not work at the moment. Run this cell again: it goes on from here.",
}


class DriveError(DataError):
    """Something on Google Drive did not work; the message says what to do."""


def explained(what, failure):
    advice = next(words for part, words in ADVICE.items() if re.search(part, str(failure), re.I))
    return DriveError(f"{what}. {advice} ({failure})")


def mount(timeout_s=300):
    """Mount Google Drive in Colab, in `timeout_s` seconds; returns My Drive's path. Raises DriveError."""
    for force in (False, True):
        try:
            from google.colab import drive as colab_drive

            colab_drive.mount(str(DRIVE.parent), force_remount=force, timeout_ms=int(timeout_s * 1000))
            return DRIVE.resolve(strict=True)
        except Exception as error:  # ImportError, ValueError, OSError, MessageError, pexpect's TIMEOUT
            failure = str(error).partition("\n")[0]
        if re.search("credential|unsupported|module", failure, re.I):  # refused, or not Colab: do not nag
            break
    raise explained(
        "Drive is not mounted. To go on without it (files will vanish): USE_DRIVE = False", failure
    )


def prove_writable(folder):
    """Write, read back and delete a small file in `folder`; raises DriveError in words if that fails."""
    try:
        check_writable(folder)
    except OSError as error:
        raise explained(f"{folder} cannot be written", error) from None

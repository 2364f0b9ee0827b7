"""Windows: secrets that only this user of this computer can decrypt, through the Data Protection API.

https://learn.microsoft.com/windows/win32/api/dpapi/nf-dpapi-cryptprotectdata
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from MahtAILib.client.secret_file import read_secrets, write_secrets

_UI_FORBIDDEN = 0x1


class DpapiKeyring:
    """A file in which each secret is encrypted by Windows for its user."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, name: str) -> str:
        """Empty where there is none, or where it was encrypted for another user."""
        kept = read_secrets(self._file).get(name, "")
        try:
            return _crypt("CryptUnprotectData", bytes.fromhex(kept)).decode() if kept else ""
        except (OSError, ValueError):
            return ""

    def set(self, name: str, secret: str) -> None:
        """Raises OSError where Windows does not do it."""
        encrypted = _crypt("CryptProtectData", secret.encode()).hex()
        write_secrets(self._file, {**read_secrets(self._file), name: encrypted})

    def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        kept = read_secrets(self._file)
        if kept.pop(name, None) is not None:
            write_secrets(self._file, kept)


if sys.platform == "win32":

    class _Blob(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint32), ("data", ctypes.c_void_p))

    def _crypt(function: str, data: bytes) -> bytes:
        """Call CryptProtectData or CryptUnprotectData; both have seven arguments, most of them of no use here."""
        buffer = ctypes.create_string_buffer(data, len(data))
        given, answer = _Blob(len(data), ctypes.cast(buffer, ctypes.c_void_p)), _Blob()
        call = getattr(ctypes.WinDLL("crypt32", use_last_error=True), function)
        if not call(ctypes.byref(given), None, None, None, None, _UI_FORBIDDEN, ctypes.byref(answer)):
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            return ctypes.string_at(answer.data, answer.size)
        finally:
            ctypes.WinDLL("kernel32").LocalFree(ctypes.c_void_p(answer.data))
else:

    def _crypt(function: str, data: bytes) -> bytes:
        raise OSError(f"{function} is of Windows")

"""Why an encrypted connection could not be set up, in words: each cause has a remedy of its own."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from MahtAILib.client.errors import CertificateError, ChangedAuthorityError, UnknownAuthorityError

# Numbers of X509_verify_cert_error_string, see x509_vfy.h of OpenSSL
_NOT_YET, _EXPIRED = 9, 10
_NO_AUTHORITY = (18, 19, 20, 21)
_OTHER_NAME = (62, 64)

_NOTHING_SENT = "Nothing was sent."


def certificate_error(causes: Sequence[BaseException], where: str, is_pinned: bool) -> CertificateError:
    """The typed error for a handshake that failed.

    Args:
        causes: the error and all that it was made from.
        where: host and port.
        is_pinned: whether only the authority that the reader confirmed for this server is trusted.
    """
    said = " ".join(map(str, causes))
    if "WRONG_VERSION_NUMBER" in said or "record layer" in said:
        return CertificateError(
            f"The server at {where} does not use encryption, but the address begins with https://.",
            "Write http:// if the server is on this computer; otherwise ask the person who runs it.",
        )
    refused = [cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)]
    code = refused[0].verify_code if refused else 0
    if code in _OTHER_NAME or "doesn't match" in said:
        return CertificateError(
            f"The certificate of the server at {where} is for another name. {_NOTHING_SENT}",
            "Write the address with the name for which the certificate was made, or ask the person who runs the server "
            "to make one for this name.",
        )
    if code in (_EXPIRED, _NOT_YET):
        state = "has expired" if code == _EXPIRED else "is not valid yet"
        return CertificateError(
            f"The certificate of the server at {where} {state}. {_NOTHING_SENT}",
            "Check this computer's date and time; otherwise tell the person who runs the server.",
        )
    if refused and is_pinned:
        return ChangedAuthorityError(
            f"The server at {where} has another certificate authority than the one that you confirmed for it. "
            f"{_NOTHING_SENT}",
            "Somebody may stand between you and the server: ask the person who runs it. Only if they made a new one, "
            "press “Forget its certificate”, connect again and compare the new fingerprint with theirs.",
        )
    if code in _NO_AUTHORITY:
        return UnknownAuthorityError(
            f"The identity of the server at {where} could not be verified: its certificate is not trusted here.",
            "Ask IT to install the hospital's certificate authority on this computer, or press Connect and compare its "
            "fingerprint. Do not send images until then.",
        )
    return CertificateError(
        f"No encrypted connection to the server at {where} could be set up. {_NOTHING_SENT}",
        "Tell the person who runs the server; it needs TLS 1.2 or 1.3 and a certificate that this computer can verify.",
    )

"""What the forms of all resources share; the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

EXAMPLE_HASH = "0f343b0931126a20f133d67c2b018a3b5e1c2a6c4c8f7d9d3a7e1f5b2c4d6e8f"
EXAMPLE_ID = "2f1c6c1e-5d0b-4a53-9f5e-0f6f2a1d7b3c"


def storable(text: str) -> str:
    """The text as it is.

    Raises:
        ValueError: no table can hold it: it has a NUL, or half of a pair of surrogates.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds characters that cannot be stored")
    return text


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, hexadecimal, lower case.")]
Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Slug = Annotated[Text, Field(min_length=1, max_length=32)]
Identifier = Annotated[Text, Field(min_length=1, max_length=64)]


class Form(BaseModel):
    """A request body: unknown members are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """A response body, made from the services' values."""

    model_config = ConfigDict(from_attributes=True)

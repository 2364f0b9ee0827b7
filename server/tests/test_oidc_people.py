"""The hospital's sign-in: who is let in, as whom, and who is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foreign_sign_in_kit import Hospital, database, hospital, issuer, refused
from issuer import FakeIssuer
from mahtai.db.engine import Database
from mahtai.security.accounts import AccountChange
from mahtai.security.oidc import HospitalSignInError, NoRole
from oidc_kit import Program

__all__ = ["database", "hospital", "issuer"]


def test_secret_goes_in_the_body_where_the_issuer_wants_it_there(hospital: Hospital) -> None:
    hospital.issuer.auth_methods = ["client_secret_post", "private_key_jwt"]
    assert hospital.whole_way().role == "radiologist"


def test_same_person_is_the_same_account_and_the_role_follows(hospital: Hospital) -> None:
    first = hospital.whole_way()
    hospital.issuer.person |= {"roles": ["staff"], "name": "Anna Weber-Schmidt", "email": "other@example.org"}
    second = hospital.whole_way()
    assert (second.id, second.role) == (first.id, "viewer")


def test_first_pair_of_the_setting_wins(hospital: Hospital) -> None:
    hospital.issuer.person["roles"] = ["staff", "radiology", "chief"]
    assert hospital.whole_way().role == "admin"


def test_local_account_of_the_same_name_is_not_taken_over(hospital: Hospital) -> None:
    local = hospital.accounts.add("anna weber", "admin", "correct horse battery staple")
    foreign = hospital.whole_way()
    assert foreign.id != local.id
    assert foreign.name == "Anna Weber-2"
    assert foreign.role == "radiologist"
    assert hospital.accounts.get(local.id) == local


def test_somebody_else_with_the_same_name_and_address_is_another_account(hospital: Hospital) -> None:
    hospital.issuer.person["email"] = "anna@example.org"
    first = hospital.whole_way()
    hospital.issuer.person["sub"] = "u-4712"
    second = hospital.whole_way()
    assert first.id != second.id
    assert {first.name, second.name} == {"Anna Weber", "Anna Weber-2"}


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["radiology"]}}),
        ("https://hospital.example/roles", {"https://hospital.example/roles": ["radiology"]}),
        ("group", {"group": "radiology"}),
    ],
)
def test_roles_are_found_where_the_setting_says(
    path: str, claims: dict[str, Any], issuer: FakeIssuer, tmp_path: Path, database: Database
) -> None:
    del issuer.person["roles"]
    issuer.person |= claims
    assert Hospital(issuer, tmp_path, database, oidc_role_claim=path).whole_way().role == "radiologist"


@pytest.mark.parametrize("roles", [None, [], {}, 7, "radiologyx", ["Radiology"], [["radiology"]], {"radiology": True}])
def test_no_role_of_the_setting(roles: object, hospital: Hospital) -> None:
    hospital.issuer.person["roles"] = roles
    with pytest.raises(NoRole):
        hospital.whole_way()
    assert hospital.accounts.list() == []


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "  Dr.\tÅsa \x00\x1b[31m Öberg\n"}, "Dr. Åsa [31m Öberg"),
        ({"name": "", "preferred_username": "weber"}, "weber"),
        ({"name": None, "preferred_username": ["x"]}, "u-4711"),
        ({"name": "x" * 5000}, "x" * 100),
    ],
)
def test_names_can_be_shown(claims: dict[str, Any], name: str, hospital: Hospital) -> None:
    hospital.issuer.person |= claims
    assert hospital.whole_way().name == name


def test_disabled_account_stays_out(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    account = hospital.whole_way()
    hospital.accounts.change(account.id, AccountChange(disabled=True))
    refused(hospital, "disabled", caplog)


def test_account_that_is_disabled_on_the_way_stays_out(hospital: Hospital) -> None:
    program = Program()
    address, account = hospital.sign_in.finish(hospital.come_back(program))
    hospital.accounts.change(account.id, AccountChange(disabled=True))
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.redeem(program.code_in(address), program.verifier)

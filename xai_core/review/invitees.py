"""People whom the owner of a round has invited by who they are, before they have come.

An identity is written as its owner knows it:

    anna@example.org        an e-mail address that the provider of the sign-in has verified
    ISSUER|SUBJECT          what the provider calls the person, such as https://accounts.example.org|1234
    Anna                    a typed name, on a server without sign-in: nobody checks it, and the first who comes is let in

Like everything in the store it is a log: an invitation that is taken back is followed by a row that says so.
"""

from sqlalchemy import Connection, Engine, RowMapping, func, select

from xai_core.core.errors import BadRequest
from xai_core.review import people, rounds, tables
from xai_core.review.database import add_person, follow, latest_of, reading, writing
from xai_core.review.people import Person
from xai_core.review.rounds import OWNER, READER, REMOVED, REVIEWER, Round, checked_text

LONGEST = 400  # characters of an identity


def invite(engine: Engine, round: Round, identity: str, role: str, by: Person, *, sign_in: bool) -> None:
    """Let whoever has this identity take part as a reviewer or reader; REMOVED takes an invitation back that is not used.

    `sign_in`: people sign in at this server. Raises BadRequest for anybody but the owner, and for an identity by which
    nobody could come.
    """
    if role not in (REVIEWER, READER, REMOVED):
        raise BadRequest(f"Others take part as a {REVIEWER} or {READER}, not as '{role}'.")
    identity = normal(identity)
    if role != REMOVED and sign_in and not _is_of_an_account(identity):
        raise BadRequest("People sign in at this server. Invite them by their e-mail address, or by ISSUER|SUBJECT.")
    if role != REMOVED and not sign_in and _is_of_an_account(identity):
        raise BadRequest(
            "Nobody signs in at this server: people are known by a typed name. Invite them by it, or by a link."
        )
    with writing(engine) as connection:
        rounds.require(connection, round, by, (OWNER,))
        add_person(connection, by)
        subject = {"round": round.id, "identity": identity}
        i = tables.invitees.c
        seen = connection.execute(select(func.max(i.version)).where(i.round == round.id, i.identity == identity)).scalar()
        follow(
            connection,
            tables.invitees,
            subject,
            seen or 0,
            {"role": role, "person": by.key},
            f"the invitation of {identity}",
        )


def normal(identity: str) -> str:
    """An identity as it is stored: in lower case, but for ISSUER|SUBJECT, which is stored as it is. Raises BadRequest."""
    identity = " ".join(checked_text(identity, LONGEST, "A name or address").split())
    issuer, bar, subject = identity.partition("|")
    if not identity or (bar and not (issuer and subject)):
        raise BadRequest(
            "Write a name, an e-mail address, or ISSUER|SUBJECT, as the provider of the sign-in calls the person."
        )
    return identity if bar else identity.casefold()


def _is_of_an_account(identity: str) -> bool:
    return "|" in identity or "@" in identity


def listed(engine: Engine, round: Round) -> dict[str, str]:
    """The role of each identity that is invited, in the order in which they were."""
    with reading(engine) as connection:
        return {row["identity"]: row["role"] for row in _rows(connection, round)}


def role_of(engine: Engine, round: Round, person: Person, email: str = "") -> str | None:
    """The role to which a person is invited who has none; `email`: an address that a provider has verified. Nobody comes
    back by an invitation that is older than their removal from the round."""
    with reading(engine) as connection:
        row = _of(connection, round, person, email)
    return row["role"] if row else None


def admit(engine: Engine, round: Round, person: Person, email: str = "") -> str | None:
    """Give a person the role to which they are invited, and return it; None where they are not invited.

    Raises BadRequest where somebody else of a typed name takes part already.
    """
    with reading(engine) as connection:
        row = _of(connection, round, person, email)
        if row is None:
            return None
        by = connection.execute(select(tables.people).where(tables.people.c.key == row["person"])).one()
    rounds.invite(engine, round, person, row["role"], Person(by.key, by.name, by.verified))
    return str(row["role"])


def _rows(connection: Connection, round: Round) -> list[RowMapping]:
    i = tables.invitees
    query = select(i).where(i.c.round == round.id, i.c.role != REMOVED, latest_of(i, "round", "identity")).order_by(i.c.id)
    return list(connection.execute(query).mappings())


def _of(connection: Connection, round: Round, person: Person, email: str) -> RowMapping | None:
    """The invitation of a person, the one with the higher role where there are two."""
    m = tables.members.c
    left = connection.execute(select(func.max(m.at)).where(m.round == round.id, m.person == person.key)).scalar()
    found = [
        row for row in _rows(connection, round)
        if _is_identity_of(row["identity"], person, email) and (left is None or row["at"] > left)
    ]  # fmt: skip
    return min(found, key=lambda row: row["role"] != REVIEWER, default=None)


def _is_identity_of(identity: str, person: Person, email: str) -> bool:
    issuer, bar, subject = identity.partition("|")
    if not person.verified:
        return not _is_of_an_account(identity) and identity == normal(person.name)
    if bar:
        return people.identified(issuer, subject, "somebody").key == person.key
    return "@" in identity and bool(email) and identity == normal(email)

import asyncio

import pytest

from dwell.errors import LearnerDown, StorageError
from dwell.health.doctor import Diagnosis
from dwell.server.consulting import Consultation

FIRST, SECOND = (Diagnosis((), (), "yes", 5, at) for at in (1.0, 2.0))


class Doctor:
    """A doctor who says what he is told to, once he may."""

    def __init__(self, *says: Diagnosis | Exception) -> None:
        self.says = list(says)
        self.n_asked = 0
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    async def __call__(self) -> Diagnosis:
        self.n_asked += 1
        await self.may_speak.wait()
        found = self.says.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def test_what_he_said_is_good_for_ten_seconds_and_then_he_is_asked_again() -> None:
    async def visits() -> None:
        doctor, asked = Doctor(FIRST, SECOND), Consultation()
        assert (await asked.told(doctor, 0.0)).diagnosis is FIRST
        assert (await asked.told(doctor, 9.9)).diagnosis is FIRST
        assert doctor.n_asked == 1
        assert (await asked.told(doctor, 10.0)).diagnosis is SECOND
        assert doctor.n_asked == 2

    asyncio.run(visits())


def test_while_he_looks_the_last_word_stands_and_he_is_not_asked_twice() -> None:
    async def visits() -> None:
        doctor, asked = Doctor(FIRST, SECOND), Consultation()
        await asked.told(doctor, 0.0)
        doctor.may_speak.clear()
        for now in (20.0, 25.0):
            told = await asked.told(doctor, now)
            assert (told.diagnosis, told.is_looking) == (FIRST, True)
        doctor.may_speak.set()
        told = await asked.told(doctor, 30.0)
        assert (told.diagnosis, told.is_looking, doctor.n_asked) == (SECOND, False, 2)

    asyncio.run(visits())


def test_where_the_learner_does_not_answer_the_last_word_stays() -> None:
    async def visits() -> None:
        doctor, asked = Doctor(LearnerDown("busy"), FIRST, LearnerDown("busy"), SECOND), Consultation()
        assert (await asked.told(doctor, 0.0)).diagnosis is None
        assert (await asked.told(doctor, 1.0)).diagnosis is FIRST  # nobody waits ten seconds after a failure
        assert (await asked.told(doctor, 20.0)).diagnosis is FIRST
        assert (await asked.told(doctor, 21.0)).diagnosis is SECOND

    asyncio.run(visits())


def test_any_other_failure_is_told_once_and_the_next_visit_asks_again() -> None:
    async def visits() -> None:
        doctor, asked = Doctor(StorageError("gone", code="io"), FIRST), Consultation()
        with pytest.raises(StorageError):
            await asked.told(doctor, 0.0)
        assert (await asked.told(doctor, 0.1)).diagnosis is FIRST

    asyncio.run(visits())

"""Telegram's own kind of content: a poll."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator
from waypost.plugin import Content

PollOption = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Poll(Content):
    """A question with answers to tap. A quiz has one right answer: `correct_option`, counted from 0.

    Source: Telegram Bot API, `sendPoll`.
    """

    kind: Literal["telegram.poll"] = "telegram.poll"
    question: str = Field(min_length=1, max_length=300)
    options: tuple[PollOption, ...] = Field(min_length=2, max_length=10)
    anonymous: bool = True
    multiple_answers: bool = False
    correct_option: int | None = Field(default=None, ge=0, le=9)
    explanation: str | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _a_quiz_is_consistent(self) -> Poll:
        if self.correct_option is not None:
            if self.correct_option >= len(self.options):
                raise ValueError("correct_option must be the place of one of the options, counted from 0")
            if self.multiple_answers:
                raise ValueError("a quiz takes one answer: leave multiple_answers out")
        elif self.explanation is not None:
            raise ValueError("explanation is shown after a quiz only: give correct_option too")
        return self

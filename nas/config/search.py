"""The section of a recipe on searches."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hardware_profiles.artifact import describe
from nas.config.section import Count, Fraction, Positive, PositiveInt, Section, function_name
from search_spaces import InputError, unknown_name
from search_spaces.python_name import is_python_name

OBJECTIVES = ("latency_ms", "macs", "params", "activation_bytes", "resident_bytes", "energy_mj")
LIMITED = OBJECTIVES[1:]  # each by a setting max_NAME; the latency has its budget


class SearchConfig(Section):
    """Search under a latency budget."""

    searcher: str = "auto"
    budget: StrictFloat | StrictInt | str = "50%"  # milliseconds, or a share of the reachable range
    objectives: tuple[str, ...] = ("latency_ms",)  # beside the predicted error or loss
    population: Annotated[int, Field(ge=4)] = 100
    generations: PositiveInt = 40  # population x generations architectures are evaluated
    exact_start: Count = 0  # solutions of an additive model of the predictions to begin with
    stall: Count = 0  # end after so many evaluations without a better one; 0 never does
    seconds: Positive | None = None  # end after so long
    measured_evaluations: Count = 0  # validate so many subnets, instead of predicting thousands
    workers: PositiveInt = 1  # processes that validate side by side
    coverage: Fraction = (
        0.8  # search keeps the latency's upper bound of this coverage in the budget
    )
    finalists: PositiveInt = 6  # measured each round
    rounds: PositiveInt = 3
    max_macs: Positive | None = None
    max_params: Positive | None = None
    max_activation_bytes: Positive | None = None
    max_resident_bytes: Positive | None = None  # predicted from the profile's measured subnets
    max_energy_mj: Positive | None = None  # of a run; predicted as the memory
    limits: Mapping[str, Positive] = {}  # on functions of one's own: python:module:function -> most
    device: str | None = None  # a known profile instead of the run's own
    also: Mapping[str, StrictFloat | StrictInt | str] = {}  # other known devices -> their budgets
    worst_case: bool = False  # of all devices as one objective, not one objective each

    def replaced(self, changes: Mapping[str, Any]) -> "SearchConfig":
        """Return a checked copy with some settings changed.

        Raises:
            InputError: a bad value.
        """
        try:
            return SearchConfig.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise InputError(f"search: {describe(error)}") from None

    @field_validator("budget")
    @classmethod
    def _budget(cls, budget: float | str) -> float | str:
        check_budget(budget)
        return budget

    @model_validator(mode="after")
    def _latency_is_there(self) -> "SearchConfig":
        if self.worst_case and "latency_ms" not in self.objectives:
            raise InputError(
                "worst_case is of latencies: expected latency_ms among the objectives, got "
                f"{', '.join(self.objectives)}"
            )
        if self.worst_case and not self.also:
            raise InputError("worst_case is of several devices: name the others with `also`")
        return self

    @field_validator("also")
    @classmethod
    def _budgets(cls, also: Mapping[str, float | str]) -> Mapping[str, float | str]:
        for budget in also.values():
            check_budget(budget)
        return also

    @field_validator("objectives", "limits")
    @classmethod
    def _quantities(cls, names: Any, info: ValidationInfo) -> Any:
        own = OBJECTIVES if info.field_name == "objectives" else ()
        if not names and info.field_name == "objectives":
            raise InputError("expected an objective beside the error or loss, got none")
        if len(set(names)) < len(names):
            raise InputError(f"expected each {info.field_name} once, got {', '.join(names)}")
        for name in names:
            if not is_python_name(name) and name not in own:
                known = [*own, "python:module:function"]
                raise unknown_name(str(info.field_name).removesuffix("s"), name, known)
            function_name(name)
        return names


def check_budget(budget: float | str) -> None:
    """Check that a budget is positive milliseconds or a share like "50%".

    Raises:
        InputError: anything else.
    """
    try:
        share = isinstance(budget, str) and budget.endswith("%")
        number = float(budget[:-1] if isinstance(budget, str) and share else budget)
    except ValueError:
        number, share = -1.0, False
    if not (0 < number < float("inf")) or (share and number > 100):
        raise InputError(
            "expected a latency budget above 0 ms (2.0) or a share of the reachable range above "
            f"0% and up to 100% (50%), got {budget!r}"
        )

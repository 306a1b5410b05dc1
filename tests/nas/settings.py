"""Settings of small real runs."""

TINY = (
    "training.epochs=2",
    "training.batch_size=64",
    "accuracy.num_subnets=12",
    "profile.num_calibration=8",
    "profile.num_held_out=4",
    "profile.passes=2",
    "profile.max_specs=25",
    "profile.accept_noise=true",  # whether this machine is busy is no matter of a test
    "search.population=20",
    "search.generations=4",
    "search.finalists=2",
    "search.rounds=3",
    "search.budget=1000",  # ms: any machine keeps it, however slow since it was profiled
)
"""The run that most tests look at."""

LEAST = (
    *TINY,
    "training.epochs=1",
    "training.warm_up_epochs=0.5",
    "training.num_random=1",
    "accuracy.num_subnets=8",
    "accuracy.calibration_samples=128",
    "profile.max_specs=10",
    "profile.num_calibration=5",
    "profile.num_held_out=3",
    "search.generations=2",
)
"""The shortest way through all stages."""

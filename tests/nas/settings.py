"""Settings of the small real run that tests look at."""

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
    "search.budget=90%",
)

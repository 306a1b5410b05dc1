"""Losses, metrics and distillation, built in and of the user's own."""


def test_distillation_is_the_cross_entropy_to_the_teachers_probabilities():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    teacher = torch.tensor([[0.2, 0.4, -0.3], [2.0, 0.0, 1.0]])
    total = 0.0
    for row, guide in zip(logits.tolist(), teacher.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        mass = sum(math.exp(value) for value in guide)
        total -= sum(
            math.exp(g) / mass * (value - norm) for value, g in zip(row, guide, strict=True)
        )
    assert float(distillation_loss(logits, teacher)) == pytest.approx(total / 2, rel=1e-6)

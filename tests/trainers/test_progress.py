"""The bar's speed, by a clock made up."""

from __future__ import annotations

import pytest

from mmf_muvla.trainers.progress import UpdateBar


def speeds(monkeypatch: pytest.MonkeyPatch, samples: int, ends: list[float | None]) -> list[str | None]:
    """The speed that is shown after each update that ends at such a time; None is a pause."""
    clock = iter([end for end in ends if end is not None])
    monkeypatch.setattr("mmf_muvla.trainers.progress.time.perf_counter", lambda: next(clock))
    shown: list[str | None] = []
    with UpdateBar(total=len(ends), done=0, samples_per_update=samples, shown=False) as bar:
        monkeypatch.setattr(bar._bar, "set_postfix", lambda values, refresh: shown.append(values.get("samples_per_s")))
        for end in ends:
            if end is None:
                with bar.paused():
                    pass
            else:
                bar.update()
    return shown


def test_speed_is_that_of_the_last_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmf_muvla.trainers.progress._WINDOW", 2)  # the last speed is from 12 to 17
    expected = [None, 3200 / 2, 6400 / 6, 6400 / 5]
    assert speeds(monkeypatch, 3200, [10.0, 12.0, 16.0, 17.0]) == [it and f"{it:.0f}" for it in expected]


def test_a_pause_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert speeds(monkeypatch, 8, [1.0, 2.0, None, 1000.0, 1004.0]) == [None, "8", None, "2"]


def test_every_update_shows_a_speed_and_the_last_known_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 100, 2))
    monkeypatch.setattr("mmf_muvla.trainers.progress.time.perf_counter", lambda: next(seconds))
    shown: list[dict[str, str]] = []
    with UpdateBar(total=4, done=0, samples_per_update=10, shown=False) as bar:
        monkeypatch.setattr(bar._bar, "set_postfix", lambda values, refresh: shown.append(values))
        bar.update()
        bar.update()
        bar.show_loss(1.25)
        with bar.paused():
            next(seconds)
        bar.update()
        bar.update()
    speed = {"samples_per_s": "5"}
    assert shown == [{}, speed, {"loss": "1.250", **speed}, {"loss": "1.250"}, {"loss": "1.250", **speed}]

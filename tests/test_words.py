"""Words that a process of the runtime is started with."""

import pytest

from wmrobot.app.driving import sim_robot
from wmrobot.runtime.guard import __main__ as guard
from wmrobot.runtime.guard.loop import GuardConfig
from wmrobot.runtime.words import read_words


def test_every_setting_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for process, config in ((guard.main, GuardConfig), (sim_robot.main, sim_robot.SimConfig)):
        with pytest.raises(SystemExit) as left:
            process(["--help"])
        assert left.value.code == 0
        told = capsys.readouterr().out
        for name in config.__dataclass_fields__:
            assert f"    {name}: " in told
    assert "bundle= task= seed=0" in told


def test_words_are_of_their_settings_types() -> None:
    read = read_words(GuardConfig, ["robot=a:1", "greet_s=2", "exit_with_stdin=true", "fifo=0"])
    assert read == GuardConfig(robot="a:1", greet_s=2.0, exit_with_stdin=True, fifo=0)
